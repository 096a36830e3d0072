# SPDX-License-Identifier: Apache-2.0
"""Expected values that closed forms of sparse engines share."""

from __future__ import annotations

from functools import cache
from math import erf, lgamma

import numpy as np

from simsparse.dataflow.traffic import Floats


def binomial(draws: int, share: float) -> Floats:
    """Probability of 0 to ``draws`` hits when each has ``share``."""
    if not 0 < share < 1:
        sure: Floats = np.eye(draws + 1)[draws if share else 0]
        return sure
    hits = np.arange(draws + 1)
    terms = np.array([lgamma(draws + 1) - lgamma(hit + 1) - lgamma(draws - hit + 1) for hit in hits.tolist()])
    chances: Floats = np.exp(terms + hits * np.log(share) + (draws - hits) * np.log1p(-share))
    return chances


@cache
def largest_normal(count: int) -> float:
    """Expected largest of ``count`` standard normal numbers, integrated over its distribution."""
    grid = np.linspace(-9.0, 9.0, 3601)
    below = np.array([0.5 * (1 + erf(value / 2**0.5)) for value in grid.tolist()]) ** count
    middle = (grid[1:] + grid[:-1]) / 2
    return float((np.diff(below) * middle).sum())


def largest_binomial(draws: int, share: float, count: int) -> float:
    """Expected largest of ``count`` binomial numbers."""
    below = np.minimum(np.cumsum(binomial(draws, share)), 1.0) ** count
    return float((1 - below).sum())
