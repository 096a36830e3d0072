# SPDX-License-Identifier: Apache-2.0
"""Lengths between two numbers, each as likely as any other."""

from __future__ import annotations

import numpy as np

from simsparse.sources.lengths.base import LENGTHS, Lengths
from simsparse.sources.requests import Floats


@LENGTHS.register("uniform")
class Uniform(Lengths):
    """Whole numbers from ``least`` to ``most``, both included."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__(least, most)

    def values(self, count: int, rng: np.random.Generator) -> Floats:
        return rng.integers(self.least, self.most + 1, count).astype(np.float64)
