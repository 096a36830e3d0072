# SPDX-License-Identifier: Apache-2.0
"""A library's tiled kernels as numbers in SI units and arrays of tiles, as its YAML describes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_tile_kernels import GpuTileKernel
from simsparse.devices.gpu_gemm_types import Floats
from simsparse.devices.part_numbers import PartNumbers


@dataclass(frozen=True)
class TileNumbers(PartNumbers):
    """The numbers of a GpuTileKernel in SI units."""

    launch: float
    cold_launch: float
    overhead: float
    cold_overhead: float
    fill: float
    epilogue: float
    tensor: float
    port: float
    multicast: float
    stream: float
    l2_stream: float
    l2: float
    split_launch: float
    cold_split: float
    reread: float
    write: float
    thrash: float
    resident: float
    sharpness: float
    resident_output: float
    resident_operands: float
    padded: float
    byte_flops: float
    spread: float
    crowding: float
    ragged: float
    step: float
    held: float

    @property
    def shares(self) -> bool:
        """Whether blocks share an SM."""
        return not math.isnan(self.held)

    def estimated(self, view: ViewNumbers) -> TileNumbers:
        """The numbers as the library's estimate has them."""
        return replace(
            self, overhead=self.overhead * view.overhead, port=self.port * view.port, fill=self.fill * view.fill,
            stream=self.stream * view.stream, split_launch=self.split_launch * view.split,
        )  # fmt: skip


@dataclass(frozen=True)
class ViewNumbers(PartNumbers):
    """The numbers of a GpuTileView."""

    overhead: float
    port: float
    fill: float
    stream: float
    split: float
    missing: float
    memory: float


class TileSides(NamedTuple):
    """How the tiles of a kernel cut an output: ``along_tokens`` at ``fixed`` tokens, else at that many outputs.

    The other side is as long as the output divides into, ``most`` at most and in steps of ``granule``. ``efficiency``:
    of the products of a block.
    """

    along_tokens: NDArray[np.bool_]
    fixed: Floats
    most: Floats
    granule: Floats
    efficiency: Floats


@dataclass(frozen=True)
class TileKernel:
    """A GpuTileKernel in SI units.

    Arrays (tiles, 1) hold a number of each tile, a tile being a row of the library's table at one count of splits;
    ``sides`` (rows, 1) those that do not depend on the splits, and ``row`` the row of each tile.
    """

    part: GpuTileKernel
    value: TileNumbers
    view: ViewNumbers
    sides: TileSides
    row: NDArray[np.intp]
    splits: Floats
    preference: Floats
    by_k: Floats
    by_blocks: Floats

    @classmethod
    def of(cls, part: GpuTileKernel) -> TileKernel:
        """The kernel that a library's YAML describes."""
        rows = part.tiles.rows
        sides = ((side == "tokens", fixed, most, granule, efficiency)
                 for side, fixed, most, granule, _, efficiency, *_ in rows)  # fmt: skip
        along, *columns = _columns(sides)
        row = np.repeat(np.arange(len(rows)), [len(splits) for _, _, _, _, splits, *_ in rows])
        tiles = _columns((split, *leaning) for _, _, _, _, splits, _, *leaning in rows for split in splits)
        return cls(
            part, TileNumbers.of(part), ViewNumbers.of(part.view), TileSides(along > 0, *columns), row, *tiles
        )  # fmt: skip

    @cached_property
    def estimated(self) -> TileNumbers:
        """The numbers as the library's estimate has them."""
        return self.value.estimated(self.view)


def _columns(rows: Iterable[Sequence[float]]) -> list[Floats]:
    return [np.array(column, np.float64)[:, None] for column in zip(*rows, strict=True)]
