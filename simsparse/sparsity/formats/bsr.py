# SPDX-License-Identifier: Apache-2.0
"""BSR: compressed rows of square blocks."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import FORMATS, POINTER_BITS, Array, Encoded, Format, matrix
from simsparse.sparsity.formats.bits import pack
from simsparse.sparsity.formats.checks import ascending, below, cropped, stored_numbers, stored_pointers, stored_values
from simsparse.sparsity.statement import Sparsity

INDEX_BITS = 32


@FORMATS.register("bsr")
class Bsr(Format):
    """Blocks of ``block`` x ``block`` with any non-zero, stored whole; edge blocks are filled with zeros."""

    name: ClassVar[str] = "bsr"
    parameters: ClassVar[tuple[str, ...]] = ("block",)

    def __init__(self, block: int) -> None:
        if block < 1:
            raise SpecError(f"{block} is not a block edge; expected at least 1", key=self.name)
        self.block = block

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        blocks = self._blocks(array)
        row, col = np.nonzero((blocks != 0).any(axis=(2, 3)))
        pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=blocks.shape[0]))])
        metadata = {"indexes": pack(col, INDEX_BITS), "pointers": pack(pointers, POINTER_BITS)}
        bits = {"indexes": col.size * INDEX_BITS, "pointers": pointers.size * POINTER_BITS}
        return Encoded((rows, cols), blocks[row, col].reshape(-1), metadata, bits, col.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        block_rows, block_cols = self._grid(encoded.shape)
        pointers = stored_pointers(encoded, self.name, block_rows)
        col = stored_numbers(encoded, self.name, "indexes", INDEX_BITS, encoded.units)
        below(col, block_cols, self.name, "indexes")
        places = np.repeat(np.arange(block_rows) * block_cols, np.diff(pointers)) + col
        ascending(places, self.name, "indexes")
        blocks = np.zeros((block_rows * block_cols, self.block, self.block), encoded.values.dtype)
        values = stored_values(encoded, self.name, encoded.units, self.block * self.block)
        blocks[places] = values.reshape(-1, self.block, self.block)
        tiles = blocks.reshape(block_rows, block_cols, self.block, self.block).swapaxes(1, 2)
        return cropped(tiles.reshape(block_rows * self.block, block_cols * self.block), (rows, cols), self.name)

    def units(self, mask: NDArray[np.bool_]) -> int:
        return int(self._blocks(mask).any(axis=(2, 3)).sum())

    @property
    def rows_together(self) -> int:
        return self.block

    def pattern_units(self, sparsity: Sparsity, shape: tuple[int, int]) -> int:
        known = sparsity.tiles(self.block, *shape)
        return super().pattern_units(sparsity, shape) if known is None else known

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        pointers = self._grid(shape)[0] + 1
        return units * (self.block * self.block * value_bits + INDEX_BITS) + pointers * POINTER_BITS

    def _grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        return -(-shape[0] // self.block), -(-shape[1] // self.block)

    def _blocks(self, array: Array) -> Array:
        """(block rows, block cols, block, block)."""
        rows, cols = array.shape
        block_rows, block_cols = self._grid((rows, cols))
        padded = np.zeros((block_rows * self.block, block_cols * self.block), array.dtype)
        padded[:rows, :cols] = array
        return padded.reshape(block_rows, self.block, block_cols, self.block).swapaxes(1, 2)
