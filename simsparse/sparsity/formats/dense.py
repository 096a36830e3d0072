# SPDX-License-Identifier: Apache-2.0
"""Every element, zero or not."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.sparsity.formats.base import FORMATS, Array, Encoded, Format, matrix
from simsparse.sparsity.formats.checks import stored_values
from simsparse.sparsity.statement import Sparsity


@FORMATS.register("dense")
class Dense(Format):
    """Row-major elements, no metadata."""

    name: ClassVar[str] = "dense"

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        return Encoded((rows, cols), array.reshape(-1).copy(), {}, {}, array.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        return stored_values(encoded, self.name, rows * cols).reshape(rows, cols)

    def units(self, mask: NDArray[np.bool_]) -> int:
        return mask.size

    def pattern_units(self, sparsity: Sparsity, shape: tuple[int, int]) -> int:
        del sparsity
        return shape[0] * shape[1]

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        del shape
        return units * value_bits
