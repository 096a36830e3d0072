# SPDX-License-Identifier: Apache-2.0
"""The mappings of a layer that are looked at: sizes of tiles, orders of loops, splits over the array, what passes by.

A tile is as large as the layer divided by a whole number, rounded up, in multiples of what the array holds at once.
Of the orders of seven loops those count that leave a tensor where it is, then a second one: six.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simsparse.mapper.layer import DIMS, RELEVANT, TENSORS, LoopNest, P
from simsparse.mapper.machine import SpatialMachine
from simsparse.mapper.nest import Ints, TiledNest

_SPLITS = 4
"""Splits over the array that are looked at, those with the fewest idle multipliers."""


def _orders() -> Ints:
    """Orders of loops, outermost first: innermost those that a first tensor does not depend on, then a second."""
    found = []
    for first, second in itertools.permutations(range(len(TENSORS)), 2):
        depth = [(dim in RELEVANT[first], dim in RELEVANT[second], dim) for dim in range(len(DIMS))]
        found.append([dim for _, _, dim in sorted(depth, reverse=True)])
    return np.array(found, np.int64)


ORDERS = _orders()


@dataclass(frozen=True)
class Points:
    """Mappings as indexes. ``split``: (n,) of the splits; ``size``: (n, tiled levels, 7) of the sizes of each dim;
    ``order``: (n, ordered levels) of ORDERS."""

    split: Ints
    size: Ints
    order: Ints

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, chosen: Ints | slice | NDArray[np.bool_]) -> Points:
        return Points(self.split[chosen], self.size[chosen], self.order[chosen])

    @classmethod
    def joined(cls, parts: list[Points]) -> Points:
        """All points of some, without those that stand twice."""
        split, size, order = (np.concatenate([getattr(part, name) for part in parts])
                              for name in ("split", "size", "order"))  # fmt: skip
        keys = np.concatenate([split[:, None], size.reshape(len(split), -1), order], axis=1)
        _, first = np.unique(keys, axis=0, return_index=True)
        return cls(split[first], size[first], order[first])


@dataclass(frozen=True)
class MapSpace:
    """All mappings of ``layer`` on ``machine`` that keep the tensors ``keeps``."""

    layer: LoopNest
    machine: SpatialMachine
    keeps: tuple[frozenset[int], ...]

    @cached_property
    def tiled(self) -> tuple[int, ...]:
        """Levels with a tile of their own; one without loops holds that of the next."""
        return tuple(level for level in range(1, len(self.machine.stores)) if self.machine.stores[level].loops)

    @cached_property
    def ordered(self) -> tuple[int, ...]:
        """Levels whose loops may stand in any order."""
        stores = self.machine.stores
        return tuple(level for level, store in enumerate(stores) if store.loops and store.order is None)

    @cached_property
    def splits(self) -> Ints:
        """(splits, 7) sizes that the array holds at once."""
        machine, sizes = self.machine, self.layer.sizes
        rows = _over_axis(sizes, machine.row_dims, machine.rows)
        cols = _over_axis(sizes, machine.col_dims, machine.cols)
        pairs = [np.maximum(row, col) for row in rows for col in cols]
        pairs.sort(key=lambda unit: float(np.prod(np.ceil(np.array(sizes) / unit))))
        return np.array(pairs[:_SPLITS], np.int64)

    @cached_property
    def sizes(self) -> tuple[Ints, Ints]:
        """(splits, 7, most) sizes of tiles from small to large, and (splits, 7) how many there are."""
        lists = [[self._dim_sizes(dim, int(unit[dim])) for dim in range(len(DIMS))] for unit in self.splits]
        most = max(len(each) for row in lists for each in row)
        padded = np.array([[each + [each[-1]] * (most - len(each)) for each in row] for row in lists], np.int64)
        return padded, np.array([[len(each) for each in row] for row in lists], np.int64)

    def _dim_sizes(self, dim: int, unit: int) -> list[int]:
        size = self.layer.sizes[dim]
        blocks = -(-size // unit)
        found = {-(-blocks // parts) for parts in range(1, blocks + 1)}
        if dim == P and self.machine.block:
            found |= set(range(self.machine.block, blocks, self.machine.block))
        return sorted({min(size, each * unit) for each in found})

    @property
    def count(self) -> int:
        """How many points there are."""
        per_split: list[int] = [math.prod(row) ** len(self.tiled) for row in self.sizes[1].tolist()]
        orders: int = len(ORDERS) ** len(self.ordered)
        return sum(per_split) * orders

    def nest(self, points: Points) -> TiledNest:
        """The points as mappings."""
        padded, _ = self.sizes
        split, stores = self.splits[points.split], self.machine.stores
        tiles = np.empty((len(points), len(stores) + 1, len(DIMS)), np.int64)
        tiles[:, 0], tiles[:, -1] = self.layer.sizes, split
        each = np.arange(len(DIMS))
        outer = tiles[:, 0]
        for slot, level in enumerate(self.tiled):
            chosen = padded[points.split[:, None], each[None, :], points.size[:, slot]]
            outer = np.minimum(outer, chosen)
            tiles[:, level] = outer
        for level in range(len(stores) - 2, 0, -1):
            if level not in self.tiled:
                tiles[:, level] = tiles[:, level + 1]
        return TiledNest(self.layer, self.machine, tiles, self._all_orders(points), self.keeps)

    def _all_orders(self, points: Points) -> Ints:
        stores = self.machine.stores
        orders = np.empty((len(points), len(stores), len(DIMS)), np.int64)
        for level, store in enumerate(stores):
            orders[:, level] = store.order if store.order is not None else ORDERS[0]
        for slot, level in enumerate(self.ordered):
            orders[:, level] = ORDERS[points.order[:, slot]]
        if stores[-1].order is None:
            orders[:, -1] = self._streamed_last(orders[:, -1])
        return orders

    def _streamed_last(self, orders: Ints) -> Ints:
        """The innermost level's loops, those that the stationary tensor does not depend on inside."""
        fixed = np.array([dim in RELEVANT[self.machine.stationary] for dim in range(len(DIMS))])
        kept = np.argsort(~fixed[orders], axis=1, kind="stable")
        return np.take_along_axis(orders, kept, axis=1)


def spaces(layer: LoopNest, machine: SpatialMachine) -> list[MapSpace]:
    """One space for every choice of what passes by which level."""
    choices = [
        [store.tensors - frozenset(past) for count in range(len(store.bypass) + 1)
         for past in itertools.combinations(sorted(store.bypass), count)]
        for store in machine.stores
    ]  # fmt: skip
    return [MapSpace(layer, machine, keeps) for keeps in itertools.product(*choices)]


def _over_axis(sizes: tuple[int, ...], dims: tuple[int, ...], lanes: int) -> list[Ints]:
    """Sizes that ``lanes`` rows or columns hold at once: one dim, or a first whole one and a second beside it."""
    found = []
    for first in dims:
        unit = np.ones(len(DIMS), np.int64)
        unit[first] = min(sizes[first], lanes)
        found.append(unit)
        for second in dims:
            room = lanes // int(unit[first])
            if second != first and room > 1 and sizes[second] > 1:
                both = unit.copy()
                both[second] = min(sizes[second], room)
                found.append(both)
    return found
