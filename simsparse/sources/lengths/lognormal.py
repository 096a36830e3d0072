# SPDX-License-Identifier: Apache-2.0
"""Lengths whose logarithm is normal, as those of prompts nearly are."""

from __future__ import annotations

import math

import numpy as np

from simsparse.sources.lengths.base import LENGTHS, Lengths
from simsparse.sources.options import positive
from simsparse.sources.requests import MAX_TOKENS, Floats


@LENGTHS.register("lognormal")
class Lognormal(Lengths):
    """``mean`` tokens before clipping; ``sigma``: deviation of the logarithm."""

    def __init__(self, mean: float, sigma: float, least: int = 1, most: int = MAX_TOKENS - 1) -> None:
        super().__init__(least, most)
        self.mean, self.sigma = positive("mean", mean), positive("sigma", sigma)

    def values(self, count: int, rng: np.random.Generator) -> Floats:
        return rng.lognormal(math.log(self.mean) - self.sigma**2 / 2, self.sigma, count)
