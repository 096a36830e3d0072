"""Bitmap: one bit an element, then the non-zeros."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.formats.base import FORMATS, Array, Encoded, Format, matrix
from simsparse.formats.bits import pack, unpack


@FORMATS.register("bitmap")
class Bitmap(Format):
    """A row-major mask and the non-zeros in its order, as in SIGMA."""

    name: ClassVar[str] = "bitmap"

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        mask = array != 0
        values = array[mask]
        return Encoded((rows, cols), values, {"mask": pack(mask, 1)}, {"mask": array.size}, values.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        array = np.zeros(encoded.shape, encoded.values.dtype)
        array[unpack(encoded.metadata["mask"], 1, rows * cols).reshape(rows, cols) != 0] = encoded.values
        return array

    def units(self, mask: NDArray[np.bool_]) -> int:
        return int(mask.sum())

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        return units * value_bits + shape[0] * shape[1]
