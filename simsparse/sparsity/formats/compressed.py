# SPDX-License-Identifier: Apache-2.0
"""CSR and CSC: the non-zeros of each row or column, their indexes, and where each begins."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.sparsity.formats.base import FORMATS, POINTER_BITS, Array, Encoded, SingleElements, matrix
from simsparse.sparsity.formats.bits import pack
from simsparse.sparsity.formats.checks import ascending, below, stored_numbers, stored_pointers, stored_values


def compressed_index_bits(length: int) -> int:
    """Bits of an index into a row of ``length``: a 16-bit or a 32-bit word, as libraries store it."""
    return 16 if length <= 1 << 16 else 32


@FORMATS.register("csr")
class Csr(SingleElements):
    """Compressed sparse rows; 32-bit row pointers."""

    name: ClassVar[str] = "csr"

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        row, col = np.nonzero(array)
        pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
        width = compressed_index_bits(cols)
        metadata = {"indexes": pack(col, width), "pointers": pack(pointers, POINTER_BITS)}
        bits = {"indexes": col.size * width, "pointers": (rows + 1) * POINTER_BITS}
        return Encoded((rows, cols), array[row, col], metadata, bits, col.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        pointers = stored_pointers(encoded, self.name, rows)
        col = stored_numbers(encoded, self.name, "indexes", compressed_index_bits(cols), encoded.units)
        below(col, cols, self.name, "indexes")
        places = np.repeat(np.arange(rows) * cols, np.diff(pointers)) + col
        ascending(places, self.name, "indexes")
        array = np.zeros(rows * cols, encoded.values.dtype)
        array[places] = stored_values(encoded, self.name, encoded.units)
        return array.reshape(rows, cols)

    def units(self, mask: NDArray[np.bool_]) -> int:
        return int(mask.sum())

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        rows, cols = shape
        return units * (value_bits + compressed_index_bits(cols)) + (rows + 1) * POINTER_BITS


@FORMATS.register("csc")
class Csc(Csr):
    """Compressed sparse columns: CSR of the transpose."""

    name: ClassVar[str] = "csc"

    def encode(self, array: Array) -> Encoded:
        turned = super().encode(matrix(array).T)
        rows, cols = array.shape
        return Encoded((rows, cols), turned.values, turned.metadata, turned.metadata_bits, turned.units)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        turned = Encoded((cols, rows), encoded.values, encoded.metadata, encoded.metadata_bits, encoded.units)
        return super().decode(turned).T

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        rows, cols = shape
        return super().stored_bits((cols, rows), units, value_bits)
