# SPDX-License-Identifier: Apache-2.0
"""Weights that come ahead stay until they are read, and no longer."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES, Cache, Room
from simsparse.policies.residency.none import KeepNone


@RESIDENCIES.register("ring")
@dataclass(frozen=True)
class BufferRing(KeepNone):
    """As ``none``, with a ring of buffers for prefetches that copy several layers ahead.

    A buffer is given back when the op that reads its weights is done, a wrong guess with the right ones. The ring is as
    large as what was ever there at once. Option: ``what``, as of ``none``.
    """

    name = "ring"
    one_ahead = False

    def cache(self, view: View) -> Cache:
        del view
        return RingBuffers()


class RingBuffers(Cache):
    """The weights of the windows to come, and of the current one."""

    def __init__(self) -> None:
        self._held: dict[Weight, None] = {}
        self._done: set[str] = set()
        self._size = self._most = 0

    @property
    def bytes(self) -> int:
        return self._most

    def begin_step(self) -> None:
        """What came across steps stays."""

    def holds(self, weight: Weight) -> bool:
        return weight in self._held

    def bring(self, weight: Weight, *, ahead: bool) -> Room:
        del ahead
        if weight in self._held:
            return Room.HELD
        self._held[weight] = None
        self._size += weight.bytes
        self._most = max(self._most, self._size)
        return Room.MADE

    def read(self, weight: Weight) -> None:
        self._done.add(weight.matrix)

    def end_op(self) -> None:
        """The op may still run."""

    def end_window(self) -> None:
        for weight in [weight for weight in self._held if weight.matrix in self._done]:
            del self._held[weight]
            self._size -= weight.bytes
        self._done.clear()
