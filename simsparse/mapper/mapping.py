# SPDX-License-Identifier: Apache-2.0
"""One mapping: the tile of every level, the order of its loops, and what passes by it."""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simsparse.errors import MappingError
from simsparse.mapper.layer import DIMS, TENSORS, LoopNest
from simsparse.mapper.machine import SpatialMachine
from simsparse.mapper.nest import TiledNest

DimSizes = tuple[int, ...]
_LEVEL = re.compile(r"L(\d+)\[(\w*)\](.*)")
_LOOP = re.compile(r"([A-Z])(\d+)([XY]?)")


@dataclass(frozen=True)
class Mapping:
    """``tiles``: sizes by DIMS that each level holds, the whole layer first, then what the array holds at once.

    ``orders``: dims of each level's loops, outermost first. ``keeps``: the tensors of each level.
    """

    tiles: tuple[DimSizes, ...]
    orders: tuple[DimSizes, ...]
    keeps: tuple[frozenset[int], ...]

    def lines(self, machine: SpatialMachine) -> list[str]:
        """A line per level: what it keeps, its loops from the outside, and the array's split."""
        shown = []
        for level, store in enumerate(machine.stores):
            held = ", ".join(TENSORS[tensor] for tensor in sorted(self.keeps[level])) or "nothing"
            shown.append(f"{store.name} keeps {held}: {self._loops(level)}")
        split = [f"{DIMS[dim]}{size}" for dim, size in enumerate(self.tiles[-1]) if size > 1]
        return [*shown, f"array: {' '.join(split) or 'one multiplier'} at once"]

    def _loops(self, level: int) -> str:
        counts = {dim: -(-self.tiles[level][dim] // self.tiles[level + 1][dim]) for dim in self.orders[level]}
        return " ".join(f"{DIMS[dim]}{count}" for dim, count in counts.items() if count > 1) or "no loops"

    def to_dict(self, machine: SpatialMachine) -> dict[str, object]:
        """As JSON-able values: tiles and orders by level and dim."""
        names = [store.name for store in machine.stores]
        return {
            "levels": [
                {"name": name, "keeps": [TENSORS[t] for t in sorted(self.keeps[i])],
                 "tile": dict(zip(DIMS, self.tiles[i], strict=True)),
                 "order": [DIMS[dim] for dim in self.orders[i]]}
                for i, name in enumerate(names)
            ],
            "array": dict(zip(DIMS, self.tiles[-1], strict=True)),
        }  # fmt: skip


def nest_of(layer: LoopNest, machine: SpatialMachine, mappings: Sequence[Mapping]) -> TiledNest:
    """Mappings that keep the same tensors at every level as one nest. Raises MappingError when they do not."""
    keeps = {mapping.keeps for mapping in mappings}
    if len(keeps) != 1:
        raise MappingError("the mappings of a nest must keep the same tensors", key=layer.name)
    tiles = np.array([mapping.tiles for mapping in mappings], np.int64)
    return TiledNest(layer, machine, tiles, np.array([mapping.orders for mapping in mappings], np.int64), keeps.pop())


def own_keeps(machine: SpatialMachine) -> tuple[frozenset[int], ...]:
    """What each level keeps when nothing passes by."""
    return tuple(store.tensors for store in machine.stores)


def loop_text(text: str) -> list[list[tuple[str, int, bool]]]:
    """Loops by level, outermost first, of a line such as ``L3[WIO] K8 - L2[WI] K16X - L1[O] C4 P8 - L0[W] P16``.

    Timeloop writes its mappings so; a loop is (dim, iterations, whether it is split over the array). Raises
    MappingError.
    """
    found = []
    for piece in text.split(" - "):
        level = _LEVEL.fullmatch(piece.strip())
        words = level[3].split() if level else []
        loops = [_LOOP.fullmatch(word) for word in words]
        if level is None or not all(loops):
            raise MappingError(f"{piece.strip()[:60]!r} is not a level of loops such as 'L1[O] K4 C16X'")
        found.append([(loop[1], int(loop[2]), bool(loop[3])) for loop in loops if loop])
    return found


def factors(loops: Sequence[tuple[str, int, bool]]) -> MappingOf[str, int]:
    """Iterations by dim of some loops together."""
    product: dict[str, int] = {}
    for dim, count, _ in loops:
        product[dim] = product.get(dim, 1) * count
    return product
