"""N:M: exactly N values of every M along a row, with indexes or a bitmap."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.formats.base import FORMATS, Array, Encoded, Format, matrix
from simsparse.formats.bits import grouped, index_bits, kept_first, pack, unpack


class _NM(Format):
    """``n`` values of every ``m``; a group with fewer non-zeros stores zeros, a short last group too."""

    def __init__(self, n: int, m: int) -> None:
        if not 0 < n <= m:
            raise SpecError(f"{n}:{m} is not N:M; expected 0 < N <= M", key=self.name)
        self.n, self.m = n, m

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        groups = grouped(array, self.m)
        self._check(groups != 0)
        positions = kept_first(groups != 0, self.n)
        values = np.take_along_axis(groups, positions, axis=-1).reshape(-1)
        width = self._metadata_bits()
        packed = {self.name: pack(self._numbers(positions), self._number_bits())} if width else {}
        bits = {self.name: rows * groups.shape[1] * width} if width else {}
        return Encoded((rows, cols), values, packed, bits, values.size)

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        count = rows * -(-cols // self.m)
        positions = self._positions(encoded, count)
        groups = np.zeros((count, self.m), encoded.values.dtype)
        np.put_along_axis(groups, positions, encoded.values.reshape(count, self.n), axis=-1)
        return groups.reshape(rows, -1)[:, :cols]

    def units(self, mask: NDArray[np.bool_]) -> int:
        rows, cols = map(int, mask.shape)
        return rows * -(-cols // self.m) * self.n

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        del shape
        return units * value_bits + units // self.n * self._metadata_bits()

    def _check(self, mask: NDArray[np.bool_]) -> None:
        over = np.argwhere(mask.sum(axis=-1) > self.n)
        if over.size:
            row, group = (int(number) for number in over[0])
            raise SpecError(f"row {row} keeps more than {self.n} of {self.m} in group {group}", key=self.name)

    @abstractmethod
    def _metadata_bits(self) -> int:
        """Metadata bits of one group."""

    @abstractmethod
    def _number_bits(self) -> int:
        """Width of one metadata number."""

    @abstractmethod
    def _numbers(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Metadata numbers of the kept ``positions`` (rows, groups, n)."""

    @abstractmethod
    def _positions(self, encoded: Encoded, count: int) -> NDArray[np.int64]:
        """Kept positions (count, n), back from the metadata."""


@FORMATS.register("nm_index")
class NMIndex(_NM):
    """ceil(log2 m) bits a kept value, as in sparse tensor cores (2 bits for 2:4)."""

    name: ClassVar[str] = "nm_index"

    def _number_bits(self) -> int:
        return index_bits(self.m) if self.m > 1 else 0

    def _metadata_bits(self) -> int:
        return self.n * self._number_bits()

    def _numbers(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return positions

    def _positions(self, encoded: Encoded, count: int) -> NDArray[np.int64]:
        if self.m == 1:
            return np.zeros((count, 1), np.int64)
        return unpack(encoded.metadata[self.name], self._number_bits(), count * self.n).reshape(count, self.n)


@FORMATS.register("nm_bitmap")
class NMBitmap(_NM):
    """m bits a group, n of them set."""

    name: ClassVar[str] = "nm_bitmap"

    def _number_bits(self) -> int:
        return 1

    def _metadata_bits(self) -> int:
        return self.m

    def _numbers(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        bitmap = np.zeros((*positions.shape[:-1], self.m), np.int64)
        np.put_along_axis(bitmap, positions, 1, axis=-1)
        return bitmap

    def _positions(self, encoded: Encoded, count: int) -> NDArray[np.int64]:
        bitmap = unpack(encoded.metadata[self.name], 1, count * self.m).reshape(count, self.m)
        return np.nonzero(bitmap)[1].reshape(count, self.n).astype(np.int64)
