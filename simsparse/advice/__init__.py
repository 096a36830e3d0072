# SPDX-License-Identifier: Apache-2.0
"""Questions about kernels and cards, each answered by one function and drawn by one figure."""

from simsparse.advice.cards import CardTime, times_on_cards
from simsparse.advice.choices import WeightChoice, parse_choice
from simsparse.advice.crossover import ChoiceTime, Crossover, crossover
from simsparse.advice.headroom import Headroom, KernelLoss, headroom
from simsparse.advice.sparse_gain import SparseGain, SparseGains, sparse_gains

__all__ = [
    "CardTime",
    "ChoiceTime",
    "Crossover",
    "Headroom",
    "KernelLoss",
    "SparseGain",
    "SparseGains",
    "WeightChoice",
    "crossover",
    "headroom",
    "parse_choice",
    "sparse_gains",
    "times_on_cards",
]
