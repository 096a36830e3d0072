"""Where a matrix has non-zeros, in memory proportional to their number: what sparse engines walk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.statement import Sparsity, SparsityKind

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Columns = NDArray[np.int32]
CHUNK = 1 << 22
"""Elements that a draw looks at in one go."""
MOST_CHOICES = 10_000
"""Up to so many ways to keep some of a group, a draw picks one from a table."""


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
    def drawn(cls, rows: int, cols: int, sparsity: Sparsity, seed: int = 0) -> NonZeros:
        """A draw of ``sparsity`` with uniform random places; equal arguments give equal patterns.

        Unstructured: every element by itself. N:M and bank: exactly N of every group, in random places (a short
        last group keeps at most N). Block: that share of the blocks, rounded up, in random places.
        """
        if sparsity.is_dense:
            return cls.dense(rows, cols)
        rng = np.random.default_rng([seed, rows, cols])
        step = max(1, CHUNK // max(1, cols))
        if sparsity.kind is SparsityKind.BLOCK:
            step = max(sparsity.block, step // sparsity.block * sparsity.block)
        parts = [cls.of(_draw(rng, min(step, rows - at), cols, sparsity)) for at in range(0, rows, step)]
        counts = np.concatenate([np.diff(part.pointers) for part in parts])
        return cls((rows, cols), _pointers(counts), np.concatenate([part.columns for part in parts]))

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


def _draw(rng: np.random.Generator, rows: int, cols: int, sparsity: Sparsity) -> Mask:
    if sparsity.kind is SparsityKind.UNSTRUCTURED:
        return rng.random((rows, cols), np.float32) < sparsity.density
    if sparsity.kind is SparsityKind.BLOCK:
        edge = sparsity.block
        block_rows, block_cols = -(-rows // edge), -(-cols // edge)
        chosen = np.zeros(block_rows * block_cols, np.bool_)
        count = int(np.ceil(round(chosen.size * sparsity.density, 6)))
        chosen[rng.permutation(chosen.size)[:count]] = True
        blocks = chosen.reshape(block_rows, block_cols)
        return np.repeat(np.repeat(blocks, edge, axis=0), edge, axis=1)[:rows, :cols]
    group = sparsity.m or sparsity.block
    keep = sparsity.n or max(1, round(sparsity.density * sparsity.block))
    whole, rest = divmod(cols, group)
    parts = [_groups(rng, rows * whole, group, keep).reshape(rows, -1)]
    if rest:
        parts.append(_groups(rng, rows, rest, min(keep, rest)))
    return np.concatenate(parts, axis=1)


def _groups(rng: np.random.Generator, count: int, size: int, keep: int) -> Mask:
    """``keep`` random places of ``size`` in each of ``count`` groups."""
    if comb(size, keep) <= MOST_CHOICES:
        choices = list(combinations(range(size), keep))
        table = np.zeros((len(choices), size), np.bool_)
        np.put_along_axis(table, np.array(choices, np.int64).reshape(-1, keep), True, axis=1)
        return table[rng.integers(len(choices), size=count)]
    places = np.argpartition(rng.random((count, size), np.float32), keep - 1, axis=1)[:, :keep]
    mask = np.zeros((count, size), np.bool_)
    np.put_along_axis(mask, places, True, axis=1)
    return mask
