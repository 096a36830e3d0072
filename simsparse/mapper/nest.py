# SPDX-License-Identifier: Apache-2.0
"""Many mappings of one layer as arrays: tiles, loops, and how often each tile of a tensor is used again.

A mapping gives every level the tile that it holds; its loops are what it takes to cover the tile of the level outside
with it, rounded up. Sizes that do not divide count with their mean: ``shares`` are the tiles' mean sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simsparse.mapper.layer import DIMS, INPUTS, RELEVANT, WEIGHTS, C, K, LoopNest, N, P, Q, R, S
from simsparse.mapper.machine import SpatialMachine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TiledNest:
    """``mappings`` of ``layer`` on ``machine``.

    ``tiles``: (mappings, levels + 1, 7) sizes by DIMS; the first are the whole layer, the last what the array's rows
    and columns hold at once. ``orders``: (mappings, levels, 7) dims of each level's loops, outermost first. ``keeps``:
    for each level which tensors it holds; the same for all mappings.
    """

    layer: LoopNest
    machine: SpatialMachine
    tiles: Ints
    orders: Ints
    keeps: tuple[frozenset[int], ...]

    @property
    def levels(self) -> int:
        return len(self.machine.stores)

    @cached_property
    def counts(self) -> Floats:
        """(mappings, levels, 7) iterations of each loop."""
        return np.asarray(np.ceil(self.tiles[:, :-1] / self.tiles[:, 1:]))

    @cached_property
    def shares(self) -> Floats:
        """(mappings, levels + 1, 7) mean sizes of the tiles."""
        first = self.tiles[:, :1].astype(np.float64)
        return np.concatenate([first, first / np.cumprod(self.counts, axis=1)], axis=1)

    @cached_property
    def _loops(self) -> tuple[Floats, Ints]:
        """Iterations and dims of all loops, outermost first: (mappings, 7 levels)."""
        ordered = np.take_along_axis(self.counts, self.orders, axis=2)
        flat = (len(self.tiles), -1)
        return ordered.reshape(flat), self.orders.reshape(flat)

    def changes(self, tensor: int, level: int) -> Floats:
        """How often the part of ``tensor`` that ``level`` holds changes, the first time included."""
        count, dims = (each[:, : len(DIMS) * level] for each in self._loops)
        turns = (count > 1) & _IS_RELEVANT[tensor][dims]
        within = np.cumsum(turns[:, ::-1], axis=1)[:, ::-1] > 0
        return np.asarray(np.where(within, count, 1.0).prod(axis=1))

    def iterations(self, level: int) -> Floats:
        """How many tiles of ``level`` all loops outside it run through."""
        return np.asarray(self.counts[:, :level].prod(axis=(1, 2)))

    def distinct(self, tensor: int, level: int) -> Floats:
        """How many different parts of ``tensor`` the level holds in turn."""
        return np.asarray(self.counts[:, :level, sorted(RELEVANT[tensor])].prod(axis=(1, 2)))

    def elements(self, tensor: int, level: int, nominal: bool = False) -> Floats:
        """Elements of ``tensor`` in a tile of ``level``: its mean, or with ``nominal`` that of a whole tile.

        Inputs count all channels of the groups whose weights are kept, and the rim that the kernel needs.
        """
        sizes = self.tiles[:, level].astype(np.float64) if nominal else self.shares[:, level]
        return tensor_elements(self.layer, tensor, sizes)


_IS_RELEVANT = np.array([[dim in dims for dim in range(len(DIMS))] for dims in RELEVANT])


def tensor_elements(layer: LoopNest, tensor: int, sizes: Floats) -> Floats:
    """Elements of ``tensor`` in tiles of ``sizes`` (..., 7)."""
    rows, chunk = tensor_rows(layer, tensor, sizes)
    return rows * chunk


def tensor_rows(layer: LoopNest, tensor: int, sizes: Floats) -> tuple[Floats, Floats]:
    """Rows of ``tensor`` in tiles of ``sizes``, and the elements of one that lie together in memory.

    Tensors lie as (s, r, c, k), (n, row, column, c) and (n, q, p, k).
    """
    n, k, c, p, q, r, s = np.moveaxis(sizes, -1, 0)
    if tensor == WEIGHTS:
        return s * r * c, k
    if tensor == INPUTS:
        columns, rows = (p - 1) * layer.strides[0] + r, (q - 1) * layer.strides[1] + s
        return n * columns * rows, c * layer.channels
    return n * p * q, k


def tensor_bits(layer: LoopNest, tensor: int) -> float:
    """Bits of one stored element."""
    return layer.weight_bits if tensor == WEIGHTS else float(layer.bits[tensor])


__all__ = ["C", "K", "N", "TiledNest", "P", "Q", "R", "S", "tensor_bits", "tensor_elements", "tensor_rows"]
