# SPDX-License-Identifier: Apache-2.0
"""COO: every non-zero with its row and its column."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.sparsity.formats.base import FORMATS, Array, Encoded, SingleElements, matrix
from simsparse.sparsity.formats.bits import pack
from simsparse.sparsity.formats.checks import ascending, below, stored_numbers, stored_values
from simsparse.sparsity.formats.compressed import compressed_index_bits


@FORMATS.register("coo")
class Coo(SingleElements):
    """Non-zeros in row-major order, a 16- or 32-bit word each for row and column."""

    name: ClassVar[str] = "coo"

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        row, col = np.nonzero(array)
        widths = compressed_index_bits(rows), compressed_index_bits(cols)
        metadata = {"rows": pack(row, widths[0]), "cols": pack(col, widths[1])}
        bits = {"rows": row.size * widths[0], "cols": col.size * widths[1]}
        return Encoded((rows, cols), array[row, col], metadata, bits, row.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        values = stored_values(encoded, self.name, encoded.units)
        row = stored_numbers(encoded, self.name, "rows", compressed_index_bits(rows), values.size)
        col = stored_numbers(encoded, self.name, "cols", compressed_index_bits(cols), values.size)
        below(row, rows, self.name, "rows")
        below(col, cols, self.name, "cols")
        places = row * cols + col
        ascending(places, self.name, "cols")
        array = np.zeros(rows * cols, values.dtype)
        array[places] = values
        return array.reshape(rows, cols)

    def units(self, mask: NDArray[np.bool_]) -> int:
        return int(mask.sum())

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        return units * (value_bits + sum(compressed_index_bits(length) for length in shape))
