# SPDX-License-Identifier: Apache-2.0
"""What the step that was most like this one read in the next layers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt

from simsparse.errors import SpecError
from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.prefetch.base import PREFETCHES, Prefetch

MOST = 64
"""Layers that are copied ahead at most."""


@PREFETCHES.register("nearest")
@dataclass(frozen=True)
class Nearest(Prefetch):
    """The experts that the next ``distance`` layers read in the nearest of the last ``history`` steps.

    Nearest is the step whose experts in the layers that have run have the largest cosine with those of this step; of
    equals, the latest. The copies go out when the current layer's gate has run, and the first step copies none ahead.
    Source: MoE-Infinity (Xue et al., arXiv:2401.14361), which compares matrices of expert activations of sequences;
    here a step is compared with steps. Raises SpecError on options that are no whole numbers from 1.
    """

    name = "nearest"
    at_gate = True
    distance: int = 1
    history: int = 64

    def __post_init__(self) -> None:
        for key, most in (("distance", MOST), ("history", 1 << 20)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise SpecError(f"{value!r} is no whole number from 1 to {most}", key=key)

    @property
    def windows(self) -> int:
        return self.distance

    def begin(self, view: View) -> Callable[[], Iterable[Weight]]:
        return _History(self, view).ahead

    def ahead(self, view: View) -> tuple[Weight, ...]:
        del view
        return ()


class _Step:
    """The weights that the windows of one step read, and how many of them the current step has read too."""

    def __init__(self) -> None:
        self.read: list[tuple[Weight, ...]] = []
        self.common = self.count = 0


class _History:
    """The steps of one run so far."""

    def __init__(self, part: Nearest, view: View) -> None:
        self._part, self._view = part, view
        self._steps: deque[_Step] = deque(maxlen=part.history)
        self._now = _Step()

    def ahead(self) -> tuple[Weight, ...]:
        if self._view.begins:
            if self._now.read:
                self._steps.append(self._now)
            self._now = _Step()
            for step in self._steps:
                step.common = step.count = 0
            return ()
        read, place = self._view.now, len(self._now.read)
        self._now.read.append(read)
        self._now.count += len(read)
        for step in self._steps:
            same = step.read[place] if place < len(step.read) else ()
            step.common += len(set(same).intersection(read))
            step.count += len(same)
        if not self._steps:
            return ()
        nearest = max(reversed(self._steps), key=lambda step: step.common / sqrt(max(1, step.count)))
        wanted = nearest.read[place + 1 : place + 1 + self._part.distance]
        return tuple(weight for window in wanted for weight in window)
