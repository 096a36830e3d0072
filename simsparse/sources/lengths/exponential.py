# SPDX-License-Identifier: Apache-2.0
"""Lengths of a process that may end after every token."""

from __future__ import annotations

import numpy as np

from simsparse.sources.lengths.base import LENGTHS, Lengths
from simsparse.sources.options import positive
from simsparse.sources.requests import MAX_TOKENS, Floats


@LENGTHS.register("exponential")
class Exponential(Lengths):
    """``mean`` tokens before clipping."""

    def __init__(self, mean: float, least: int = 1, most: int = MAX_TOKENS - 1) -> None:
        super().__init__(least, most)
        self.mean = positive("mean", mean)

    def values(self, count: int, rng: np.random.Generator) -> Floats:
        return rng.exponential(self.mean, count)
