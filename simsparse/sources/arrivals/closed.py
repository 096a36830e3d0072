# SPDX-License-Identifier: Apache-2.0
"""A closed loop: a fixed number of requests at a time."""

from __future__ import annotations

import numpy as np

from simsparse.sources.arrivals.base import ARRIVALS, Arrivals
from simsparse.sources.options import whole
from simsparse.sources.requests import Floats


@ARRIVALS.register("closed")
class Closed(Arrivals):
    """``concurrency`` requests at a time, the next as soon as one ends, as benchmarks of engines do."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = whole("concurrency", concurrency)

    def times(self, count: int, rng: np.random.Generator) -> Floats:
        del rng
        return np.zeros(count)
