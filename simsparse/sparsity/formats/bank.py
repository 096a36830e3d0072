# SPDX-License-Identifier: Apache-2.0
"""Bank-balanced: every bank of a row keeps equally many values."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import FORMATS, Array, Encoded, Format, matrix
from simsparse.sparsity.formats.bits import grouped, index_bits, kept_first, pack
from simsparse.sparsity.formats.checks import ascending, below, stored_numbers, stored_values
from simsparse.sparsity.statement import Sparsity


@FORMATS.register("bank")
class BankBalanced(Format):
    """``keep`` values of each ``bank`` elements of a row with their indexes in the bank.

    The last bank may be shorter and keeps at most what it has. Source: Cao et al., FPGA 2019.
    """

    name: ClassVar[str] = "bank"
    parameters: ClassVar[tuple[str, ...]] = ("bank", "keep")

    def __init__(self, bank: int, keep: int) -> None:
        if not 0 < keep <= bank:
            raise SpecError(f"{keep} of {bank} is not a bank; expected 0 < keep <= bank", key=self.name)
        self.bank, self.keep = bank, keep

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        banks = grouped(array, self.bank)
        self._check(banks != 0)
        positions = kept_first(banks != 0, self.keep)
        used = self._used(cols)[None, :, :].repeat(rows, axis=0)
        values = np.take_along_axis(banks, positions, axis=-1)[used]
        width = index_bits(self.bank)
        packed = {"indexes": pack(positions[used], width)}
        return Encoded((rows, cols), values, packed, {"indexes": values.size * width}, values.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        slots = self._used(cols)
        used = np.flatnonzero(np.tile(slots.reshape(-1), rows))
        bank = used // self.keep % max(1, len(slots))
        values = stored_values(encoded, self.name, used.size)
        positions = stored_numbers(encoded, self.name, "indexes", index_bits(self.bank), used.size)
        below(positions, np.minimum(self.bank, cols - bank * self.bank), self.name, "indexes")
        places = used // (self.keep * max(1, len(slots))) * cols + bank * self.bank + positions
        ascending(places, self.name, "indexes")
        array = np.zeros(rows * cols, values.dtype)
        array[places] = values
        return array.reshape(rows, cols)

    def units(self, mask: NDArray[np.bool_]) -> int:
        return len(mask) * int(self._used(mask.shape[1]).sum())

    @classmethod
    def of(cls, sparsity: Sparsity, shape: tuple[int, int], value_bits: int) -> Format:
        if sparsity.groups is None:
            return super().of(sparsity, shape, value_bits)
        keep, size = sparsity.groups
        return cls(size, keep)

    def refusal(self, sparsity: Sparsity, shape: tuple[int, int]) -> str | None:
        del shape
        most = sparsity.most(self.bank)
        wrong = f"{sparsity} weights keep up to {most} of {self.bank}; {self.name} stores {self.keep}"
        return wrong if most > self.keep else None

    def pattern_units(self, sparsity: Sparsity, shape: tuple[int, int]) -> int:
        del sparsity
        return shape[0] * int(self._used(shape[1]).sum())

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        del shape
        return units * (value_bits + index_bits(self.bank))

    def _used(self, cols: int) -> NDArray[np.bool_]:
        """(banks, keep): slots that exist; all but those of a short last bank."""
        starts = np.arange(-(-cols // self.bank)) * self.bank
        slots: NDArray[np.bool_] = np.arange(self.keep)[None, :] < (cols - starts)[:, None]
        return slots

    def _check(self, mask: NDArray[np.bool_]) -> None:
        over = np.argwhere(mask.sum(axis=-1) > self.keep)
        if over.size:
            row, bank = (int(number) for number in over[0])
            raise SpecError(f"row {row} keeps more than {self.keep} of {self.bank} in bank {bank}", key=self.name)
