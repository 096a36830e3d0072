# SPDX-License-Identifier: Apache-2.0
"""Constant fan-in: every row keeps equally many values, anywhere."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import FORMATS, Array, Encoded, Format, matrix
from simsparse.sparsity.formats.bits import index_bits, kept_first, pack
from simsparse.sparsity.formats.checks import ascending, below, stored_numbers, stored_values
from simsparse.sparsity.statement import Sparsity


@FORMATS.register("fan_in")
class ConstantFanIn(Format):
    """``keep`` values a row with column indexes of ceil(log2 cols) bits; no row pointers.

    Source: Lasby et al., ICLR 2024 (condensed representation).
    """

    name: ClassVar[str] = "fan_in"
    parameters: ClassVar[tuple[str, ...]] = ("keep",)

    def __init__(self, keep: int) -> None:
        if keep < 1:
            raise SpecError(f"{keep} is not a fan-in; expected at least 1", key=self.name)
        self.keep = keep

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        mask = array != 0
        if (over := np.flatnonzero(mask.sum(axis=1) > self.keep)).size:
            raise SpecError(f"row {int(over[0])} keeps more than {self.keep}", key=self.name)
        positions = kept_first(mask, self.keep)
        values = np.take_along_axis(array, positions, axis=1).reshape(-1)
        width = index_bits(cols)
        return Encoded((rows, cols), values, {"indexes": pack(positions, width)},
                       {"indexes": values.size * width}, values.size)  # fmt: skip

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        kept = min(self.keep, cols)
        values = stored_values(encoded, self.name, rows * kept)
        numbers = stored_numbers(encoded, self.name, "indexes", index_bits(cols), encoded.units)
        below(numbers, cols, self.name, "indexes")
        positions = numbers.reshape(rows, kept)
        ascending(positions, self.name, "indexes")
        array = np.zeros(encoded.shape, values.dtype)
        np.put_along_axis(array, positions, values.reshape(rows, kept), axis=1)
        return array

    def units(self, mask: NDArray[np.bool_]) -> int:
        rows, cols = map(int, mask.shape)
        return rows * min(self.keep, cols)

    @classmethod
    def of(cls, sparsity: Sparsity, shape: tuple[int, int], value_bits: int) -> Format:
        if sparsity.groups is None:
            return super().of(sparsity, shape, value_bits)
        return cls(max(1, sparsity.kept(1, shape[1])))

    def refusal(self, sparsity: Sparsity, shape: tuple[int, int]) -> str | None:
        most = shape[1] if sparsity.groups is None else sparsity.kept(1, shape[1])
        wrong = f"{sparsity} weights keep up to {most} of {shape[1]} in a row; fan_in stores {self.keep}"
        return wrong if most > self.keep else None

    def pattern_units(self, sparsity: Sparsity, shape: tuple[int, int]) -> int:
        del sparsity
        return shape[0] * min(self.keep, shape[1])

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        return units * (value_bits + index_bits(shape[1]))
