# SPDX-License-Identifier: Apache-2.0
"""Questions about kernels and cards, each answered by one function and drawn by one figure."""

from simsparse._training_step import TrainingStep, training_memory, training_step
from simsparse.advice.cards import CardTime, times_on_cards
from simsparse.advice.choices import WeightChoice, parse_choice
from simsparse.advice.crossover import ChoiceTime, Crossover, crossover
from simsparse.advice.designs import DesignAnswer, DesignPoint, SparsityGain, best_design, gain_at_equal_area
from simsparse.advice.headroom import Headroom, KernelLoss, headroom
from simsparse.advice.layouts import LayoutTime, rank_layouts
from simsparse.advice.ranks import RankRow, exported_rank, rank_rows
from simsparse.advice.sparse_gain import SparseGain, SparseGains, sparse_gains

__all__ = [
    "CardTime",
    "ChoiceTime",
    "Crossover",
    "DesignAnswer",
    "DesignPoint",
    "Headroom",
    "KernelLoss",
    "SparseGain",
    "SparseGains",
    "SparsityGain",
    "best_design",
    "LayoutTime",
    "RankRow",
    "TrainingStep",
    "WeightChoice",
    "crossover",
    "exported_rank",
    "gain_at_equal_area",
    "headroom",
    "parse_choice",
    "sparse_gains",
    "rank_layouts",
    "rank_rows",
    "times_on_cards",
    "training_memory",
    "training_step",
]
