# SPDX-License-Identifier: Apache-2.0
"""Run length: every stored value with the number of zeros before it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import FORMATS, POINTER_BITS, Array, Encoded, Format, matrix
from simsparse.sparsity.formats.bits import pack
from simsparse.sparsity.formats.checks import below, stored_numbers, stored_pointers, stored_values
from simsparse.sparsity.statement import Sparsity

LONGEST_RUN_BITS = 32
USUAL_RUN_BITS = 4
"""Bits of a run in EIE and in Eyeriss v2."""


@FORMATS.register("run_length")
class RunLength(Format):
    """Runs of ``run_bits``; a longer gap is bridged by zeros that are stored, one after each full run.

    Elements go in row-major order. With ``per_row`` the runs begin anew in each row, and 32-bit row pointers say
    where; without, one stream runs through the matrix. Zeros after the last value are not stored.
    Sources: EIE (Han et al., ISCA 2016: 4 bits, pointers) and Eyeriss v2 (Chen et al., JETCAS 2019: 4 bits,
    pointers), both of the transpose; SCNN (Parashar et al., ISCA 2017: a stream a block).
    """

    name: ClassVar[str] = "run_length"
    parameters: ClassVar[tuple[str, ...]] = ("run_bits",)

    def __init__(self, run_bits: int, per_row: bool) -> None:
        if not 0 < run_bits <= LONGEST_RUN_BITS:
            wrong = f"runs of {run_bits} bits; expected 1 to {LONGEST_RUN_BITS}"
            raise SpecError(wrong, key=self.name)
        self.run_bits, self.per_row = run_bits, per_row

    @classmethod
    def read(cls, *numbers: int) -> Format:
        (run_bits,) = numbers
        return cls(run_bits, per_row=True)

    @classmethod
    def of(cls, sparsity: Sparsity, shape: tuple[int, int], value_bits: int) -> Format:
        del sparsity, shape, value_bits
        return cls(USUAL_RUN_BITS, per_row=True)

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        mask = array != 0
        gaps, padding = self._gaps(mask)
        last = np.cumsum(padding + 1) - 1
        units = int(last[-1]) + 1 if last.size else 0
        values = np.zeros(units, array.dtype)
        runs = np.full(units, self._longest, np.int64)
        values[last] = array[mask]
        runs[last] = gaps & self._longest
        metadata, bits = {"runs": pack(runs, self.run_bits)}, {"runs": units * self.run_bits}
        if self.per_row:
            ends = np.cumsum(mask.sum(axis=1))
            pointers = np.concatenate([[0], np.concatenate([[0], last + 1])[ends]])
            metadata["pointers"] = pack(pointers, POINTER_BITS)
            bits["pointers"] = (rows + 1) * POINTER_BITS
        return Encoded((rows, cols), values, metadata, bits, units)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        values = stored_values(encoded, self.name, encoded.units)
        runs = stored_numbers(encoded, self.name, "runs", self.run_bits, values.size)
        places = np.cumsum(runs + 1) - 1
        ends: int | NDArray[np.int64] = rows * cols
        if self.per_row:
            pointers = stored_pointers(encoded, self.name, rows)
            row = np.repeat(np.arange(rows), np.diff(pointers))
            before = np.concatenate([[0], places + 1])[pointers[:-1]]
            places += row * cols - before[row]
            ends = (row + 1) * cols
        below(places, ends, self.name, "runs")
        array = np.zeros(rows * cols, values.dtype)
        array[places] = values
        return array.reshape(rows, cols)

    def units(self, mask: NDArray[np.bool_]) -> int:
        padding = self._gaps(mask)[1]
        return padding.size + int(padding.sum())

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        return units * (value_bits + self.run_bits) + self.per_row * (shape[0] + 1) * POINTER_BITS

    @property
    def _longest(self) -> int:
        return (1 << self.run_bits) - 1

    def _gaps(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Zeros before each non-zero, and how many of them are stored."""
        places = np.flatnonzero(mask)
        begins = np.concatenate([[0], places + 1])[: places.size]
        if self.per_row:
            begins = np.maximum(begins, places - places % mask.shape[1])
        gaps = places - begins
        return gaps, gaps >> self.run_bits
