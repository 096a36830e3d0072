# SPDX-License-Identifier: Apache-2.0
"""What every collective algorithm is: the copies of each step, between ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from simsparse.events import CopyPace
from simsparse.registry import Registry


class Send(NamedTuple):
    """A copy of one step, from rank ``src`` to rank ``dst``; ``channel`` is what moves it, None for the links alone."""

    src: int
    dst: int
    bytes: int
    channel: CopyPace | None = None


SendSteps = Sequence[Sequence[Send]]


class Algorithm(ABC):
    """Turns a collective into steps of copies.

    A subclass registers with ``@ALGORITHMS.register(name)`` and names in ``labels`` the collectives that it
    serves. The copies of one step run at the same time; a rank takes part in a step when its copies of the step
    before are done. Left out: the arithmetic of reductions, and what a rank moves within its memory.
    """

    labels: ClassVar[tuple[str, ...]]

    @abstractmethod
    def steps(self, label: str, bytes: int, ranks: int) -> SendSteps:
        """The copies of each step; ``bytes`` is the input of one rank."""


ALGORITHMS: Registry[type[Algorithm]] = Registry("collective algorithm", package="simsparse.lowering.collectives")

DEFAULTS = {
    "all_gather": "ring", "all_reduce": "ring", "reduce_scatter": "ring", "all_to_all": "pairwise",
    "send_recv": "send_recv", "broadcast": "chain", "reduce": "chain", "gather": "one_shot", "scatter": "one_shot",
}  # fmt: skip
"""The algorithm of each collective in a system that names no other."""


def shares(bytes: int, ranks: int) -> list[int]:
    """``bytes`` in as many parts as there are ranks, which differ by one byte at most."""
    return [bytes * (part + 1) // ranks - bytes * part // ranks for part in range(ranks)]
