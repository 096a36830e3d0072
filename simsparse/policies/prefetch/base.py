# SPDX-License-Identifier: Apache-2.0
"""What every prefetch is: the weights that are copied while the window before them runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from simsparse.errors import SpecError
from simsparse.lowering.weights import Weight
from simsparse.policies.part import PolicyPart, View
from simsparse.registry import Registry


@dataclass(frozen=True)
class Prefetch(PolicyPart):
    """Decides which weights are copied ahead. Raises SpecError when an option is out of range.

    A subclass registers with ``@PREFETCHES.register(name)`` and implements ``ahead``. What an op needs and
    has not come is copied on the compute lane right before it.
    """

    at_gate: ClassVar[bool] = False
    """Whether copies go out once the current window's gate has run, behind those that its op still misses, all on the
    copy engine; else ahead of that, while what an op misses comes on its compute lane."""

    during_run: ClassVar[bool] = False
    """Whether copies are called for while the run goes on, which level 0 refuses."""

    @property
    def windows(self) -> int:
        """How many windows after the current one it copies weights for."""
        return 1

    @property
    def across_steps(self) -> bool:
        """Whether copies for the first window of a step begin while the last one of the step before runs."""
        return False

    def __post_init__(self) -> None:
        if not isinstance(self.across_steps, bool):
            raise SpecError(f"{self.across_steps!r} is neither true nor false", key="across_steps")

    def begin(self, view: View) -> Callable[[], Iterable[Weight]]:
        """What gives the weights of each window of one run: ``ahead``, or what a part that learns keeps there."""
        return partial(self.ahead, view)

    @abstractmethod
    def ahead(self, view: View) -> Iterable[Weight]:
        """The weights to copy while the current window runs, those that the device has left out.

        They fill one buffer while the other is read: a copy engine moves them when the window before the current
        one is done, and the next window starts when they have come. At the start of a step (``view.begins``) there
        is no window to hide behind: what has not come across steps comes on the compute lane before the first one.
        """


PREFETCHES: Registry[type[Prefetch]] = Registry("prefetch", package="simsparse.policies.prefetch")
