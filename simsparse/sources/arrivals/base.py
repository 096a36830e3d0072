# SPDX-License-Identifier: Apache-2.0
"""The contract of arrivals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from simsparse.registry import Registry
from simsparse.sources.options import made, positive
from simsparse.sources.requests import Floats, Requests


class Arrivals(ABC):
    """A process of arrivals. Its options are the arguments of its ``__init__``; it registers in ARRIVALS.

    ``concurrency``: requests at a time of a closed loop, whose arrivals the run sets; None of any other process.
    """

    concurrency: int | None = None

    @abstractmethod
    def times(self, count: int, rng: np.random.Generator) -> Floats:
        """Seconds of ``count`` arrivals, not falling."""

    def coming(self, requests: Requests, seed: int) -> Requests:
        """``requests`` with arrivals of this process in place of their own, in the same order."""
        times = self.times(len(requests), np.random.default_rng([seed, 0]))
        return replace(requests, arrival_s=times, concurrency=self.concurrency)


class RatedArrivals(Arrivals):
    """``rate`` requests per second on average, with gaps that a subclass draws."""

    def __init__(self, rate: float) -> None:
        self.rate = positive("rate", rate)

    def times(self, count: int, rng: np.random.Generator) -> Floats:
        found: Floats = np.cumsum(self.gaps(count, rng))
        return found

    @abstractmethod
    def gaps(self, count: int, rng: np.random.Generator) -> Floats:
        """Seconds between an arrival and the one before."""


ARRIVALS: Registry[type[Arrivals]] = Registry("arrivals", package="simsparse.sources.arrivals")


def arrivals_of(options: str | Mapping[str, Any]) -> Arrivals:
    """The process that ``options`` name: a mapping with the key ``kind`` and its options. Raises SpecError."""
    return made(ARRIVALS, options, "arrivals")
