# SPDX-License-Identifier: Apache-2.0
"""N:M: exactly N values of every M along a row, with indexes, a bitmap or the number of the combination."""

from __future__ import annotations

from abc import abstractmethod
from math import comb
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import FORMATS, Array, Encoded, Format, matrix
from simsparse.sparsity.formats.bits import grouped, index_bits, kept_first, pack
from simsparse.sparsity.formats.checks import ascending, below, cropped, stored_numbers, stored_values
from simsparse.sparsity.statement import Sparsity

LARGEST_M = 32


class _NM(Format):
    """``n`` values of every ``m``; a group with fewer non-zeros stores zeros, a short last group too."""

    parameters: ClassVar[tuple[str, ...]] = ("n", "m")

    def __init__(self, n: int, m: int) -> None:
        if not 0 < n <= m:
            raise SpecError(f"{n}:{m} is not N:M; expected 0 < N <= M", key=self.name)
        self.n, self.m = n, m

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        groups = grouped(array, self.m)
        mask = groups != 0
        positions = kept_first(mask, self.n)
        values = np.take_along_axis(groups, positions, axis=-1).reshape(-1)
        if np.count_nonzero(values) != np.count_nonzero(mask):
            raise self._too_many(mask)
        width = self._metadata_bits()
        packed = {self.name: pack(self._numbers(positions), self._number_bits())} if width else {}
        bits = {self.name: rows * groups.shape[1] * width} if width else {}
        return Encoded((rows, cols), values, packed, bits, values.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        count = rows * -(-cols // self.m)
        values = stored_values(encoded, self.name, count * self.n)
        positions = self._positions(encoded, count)
        groups = np.zeros(count * self.m, values.dtype)
        groups[(np.arange(count)[:, None] * self.m + positions).reshape(-1)] = values
        return cropped(groups.reshape(rows, -(-cols // self.m) * self.m), (rows, cols), self.name)

    def units(self, mask: NDArray[np.bool_]) -> int:
        rows, cols = map(int, mask.shape)
        return rows * -(-cols // self.m) * self.n

    @classmethod
    def of(cls, sparsity: Sparsity, shape: tuple[int, int], value_bits: int) -> Format:
        if sparsity.groups is None:
            return super().of(sparsity, shape, value_bits)
        keep, size = sparsity.groups
        return cls(keep, size)

    def refusal(self, sparsity: Sparsity, shape: tuple[int, int]) -> str | None:
        del shape
        most = sparsity.most(self.m)
        wrong = f"{sparsity} weights keep up to {most} of {self.m}; {self.name} stores {self.n}"
        return wrong if most > self.n else None

    def pattern_units(self, sparsity: Sparsity, shape: tuple[int, int]) -> int:
        del sparsity
        return shape[0] * -(-shape[1] // self.m) * self.n

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        del shape
        return units * value_bits + units // self.n * self._metadata_bits()

    def _too_many(self, mask: NDArray[np.bool_]) -> SpecError:
        row, group = (int(number) for number in np.argwhere(mask.sum(axis=-1) > self.n)[0])
        return SpecError(f"row {row} keeps more than {self.n} of {self.m} in group {group}", key=self.name)

    @abstractmethod
    def _metadata_bits(self) -> int:
        """Metadata bits of one group."""

    @abstractmethod
    def _number_bits(self) -> int:
        """Width of one metadata number."""

    @abstractmethod
    def _numbers(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        """Metadata numbers of the kept ``positions`` (rows, groups, n)."""

    @abstractmethod
    def _positions(self, encoded: Encoded, count: int) -> NDArray[np.int64]:
        """Kept positions (count, n), back from the metadata. Raises SpecError when they are none."""


@FORMATS.register("nm_index")
class NMIndex(_NM):
    """ceil(log2 m) bits a kept value, as in sparse tensor cores (2 bits for 2:4)."""

    name: ClassVar[str] = "nm_index"

    def _number_bits(self) -> int:
        return index_bits(self.m) if self.m > 1 else 0

    def _metadata_bits(self) -> int:
        return self.n * self._number_bits()

    def _numbers(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        return positions

    def _positions(self, encoded: Encoded, count: int) -> NDArray[np.int64]:
        if self.m == 1:
            return np.zeros((count, 1), np.int64)
        numbers = stored_numbers(encoded, self.name, self.name, self._number_bits(), count * self.n)
        positions = numbers.reshape(count, self.n)
        below(positions, self.m, self.name, self.name)
        ascending(positions, self.name, self.name)
        return positions


@FORMATS.register("nm_bitmap")
class NMBitmap(_NM):
    """m bits a group, n of them set."""

    name: ClassVar[str] = "nm_bitmap"

    def _number_bits(self) -> int:
        return 1

    def _metadata_bits(self) -> int:
        return self.m

    def _numbers(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        bitmap = np.zeros((*positions.shape[:-1], self.m), np.bool_)
        np.put_along_axis(bitmap, positions, True, axis=-1)
        return bitmap

    def _positions(self, encoded: Encoded, count: int) -> NDArray[np.int64]:
        bitmap = stored_numbers(encoded, self.name, self.name, 1, count * self.m)
        places = np.flatnonzero(bitmap)
        group, position = np.divmod(places, self.m)
        if not np.array_equal(group, np.arange(count).repeat(self.n)):
            held = np.bincount(group, minlength=count)
            wrong = int(np.flatnonzero(held != self.n)[0])
            raise SpecError(f"group {wrong} sets {int(held[wrong])} bits; expected {self.n}",
                            key=f"{self.name}.{self.name}")  # fmt: skip
        return position.reshape(count, self.n)


@FORMATS.register("nm_combinatorial")
class NMCombinatorial(_NM):
    """ceil(log2 C(m, n)) bits a group: the number of the set of kept positions, ``m`` up to 32.

    Positions p1 < p2 < ... < pn have the number C(p1, 1) + C(p2, 2) + ... + C(pn, n), which runs from 0 to
    C(m, n) - 1. Source: the combinatorial number system (Lehmer 1964; Knuth, TAOCP 4A, 7.2.1.3).
    """

    name: ClassVar[str] = "nm_combinatorial"

    def __init__(self, n: int, m: int) -> None:
        super().__init__(n, m)
        if m > LARGEST_M:
            raise SpecError(f"{n}:{m} has too many combinations; expected M up to {LARGEST_M}", key=self.name)
        self._choices = np.array([[comb(position, taken) for position in range(m)] for taken in range(1, n + 1)])

    def _number_bits(self) -> int:
        return (comb(self.m, self.n) - 1).bit_length()

    def _metadata_bits(self) -> int:
        return self._number_bits()

    def _numbers(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        return combination_numbers(positions, self._choices)

    def _positions(self, encoded: Encoded, count: int) -> NDArray[np.int64]:
        if self.n == self.m:
            return np.tile(np.arange(self.n), (count, 1))
        rest = stored_numbers(encoded, self.name, self.name, self._number_bits(), count)
        below(rest, comb(self.m, self.n), self.name, self.name)
        positions = np.empty((count, self.n), np.int64)
        for taken in reversed(range(self.n)):
            positions[:, taken] = np.searchsorted(self._choices[taken], rest, side="right") - 1
            rest = rest - self._choices[taken][positions[:, taken]]
        return positions


def combination_numbers(positions: NDArray[np.int64], choices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers (...) of the ascending ``positions`` (..., n), ``choices[i, p]`` being C(p, i + 1)."""
    numbers = np.zeros(positions.shape[:-1], np.int64)
    for taken, choice in enumerate(choices):
        numbers += choice[positions[..., taken]]
    return numbers
