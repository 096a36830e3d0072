# SPDX-License-Identifier: Apache-2.0
"""What caches of experts share: room for a number of them, and the eviction of the one that ranks lowest."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from simsparse.errors import SpecError
from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.residency.base import Cache, Room
from simsparse.policies.residency.streamed import Streamed, whole_number

Rank = tuple[float, ...]
FIT = "fit"


@dataclass
class Held:
    """An expert in a cache: when it came, when it was read last, and how often, in reads and copies of the cache."""

    weight: Weight
    arrived: int
    last_used: int
    uses: int = 0


@dataclass(frozen=True)
class ExpertCache(Streamed):
    """Every device has room for ``experts`` experts, which stay across steps; ``fit``, for as many as its memory holds.

    Options: ``per_layer``, room for so many of each layer, in place of all layers together; ``warm``, a layer begins
    with its first experts there, the last of them used last; ``forgets``, a step begins with an empty cache. A
    subclass implements ``rank``. Where an expert comes and there is no room, the one that ranks lowest goes. Experts
    that the current op reads stay, and so do those that came for the next window until they are read. Raises
    SpecError on a number of experts that is not positive, and on a warm cache that forgets or is shared by layers.
    """

    slots = True
    experts: int | str = 64
    per_layer: bool = False
    warm: bool = False
    forgets: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experts != FIT:
            whole_number("experts", self.experts)
        for key in ("per_layer", "warm", "forgets"):
            if not isinstance(getattr(self, key), bool):
                raise SpecError(f"{getattr(self, key)!r} is neither true nor false", key=key)
        if self.warm and (self.forgets or not self.per_layer):
            raise SpecError("is for caches per layer that last across steps", key="warm")

    @property
    def measures(self) -> bool:
        return self.experts == FIT or super().measures

    @abstractmethod
    def rank(self, held: Held, view: View) -> Rank:
        """Where an expert stands among those that may go; the lowest goes first."""

    def lowest(self, held: Iterable[Held], view: View) -> Held:
        """The one of ``held`` that ranks lowest, the first of equals."""
        return min(held, key=lambda each: self.rank(each, view))

    def cache(self, view: View) -> Cache:
        return Slots(self, self._slots(view), view)

    def _slots(self, view: View) -> int:
        """Experts that there is room for: of all layers together, or of each."""
        if not isinstance(self.experts, str):
            return self.experts
        layers = Counter(weight.matrix for weight in view.space.weights)
        most, sets = max(layers.values(), default=1), len(layers) if self.per_layer else 1
        if view.space.bytes is None:
            return most if self.per_layer else sum(layers.values())
        slots = max(1, view.space.bytes // (sets * max((weight.bytes for weight in view.space.weights), default=1)))
        return min(slots, most if self.per_layer else sum(layers.values()))


class Slots(Cache):
    """Slots of equal size, as large as the largest expert that came; a set of them for all layers, or one for each."""

    def __init__(self, policy: ExpertCache, room: int, view: View) -> None:
        self._policy, self._room, self._view = policy, room, view
        self._held: dict[str, dict[Weight, Held]] = {}
        self._in_use: set[Weight] = set()
        self._wanted_ahead: set[Weight] = set()
        self._time = self._largest = 0

    @property
    def bytes(self) -> int:
        return max(1, len(self._held)) * self._room * self._largest

    def holds(self, weight: Weight) -> bool:
        return weight in self._slots(weight)

    def bring(self, weight: Weight, *, ahead: bool) -> Room:
        held, room = self._slots(weight), Room.HELD
        if weight not in held:
            if len(held) == self._room and not self._evicted(held):
                return Room.NONE
            self._put(held, weight)
            room = Room.MADE
        (self._wanted_ahead if ahead else self._in_use).add(weight)
        return room

    def read(self, weight: Weight) -> None:
        held = self._slots(weight)[weight]
        self._time += 1
        held.last_used, held.uses = self._time, held.uses + 1

    def drop(self, weight: Weight) -> None:
        del self._slots(weight)[weight]
        self._wanted_ahead.discard(weight)
        self._in_use.discard(weight)

    def _slots(self, weight: Weight) -> dict[Weight, Held]:
        """What the slots hold that ``weight`` would come into."""
        owner = weight.matrix if self._policy.per_layer else ""
        if owner not in self._held:
            self._held[owner] = {}
            for expert in range(min(self._room, weight.of) if self._policy.warm else 0):
                self._put(self._held[owner], weight._replace(expert=expert))
        return self._held[owner]

    def _put(self, held: dict[Weight, Held], weight: Weight) -> None:
        self._time += 1
        held[weight] = Held(weight, self._time, self._time)
        self._largest = max(self._largest, weight.bytes)

    def _evicted(self, slots: dict[Weight, Held]) -> bool:
        busy, goes = self._in_use | self._wanted_ahead, None
        if not self._policy.draws:  # in most cases the lowest of all is free; that of the free ones is found slower
            goes = self._policy.lowest(slots.values(), self._view)
        if goes is None or goes.weight in busy:
            free = [held for weight, held in slots.items() if weight not in busy]
            goes = self._policy.lowest(free, self._view) if free else None
        if goes is not None:
            del slots[goes.weight]
        return goes is not None

    def begin_step(self) -> None:
        self._in_use.clear()
        if self._policy.forgets:
            self._held = {owner: {} for owner in self._held}

    def end_op(self) -> None:
        if not self._wanted_ahead:
            self._in_use.clear()

    def end_window(self) -> None:
        self._in_use, self._wanted_ahead = self._wanted_ahead, set()
