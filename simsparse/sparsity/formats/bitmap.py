# SPDX-License-Identifier: Apache-2.0
"""Bitmap: one bit an element, then the non-zeros."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.sparsity.formats.base import FORMATS, Array, Encoded, SingleElements, matrix
from simsparse.sparsity.formats.bits import pack
from simsparse.sparsity.formats.checks import stored_numbers, stored_values


@FORMATS.register("bitmap")
class Bitmap(SingleElements):
    """A row-major mask and the non-zeros in its order, as in SIGMA."""

    name: ClassVar[str] = "bitmap"

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        mask = array != 0
        values = array[mask]
        return Encoded((rows, cols), values, {"mask": pack(mask, 1)}, {"mask": array.size}, values.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        mask = stored_numbers(encoded, self.name, "mask", 1, rows * cols) != 0
        array = np.zeros(rows * cols, encoded.values.dtype)
        array[mask] = stored_values(encoded, self.name, int(mask.sum()))
        return array.reshape(rows, cols)

    def units(self, mask: NDArray[np.bool_]) -> int:
        return int(mask.sum())

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        return units * value_bits + shape[0] * shape[1]
