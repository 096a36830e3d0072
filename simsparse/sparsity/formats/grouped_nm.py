# SPDX-License-Identifier: Apache-2.0
"""Grouped n:m: every pattern equally often in a fixed order, so that a counter replaces the indexes."""

from __future__ import annotations

from functools import cache
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import FORMATS, Array, Encoded, Format, matrix
from simsparse.sparsity.formats.bits import grouped, index_bits, pack
from simsparse.sparsity.formats.checks import cropped, stored_numbers, stored_values
from simsparse.sparsity.formats.matching import Unmatched, assigned
from simsparse.sparsity.statement import Sparsity

LARGEST_CHUNK = 1 << 15


@cache
def pattern_order(n: int, m: int, far: bool = False) -> tuple[tuple[int, ...], ...]:
    """All ascending choices of ``n`` of ``m``, neighbours differing in one index.

    ``far`` asks for the order that another one continues. Source: the order of STen's n:m:g tensors
    (spcl/sten, src/sten/grouped_nm/grouped_nm_tensor.py, ``make_n_m``).
    """
    if n in {0, m}:
        return (tuple(range(n)),)
    without = pattern_order(n, m - 1, True)
    with_last = tuple((*pattern, m - 1) for pattern in pattern_order(n - 1, m - 1, not far))
    return (*(reversed(without) if far else without), *with_last)


@FORMATS.register("nmg")
class GroupedNM(Format):
    """n:m:g. In a chunk of C(n, m) * ``g`` rows, each group of ``m`` columns holds every pattern in ``g`` rows.

    Stored for each chunk and group of columns, pattern by pattern in the order of pattern_order(): ``g`` rows of
    ``n`` values, and which row of the chunk each is, in ceil(log2(C(m, n) * g)) bits (STen's own tensors take 16).
    A row with fewer non-zeros counts for any pattern that covers them; rows and columns are filled with zeros.
    Source: Ivanov et al., "STen: Productive and Efficient Sparsity in PyTorch", 2023, and its repository.
    """

    name: ClassVar[str] = "nmg"
    parameters: ClassVar[tuple[str, ...]] = ("n", "m", "g")

    def __init__(self, n: int, m: int, g: int) -> None:
        if not (0 < n <= m and g > 0 and comb(m, n) * g < LARGEST_CHUNK):
            wrong = f"{n}:{m}:{g} is not n:m:g; expected 0 < n <= m, 0 < g and C(m, n) g < {LARGEST_CHUNK}"
            raise SpecError(wrong, key=self.name)
        self.n, self.m, self.g = n, m, g
        self.chunk = comb(m, n) * g

    def encode(self, array: Array) -> Encoded:
        rows, cols = matrix(array).shape
        tiles = self._tiles(array)
        rows_of = self._rows_of(tiles != 0, rows)
        order = np.array(pattern_order(self.n, self.m)).repeat(self.g, axis=0)
        tile = np.arange(len(tiles))[:, None, None]
        values = tiles[tile, rows_of[..., None], order].reshape(-1)
        width = index_bits(self.chunk)
        return Encoded(
            (rows, cols), values, {"rows": pack(rows_of, width)}, {"rows": rows_of.size * width}, values.size
        )

    def decode(self, encoded: Encoded) -> Array:
        rows, cols = encoded.shape
        chunks, blocks = self._grid(encoded.shape)
        values = stored_values(encoded, self.name, chunks * blocks * self.chunk * self.n)
        slots = chunks * blocks * self.chunk
        rows_of = stored_numbers(encoded, self.name, "rows", index_bits(self.chunk), slots).reshape(-1, self.chunk)
        self._check_rows(rows_of)
        order = np.array(pattern_order(self.n, self.m)).repeat(self.g, axis=0)
        places = (np.arange(len(rows_of))[:, None] * self.chunk + rows_of)[..., None] * self.m + order
        tiles = np.zeros(slots * self.m, values.dtype)
        tiles[places.reshape(-1)] = values
        padded = tiles.reshape(chunks, blocks, self.chunk, self.m).swapaxes(1, 2)
        return cropped(padded.reshape(chunks * self.chunk, blocks * self.m), (rows, cols), self.name)

    def units(self, mask: NDArray[np.bool_]) -> int:
        rows, cols = map(int, mask.shape)
        chunks, blocks = self._grid((rows, cols))
        return chunks * blocks * self.chunk * self.n

    def refusal(self, sparsity: Sparsity, shape: tuple[int, int]) -> str | None:
        del shape
        text = f"nmg:{self.n}:{self.m}:{self.g}"
        return None if text in sparsity.usual else f"{sparsity} weights need not share the choices of {text}"

    def pattern_units(self, sparsity: Sparsity, shape: tuple[int, int]) -> int:
        del sparsity
        chunks, blocks = self._grid(shape)
        return chunks * blocks * self.chunk * self.n

    def stored_bits(self, shape: tuple[int, int], units: int, value_bits: int) -> int:
        del shape
        return units * value_bits + units // self.n * index_bits(self.chunk)

    def _grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        return -(-shape[0] // self.chunk), -(-shape[1] // self.m)

    def _tiles(self, array: Array) -> Array:
        """(chunks * blocks, rows of a chunk, m)."""
        chunks, blocks = self._grid((array.shape[0], array.shape[1]))
        padded = np.zeros((chunks * self.chunk, array.shape[1]), array.dtype)
        padded[: len(array)] = array
        groups = grouped(padded, self.m).reshape(chunks, self.chunk, blocks, self.m)
        return groups.swapaxes(1, 2).reshape(chunks * blocks, self.chunk, self.m)

    def _rows_of(self, mask: NDArray[np.bool_], rows: int) -> NDArray[np.int64]:
        """(tiles, chunk): the row in each slot. Raises SpecError when a tile's rows can't share the patterns."""
        patterns = np.array(pattern_order(self.n, self.m))
        sets = np.zeros((len(patterns), self.m), np.bool_)
        np.put_along_axis(sets, patterns, True, axis=1)
        found = assigned(mask, sets, self.g)
        if not isinstance(found, Unmatched):
            return np.argsort(found, axis=1, kind="stable")
        blocks = len(mask) // max(1, -(-rows // self.chunk))
        chunk, block = divmod(found.tile, blocks)
        raise SpecError(f"rows {chunk * self.chunk} to {min(rows, (chunk + 1) * self.chunk) - 1} of columns "
                        f"{block * self.m} to {(block + 1) * self.m - 1} can't share {len(patterns)} patterns, "
                        f"{self.g} rows each: row {chunk * self.chunk + found.row} has none left",
                        key=self.name)  # fmt: skip

    def _check_rows(self, rows_of: NDArray[np.int64]) -> None:
        if (wrong := np.argwhere(np.sort(rows_of, axis=1) != np.arange(self.chunk))).size:
            raise SpecError(f"tile {int(wrong[0, 0])} does not name each of {self.chunk} rows once",
                            key=f"{self.name}.rows")  # fmt: skip
