# SPDX-License-Identifier: Apache-2.0
"""Arrivals that are more even, or come more in clusters, than independent ones."""

from __future__ import annotations

import numpy as np

from simsparse.sources.arrivals.base import ARRIVALS, RatedArrivals
from simsparse.sources.options import positive
from simsparse.sources.requests import Floats


@ARRIVALS.register("gamma")
class GammaArrivals(RatedArrivals):
    """Gaps of a gamma distribution; ``rate`` requests per second, ``cv`` the coefficient of variation of the gaps.

    1 is the Poisson process, below it arrivals are more even, above it they come in clusters.
    """

    def __init__(self, rate: float, cv: float) -> None:
        super().__init__(rate)
        self.cv = positive("cv", cv)

    def gaps(self, count: int, rng: np.random.Generator) -> Floats:
        shape = self.cv**-2
        return rng.gamma(shape, 1 / (self.rate * shape), count)
