# SPDX-License-Identifier: Apache-2.0
"""A Poisson process whose rate is higher for a while in every period."""

from __future__ import annotations

import numpy as np

from simsparse.errors import SpecError
from simsparse.sources.arrivals.base import ARRIVALS, Arrivals
from simsparse.sources.options import positive
from simsparse.sources.requests import Floats


@ARRIVALS.register("bursts")
class Bursts(Arrivals):
    """``rate`` requests per second on average; in a share ``on`` of every ``period`` seconds ``factor`` times the rate
    of the rest. The first burst begins at 0."""

    def __init__(self, rate: float, factor: float, period: float, on: float = 0.1) -> None:
        self.rate, self.factor, self.period = (
            positive(name, value) for name, value in (("rate", rate), ("factor", factor), ("period", period))
        )
        self.on = positive("on", on)
        if self.on >= 1:
            raise SpecError(f"{on} of a period; expected less than 1", key="on")

    def times(self, count: int, rng: np.random.Generator) -> Floats:
        """Arrivals of a process of rate 1, at the times when the integrated rate reaches them."""
        quiet = self.rate / (1 + self.on * (self.factor - 1))
        in_burst = quiet * self.factor * self.on * self.period
        work = np.cumsum(rng.exponential(1.0, count))
        periods, left = np.divmod(work, self.rate * self.period)
        inside = np.where(left < in_burst, left / (quiet * self.factor),
                          self.on * self.period + (left - in_burst) / quiet)  # fmt: skip
        found: Floats = periods * self.period + inside
        return found
