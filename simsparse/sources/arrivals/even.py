# SPDX-License-Identifier: Apache-2.0
"""Arrivals at equal distances."""

from __future__ import annotations

import numpy as np

from simsparse.sources.arrivals.base import ARRIVALS, RatedArrivals
from simsparse.sources.requests import Floats


@ARRIVALS.register("even")
class Even(RatedArrivals):
    """A request every 1 / ``rate`` seconds."""

    def gaps(self, count: int, rng: np.random.Generator) -> Floats:
        del rng
        return np.full(count, 1 / self.rate)
