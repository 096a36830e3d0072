# SPDX-License-Identifier: Apache-2.0
"""What caches of experts share: room for a number of them, and the eviction of the one that ranks lowest."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.residency.base import Cache, Room
from simsparse.policies.residency.streamed import Streamed, whole_number

Rank = tuple[float, ...]


@dataclass
class Held:
    """An expert in a cache: when it came, when it was read last, and how often, in reads and copies of the cache."""

    weight: Weight
    arrived: int
    last_used: int
    uses: int = 0


@dataclass(frozen=True)
class ExpertCache(Streamed):
    """Every device has room for ``experts`` experts, those of all layers together; they stay across steps.

    A subclass implements ``rank``. Where an expert comes and there is no room, the one that ranks lowest goes.
    Experts that the current op has read, or that came for the next window, stay. Raises SpecError on a number of
    experts that is not positive.
    """

    experts: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("experts", self.experts)

    @abstractmethod
    def rank(self, held: Held, view: View) -> Rank:
        """Where an expert stands among those that may go; the lowest goes first."""

    def cache(self, view: View) -> Cache:
        return Slots(self, view)


class Slots(Cache):
    """Slots of equal size, as large as the largest expert that came."""

    def __init__(self, policy: ExpertCache, view: View) -> None:
        self._policy, self._view = policy, view
        self._held: dict[Weight, Held] = {}
        self._in_use: set[Weight] = set()
        self._came_ahead: set[Weight] = set()
        self._time = self._largest = 0

    @property
    def bytes(self) -> int:
        return self._policy.experts * self._largest

    def bring(self, weight: Weight, *, ahead: bool) -> Room:
        room = Room.HELD
        if weight not in self._held:
            if len(self._held) == self._policy.experts and not self._evicted():
                return Room.NONE
            self._time, room = self._time + 1, Room.MADE
            self._held[weight] = Held(weight, self._time, self._time)
            self._largest = max(self._largest, weight.bytes)
        (self._came_ahead if ahead else self._in_use).add(weight)
        return room

    def read(self, weight: Weight) -> None:
        held = self._held[weight]
        self._time += 1
        held.last_used, held.uses = self._time, held.uses + 1

    def _evicted(self) -> bool:
        free = [held for weight, held in self._held.items()
                if weight not in self._in_use and weight not in self._came_ahead]  # fmt: skip
        if free:
            del self._held[min(free, key=lambda held: self._policy.rank(held, self._view)).weight]
        return bool(free)

    def end_op(self) -> None:
        if not self._came_ahead:
            self._in_use.clear()

    def end_window(self) -> None:
        self._in_use, self._came_ahead = self._came_ahead, set()
