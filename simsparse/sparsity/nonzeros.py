# SPDX-License-Identifier: Apache-2.0
"""Where a matrix has non-zeros, in memory proportional to their number: what sparse engines walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Columns = NDArray[np.int32]


@dataclass(frozen=True)
class NonZeros:
    """Non-zeros of a matrix (rows, cols), CSR: row r keeps ``columns[pointers[r]:pointers[r + 1]]``, ascending.

    Rows of an operand run along the reduction dimension k. Raises SpecError when the buffers do not fit ``shape``.
    """

    shape: tuple[int, int]
    pointers: Ints
    columns: Columns

    def __post_init__(self) -> None:
        rows, cols = self.shape
        fits = self.pointers.shape == (rows + 1,) and self.pointers[0] == 0
        if not fits or self.pointers[-1] != self.columns.size or (np.diff(self.pointers) < 0).any():
            raise SpecError(f"pointers do not fit {rows} rows of {self.columns.size} columns", key="pattern")
        if self.columns.size and not 0 <= self.columns.min() <= self.columns.max() < cols:
            raise SpecError(f"a column is not from 0 to {cols - 1}", key="pattern")

    @classmethod
    def of(cls, mask: Mask) -> NonZeros:
        """Of a mask (rows, cols)."""
        if mask.ndim != 2:
            raise SpecError(f"a mask of {mask.ndim} dimensions; expected (rows, k)", key="pattern")
        return cls(_shape(mask), _pointers(np.count_nonzero(mask, axis=1)), np.nonzero(mask)[1].astype(np.int32))

    @classmethod
    def dense(cls, rows: int, cols: int) -> NonZeros:
        """Without a zero."""
        pointers = np.arange(rows + 1, dtype=np.int64) * cols
        return cls((rows, cols), pointers, np.tile(np.arange(cols, dtype=np.int32), rows))

    @classmethod
    def joined(cls, cols: int, parts: Sequence[NonZeros]) -> NonZeros:
        """The rows of ``parts``, each of ``cols`` columns, one after another."""
        counts = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.pointers) for part in parts)])
        columns = np.concatenate([np.zeros(0, np.int32), *(part.columns for part in parts)])
        return cls((counts.size, cols), _pointers(counts), columns)

    @property
    def nnz(self) -> int:
        """Non-zeros."""
        return int(self.columns.size)

    @property
    def density(self) -> float:
        """Share of elements that are no zeros."""
        return self.nnz / max(1, self.shape[0] * self.shape[1])

    @cached_property
    def row_counts(self) -> Ints:
        """Non-zeros of each row."""
        return np.diff(self.pointers)

    @cached_property
    def col_counts(self) -> Ints:
        """Non-zeros of each column."""
        return np.bincount(self.columns, minlength=self.shape[1]).astype(np.int64)

    @cached_property
    def transposed(self) -> NonZeros:
        """The same matrix by columns: rows of the answer are this one's columns."""
        rows, cols = self.shape
        order = np.argsort(self.columns, kind="stable")
        row_of = np.repeat(np.arange(rows, dtype=np.int32), self.row_counts)
        return NonZeros((cols, rows), _pointers(self.col_counts), row_of[order])

    def taken(self, rows: Ints) -> NonZeros:
        """The rows ``rows`` of this one, in that order."""
        parts = [self.columns[self.pointers[row] : self.pointers[row + 1]] for row in rows.tolist()]
        columns = np.concatenate([np.zeros(0, np.int32), *parts])
        return NonZeros((rows.size, self.shape[1]), _pointers(self.row_counts[rows]), columns)

    def mask(self) -> Mask:
        """The mask (rows, cols)."""
        mask = np.zeros(self.shape, np.bool_)
        mask[np.repeat(np.arange(self.shape[0]), self.row_counts), self.columns] = True
        return mask


def effectual_macs(weights: NonZeros, inputs: NonZeros) -> int:
    """Products of two non-zeros in ``y[m, n] = x[m, k] @ w[n, k].T``: sum over k of the operands' column counts."""
    return int(weights.col_counts @ inputs.col_counts)


def _shape(mask: Mask) -> tuple[int, int]:
    rows, cols = map(int, mask.shape)
    return rows, cols


def _pointers(counts: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
