# SPDX-License-Identifier: Apache-2.0
"""Block patterns: a matrix seen as blocks, rows clustered for fewer of them, and the masks of block-sparse layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import Columns, NonZeros


def blocked(pattern: NonZeros, rows: int, cols: int) -> NonZeros:
    """Which blocks of ``rows`` x ``cols`` have a non-zero: a pattern of the grid of blocks, edge blocks included.

    Raises SpecError for an edge below 1.
    """
    if min(rows, cols) < 1:
        raise SpecError(f"{rows} x {cols} is no block", key="block")
    height, width = pattern.shape
    grid = -(-height // rows), -(-width // cols)
    row = np.repeat(np.arange(height, dtype=np.int64), pattern.row_counts) // rows
    places = row * grid[1] + pattern.columns // cols
    if grid[0] * grid[1] > 8 * pattern.nnz:
        return _placed(grid, np.unique(places))
    there = np.zeros(grid[0] * grid[1], np.bool_)
    there[places] = True
    return _placed(grid, np.flatnonzero(there))


def expanded(blocks: NonZeros, rows: int, cols: int) -> NonZeros:
    """The elements of ``blocks``, each ``rows`` x ``cols`` and full: the inverse of blocked()."""
    columns = (blocks.columns.astype(np.int64)[:, None] * cols + np.arange(cols)).reshape(-1)
    pieces = np.split(columns, blocks.pointers[1:-1] * cols)
    counts = np.repeat(blocks.row_counts * cols, rows)
    taken = np.concatenate([piece for piece in pieces for _ in range(rows)]) if pieces else columns
    pointers = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return NonZeros((blocks.shape[0] * rows, blocks.shape[1] * cols), pointers, taken.astype(np.int32))


def reordered(pattern: NonZeros, order: Ints) -> NonZeros:
    """Row i of the answer is row ``order[i]``. Raises SpecError when ``order`` is no permutation of the rows."""
    rows = pattern.shape[0]
    if order.shape != (rows,) or not np.array_equal(np.sort(order), np.arange(rows)):
        raise SpecError(f"not a permutation of {rows} rows", key="order")
    counts = pattern.row_counts[order]
    pointers = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    within = np.arange(pattern.nnz, dtype=np.int64) - np.repeat(pointers[:-1], counts)
    return NonZeros(pattern.shape, pointers, pattern.columns[np.repeat(pattern.pointers[order], counts) + within])


def clustered(pattern: NonZeros, rows: int, cols: int) -> Ints:
    """An order of rows that puts similar ones together, for fewer blocks of ``rows`` x ``cols``.

    Greedy: a cluster begins with the fullest row that is left and takes, until it has ``rows`` rows, the one whose
    set of block columns is most similar to the cluster's (largest Jaccard index, the lowest row first). Takes time
    with the square of the rows. Source: the clustering of SMaT (Okanovic et al., SC 2024) is greedy by Jaccard
    distance as well; its threshold and seeds are its own.
    """
    narrow = blocked(pattern, 1, cols)
    order: Ints = _greedy(narrow.pointers, narrow.columns, narrow.shape[1], rows)
    return order


def expert_topology(counts: Sequence[int], d_ff: int, block: int) -> NonZeros:
    """The hidden layer of an MoE, as blocks: tokens sorted by expert, each expert's padded to whole ``block`` rows,
    and each in the columns of its expert only. Source: Gale et al., MegaBlocks, MLSys 2023."""
    wide = -(-d_ff // block)
    tall = [-(-count // block) for count in counts]
    owners = np.repeat(np.arange(len(counts), dtype=np.int64), tall)
    columns = owners[:, None] * wide + np.arange(wide)
    pointers = np.arange(owners.size + 1, dtype=np.int64) * wide
    return NonZeros((owners.size, len(counts) * wide), pointers, columns.reshape(-1).astype(np.int32))


def flat_butterfly(rows: int, cols: int, strides: int) -> NonZeros:
    """Blocks of a flat block butterfly: block (i, j) where j is i or i with one of its lowest ``strides`` bits flipped.

    A grid that is not square repeats the square one of its shorter side. Source: Dao et al., Pixelated Butterfly,
    ICLR 2022: the sum of butterfly factors of strides 1 to 2 ** (strides - 1), blocks for elements. Raises SpecError
    when the shorter side is no multiple of 2 ** strides.
    """
    side = min(rows, cols)
    if side % (1 << strides):
        raise SpecError(f"{side} blocks; expected a multiple of {1 << strides}", key="strides")
    row, col = np.divmod(np.arange(rows * cols, dtype=np.int64), cols)
    apart: Ints = (row % side) ^ (col % side)
    kept = (apart == 0) | ((apart < 1 << strides) & ((apart & (apart - 1)) == 0))
    return _placed((rows, cols), np.flatnonzero(kept))


def block_diagonal(blocks: int, rows: int, cols: int) -> NonZeros:
    """Elements of ``blocks`` full blocks of ``rows`` x ``cols`` down the diagonal: a factor of a Monarch matrix.

    A Monarch matrix is two of them with a fixed permutation (a transposition of indexes) between; Dao et al., ICML
    2022.
    """
    return expanded(NonZeros.of(np.eye(blocks, dtype=np.bool_)), rows, cols)


def strongest_blocks(weights: NDArray[np.floating], block: int, density: float) -> NonZeros:
    """The blocks of ``weights`` with the largest Frobenius norms, that share of them rounded up; ties by place.

    Source: Okanovic et al., BLaST, 2025, prunes the weights of MLPs by the norms of blocks.
    """
    height, width = -(-weights.shape[0] // block), -(-weights.shape[1] // block)
    padded = np.zeros((height * block, width * block))
    padded[: weights.shape[0], : weights.shape[1]] = weights
    norms = (padded.reshape(height, block, width, block) ** 2).sum(axis=(1, 3)).reshape(-1)
    keep = int(np.ceil(round(norms.size * density, 6)))
    return _placed((height, width), np.sort(np.argsort(-norms, kind="stable")[:keep]))


def _placed(shape: tuple[int, int], places: Ints) -> NonZeros:
    """Non-zeros at ascending flat ``places``."""
    row, col = np.divmod(places, shape[1])
    counts = np.bincount(row, minlength=shape[0])
    pointers = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    return NonZeros(shape, pointers, col.astype(np.int32))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _greedy(pointers: Ints, columns: Columns, width: int, size: int) -> Ints:
    rows = pointers.size - 1
    order, taken = np.empty(rows, np.int64), np.zeros(rows, np.bool_)
    inside = np.zeros(width, np.bool_)
    union = 0
    for at in range(rows):
        if at % size == 0:
            inside[:], union = False, 0
        best, best_shared, best_all = -1, -1, 1
        for row in range(rows):
            if taken[row]:
                continue
            own = int(pointers[row + 1] - pointers[row])
            shared = own if union == 0 else 0
            if union:
                for place in range(pointers[row], pointers[row + 1]):
                    shared += int(inside[columns[place]])
            together = union + own - shared if union else 1
            if best < 0 or shared * best_all > best_shared * together:
                best, best_shared, best_all = row, shared, max(together, 1)
        order[at], taken[best] = best, True
        for place in range(pointers[best], pointers[best + 1]):
            union += int(not inside[columns[place]])
            inside[columns[place]] = True
    return order
