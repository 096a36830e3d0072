# SPDX-License-Identifier: Apache-2.0
"""What the next layers read, known some layers before."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.errors import SpecError
from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.prefetch.base import PREFETCHES, Prefetch

MOST = 64
"""Layers that a perfect prediction may see ahead."""


@PREFETCHES.register("perfect")
@dataclass(frozen=True)
class Perfect(Prefetch):
    """The experts of the next ``distance`` layers are known when the current layer's gate has run, nearest first.

    A bound for predictors: no gate tells so much. Copies for layers beyond the next one need a residency that keeps
    them until they are read, a cache or ``ring``. Raises SpecError when ``distance`` is no whole number from 1 to 64.
    """

    name = "perfect"
    lookahead = MOST
    at_gate = True
    distance: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.distance, bool) or not isinstance(self.distance, int) or not 1 <= self.distance <= MOST:
            raise SpecError(f"{self.distance!r} is no whole number from 1 to {MOST}", key="distance")

    @property
    def windows(self) -> int:
        return self.distance

    def ahead(self, view: View) -> tuple[Weight, ...]:
        if view.begins:
            return ()
        return tuple(weight for ahead in range(1, self.distance + 1) for weight in view.read(ahead))
