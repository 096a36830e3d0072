# SPDX-License-Identifier: Apache-2.0
"""Independent arrivals at a constant rate."""

from __future__ import annotations

import numpy as np

from simsparse.sources.arrivals.base import ARRIVALS, RatedArrivals
from simsparse.sources.requests import Floats


@ARRIVALS.register("poisson")
class Poisson(RatedArrivals):
    """Exponential gaps; ``rate`` requests per second."""

    def gaps(self, count: int, rng: np.random.Generator) -> Floats:
        return rng.exponential(1 / self.rate, count)
