# SPDX-License-Identifier: Apache-2.0
"""Rows of a sparse operand as sets that are merged: unions counted without a touch of every product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints
from simsparse.dataflow.sparse_engine import PeConfig
from simsparse.sparsity.nonzeros import Columns, NonZeros

WORD = 64
"""Columns that one word of a bitmap holds."""
POINTER = 4
"""Bytes of a row pointer."""

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Fibers:
    """Rows of a pattern (rows, cols); a row with at least two non-zeros a word has a bitmap beside its list.

    ``bitmap_of[row]`` is its row of ``bitmaps`` (kept, words), or -1. A bitmap takes no more bytes than the list.
    """

    pointers: Ints
    columns: Columns
    bitmap_of: Ints
    bitmaps: Words

    @classmethod
    def of(cls, pattern: NonZeros) -> Fibers:
        """Of a pattern; memory proportional to its non-zeros."""
        words = max(1, -(-pattern.shape[1] // WORD))
        full = pattern.row_counts >= 2 * words
        bitmap_of = np.where(full, np.cumsum(full) - 1, -1).astype(np.int64)
        bitmaps = np.zeros((max(1, int(full.sum())), words), np.uint64)
        _fill(pattern.pointers, pattern.columns, bitmap_of, bitmaps)
        return cls(pattern.pointers, pattern.columns, bitmap_of, bitmaps)

    @property
    def parts(self) -> tuple[Ints, Columns, Ints, Words]:
        """The arrays, as cores take them."""
        return self.pointers, self.columns, self.bitmap_of, self.bitmaps


@njit(cache=True)  # type: ignore[untyped-decorator]
def _fill(pointers: Ints, columns: Columns, bitmap_of: Ints, bitmaps: Words) -> None:
    for row in range(bitmap_of.size):
        if bitmap_of[row] >= 0:
            for at in range(pointers[row], pointers[row + 1]):
                bitmaps[bitmap_of[row], columns[at] >> 6] |= np.uint64(1) << np.uint64(columns[at] & 63)


@njit(cache=True)  # type: ignore[untyped-decorator]
def ones(word: np.uint64) -> np.int64:
    """Bits of a word that are set."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True)  # type: ignore[untyped-decorator]
def join(
    pointers: Ints, columns: Columns, bitmap_of: Ints, bitmaps: Words, row: int, into: Words, touched: Ints, size: int
) -> int:
    """Add the columns of ``row`` to the set ``into`` (words), whose first ``size`` ``touched`` words are not zero.

    Returns the new size; -1 says that any word may hold something.
    """
    if bitmap_of[row] >= 0:
        kept = bitmaps[bitmap_of[row]]
        for word in range(into.size):
            into[word] |= kept[word]
        return -1
    for at in range(pointers[row], pointers[row + 1]):
        word = columns[at] >> 6
        if size >= 0 and into[word] == 0:
            touched[size] = word
            size += 1
        into[word] |= np.uint64(1) << np.uint64(columns[at] & 63)
    return size


@njit(cache=True)  # type: ignore[untyped-decorator]
def drain(into: Words, touched: Ints, size: int) -> int:
    """Empty a set; returns how many columns it held."""
    held = 0
    if size < 0:
        for word in range(into.size):
            held += ones(into[word])
            into[word] = 0
        return held
    for at in range(size):
        held += ones(into[touched[at]])
        into[touched[at]] = 0
    return held


@njit(cache=True)  # type: ignore[untyped-decorator]
def pour(
    source: Words, source_touched: Ints, source_size: int, into: Words, touched: Ints, size: int
) -> tuple[int, int]:
    """Empty a set into another: (columns it held, new size of the other)."""
    held = 0
    if source_size < 0:
        for word in range(into.size):
            held += ones(source[word])
            into[word] |= source[word]
            source[word] = 0
        return held, -1
    for at in range(source_size):
        word = source_touched[at]
        held += ones(source[word])
        if size >= 0 and into[word] == 0:
            touched[size] = word
            size += 1
        into[word] |= source[word]
        source[word] = 0
    return held, size


@njit(cache=True)  # type: ignore[untyped-decorator]
def outputs_of(
    x_pointers: Ints, x_columns: Columns, pointers: Ints, columns: Columns, bitmap_of: Ints, bitmaps: Words
) -> tuple[Ints, Ints]:
    """Row-wise product of inputs (m, k) with fibers (k, n): (products, non-zeros of the result) of each row."""
    rows = x_pointers.size - 1
    products, outputs = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    into, touched = np.zeros(bitmaps.shape[1], np.uint64), np.zeros(bitmaps.shape[1], np.int64)
    for row in range(rows):
        size = 0
        for at in range(x_pointers[row], x_pointers[row + 1]):
            k = x_columns[at]
            products[row] += pointers[k + 1] - pointers[k]
            size = join(pointers, columns, bitmap_of, bitmaps, k, into, touched, size)
        outputs[row] = drain(into, touched, size)
    return products, outputs


def entry_bytes(machine: PeConfig) -> int:
    """Bytes of a value and its coordinate of ``index_bits``, together a whole number."""
    return -(-(machine.value_bits + machine.whole("index_bits")) // 8)


def mean_union(columns: float, density: float, fibers: float) -> float:
    """Expected non-zeros of the union of ``fibers`` independent rows of ``columns`` at ``density``."""
    return columns * float(1.0 - (1.0 - density) ** fibers)


def spread(trials: int, density: float) -> NDArray[np.float64]:
    """Chance of each count 0..trials of non-zeros in a row of ``trials`` elements, each kept with ``density``."""
    if density <= 0 or density >= 1:
        chances = np.zeros(trials + 1)
        chances[trials if density >= 1 else 0] = 1.0
        return chances
    counts = np.arange(trials + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    choose = logs[trials] - logs - logs[::-1]
    chances = np.exp(choose + counts * np.log(density) + (trials - counts) * np.log1p(-density))
    return np.asarray(chances / chances.sum())


@njit(cache=True)  # type: ignore[untyped-decorator]
def add(
    pointers: Ints, columns: Columns, bitmap_of: Ints, bitmaps: Words, row: int, into: Words, touched: Ints, size: int
) -> tuple[int, int]:
    """As ``join``, and how many of the columns were new: (new columns, new size)."""
    new = 0
    if bitmap_of[row] >= 0:
        kept = bitmaps[bitmap_of[row]]
        for word in range(into.size):
            new += ones(kept[word] & ~into[word])
            into[word] |= kept[word]
        return new, -1
    for at in range(pointers[row], pointers[row + 1]):
        word, bit = columns[at] >> 6, np.uint64(1) << np.uint64(columns[at] & 63)
        if size >= 0 and into[word] == 0:
            touched[size] = word
            size += 1
        new += (into[word] & bit) == 0
        into[word] |= bit
    return new, size
