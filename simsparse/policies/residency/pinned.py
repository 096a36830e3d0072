# SPDX-License-Identifier: Apache-2.0
"""As many weights as fit stay on the device for good; the others come when they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simsparse.errors import SpecError
from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES, Cache, Room
from simsparse.policies.residency.none import KeepNone, OpBuffers
from simsparse.trace.routing import RoutingProcess
from simsparse.units import parse_quantity

FIT = "fit"


@RESIDENCIES.register("pinned")
@dataclass(frozen=True)
class Pinned(KeepNone):
    """Weights of a fixed set stay on the device, which is chosen before the run; the others are as with ``none``.

    Options: ``what``, ``experts`` or ``all`` weights may rest in host memory. ``room``: memory for the set, such as
    ``40 GB``, or ``fit`` for all that is left beside the buffers of the others. ``popularity``: the routing process by
    whose shares the most popular experts of each layer are pinned first, such as ``counts:mixtral-8x7b-c4``; by default
    weights are pinned in the order of the model. Raises SpecError on other values.
    """

    name = "pinned"
    draws = True
    room: str = FIT
    popularity: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.room != FIT:
            self._stated()
        if self.popularity:
            RoutingProcess.parse(self.popularity)

    @property
    def measures(self) -> bool:
        return self.room == FIT or super().measures

    def _stated(self) -> int:
        try:
            size = parse_quantity(str(self.room), "byte")
        except ValueError as error:
            raise SpecError(f"{error}; expected {FIT} or bytes such as 40 GB", key="room") from None
        if not 0 <= size < 2**62:
            raise SpecError(f"{self.room!r} is not {FIT} or bytes from 0", key="room")
        return int(size)

    def cache(self, view: View) -> Cache:
        weights = (
            [*_by_popularity(view.space.weights, self.popularity, view.seed)] if self.popularity else view.space.weights
        )
        return PinnedSet(frozenset(_filled(weights, self._bytes(view))))

    def _bytes(self, view: View) -> int:
        if self.room != FIT:
            return self._stated()
        if view.space.bytes is None:
            return sum(weight.bytes for weight in view.space.weights)
        return max(0, view.space.bytes - view.space.buffers)


def _filled(weights: Iterable[Weight], room: int) -> Iterable[Weight]:
    """The weights that find room, each in its turn."""
    for weight in weights:
        if weight.bytes <= room:
            room -= weight.bytes
            yield weight


def _by_popularity(weights: Sequence[Weight], process: str, seed: int) -> Iterable[Weight]:
    """What no gate chooses first, then experts by their share of their layer."""
    parsed, shares = RoutingProcess.parse(process), dict[str, Sequence[float]]()
    layers = {matrix: i for i, matrix in enumerate(dict.fromkeys(w.matrix for w in weights if w.expert is not None))}

    def share(weight: Weight) -> float:
        if weight.expert is None:
            return -1.0
        if weight.matrix not in shares:
            drawn = parsed.shares(weight.of, layers[weight.matrix], seed)
            shares[weight.matrix] = list(drawn / drawn.sum())
        return -shares[weight.matrix][weight.expert] * weight.of

    return sorted(weights, key=share)


class PinnedSet(OpBuffers):
    """Weights that are there from the start, and buffers for the others."""

    def __init__(self, weights: frozenset[Weight]) -> None:
        super().__init__()
        self._pinned = weights
        self._taken = sum(weight.bytes for weight in weights)

    @property
    def bytes(self) -> int:
        return self._taken + super().bytes

    def holds(self, weight: Weight) -> bool:
        return weight in self._pinned or super().holds(weight)

    def bring(self, weight: Weight, *, ahead: bool) -> Room:
        return Room.HELD if weight in self._pinned else super().bring(weight, ahead=ahead)
