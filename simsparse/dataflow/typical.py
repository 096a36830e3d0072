# SPDX-License-Identifier: Apache-2.0
"""Typical numbers of elements that the rows and columns of a pattern keep: what closed forms deal out to workers.

A scheduler's end depends on how uneven its jobs are, so a closed form runs it on a few typical sets of jobs. These are
the quantiles of the exact distribution of a row, dealt in a fixed order, so that the mean is exact and little is left
to chance.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simsparse.dataflow.base import Ints
from simsparse.dataflow.fibers import spread
from simsparse.sparsity import Sparsity
from simsparse.sparsity.patterns.base import share_of

MOST = 4096
"""Rows of a set at most: a longer matrix is as many of these, one after another."""
LEAST, SETS = 512, 12
"""Rows that all sets have together at least, and the fewest sets."""
TABLE = 1 << 14
"""Elements of a row up to which quantiles come from a table of all chances."""
FEW = 10**9
"""Blocks up to which their number in all is kept to exactly."""


def sets_of(rows: int, edge: int = 1) -> int:
    """How many sets of ``rows`` are enough for a mean; ``edge`` of them are kept or dropped together."""
    return max(SETS, -(-LEAST * edge // (rows + edge - 1)))


@lru_cache(maxsize=512)
def typical_rows(sparsity: Sparsity, rows: int, cols: int, sets: int, seed: int = 0) -> Ints:
    """Kept elements of each row of a matrix (rows, cols): (sets, rows, at most MOST)."""
    rng, count = np.random.default_rng([seed, rows, cols]), min(rows, MOST)
    if sparsity.edge > 1:
        kept = _block_rows(rng, sparsity, (rows, cols), (sets, count))
    elif sparsity.is_dense or sparsity.groups is not None:
        kept = np.full((sets, count), sparsity.kept(1, cols), np.int64)
    else:
        kept = _quantiles(rng, cols, sparsity.density, (sets, count))
    kept.setflags(write=False)
    return kept


@lru_cache(maxsize=512)
def typical_columns(sparsity: Sparsity, rows: int, cols: int, sets: int, seed: int = 0) -> Ints:
    """Kept elements of each column of a matrix (rows, cols): (sets, cols, at most MOST)."""
    rng, count = np.random.default_rng([seed, rows, cols, 1]), min(cols, MOST)
    if sparsity.edge > 1:
        kept = _block_rows(rng, sparsity, (cols, rows), (sets, count))
    elif sparsity.is_dense:
        kept = np.full((sets, count), rows, np.int64)
    elif sparsity.groups is not None:
        keep, size = sparsity.groups
        rest = cols % size if count == cols else 0
        kept = _quantiles(rng, rows, keep / size, (sets, count))
        if rest:
            kept[:, count - rest :] = _quantiles(rng, rows, min(keep, rest) / rest, (sets, rest))
    else:
        kept = _quantiles(rng, rows, sparsity.density, (sets, count))
    kept.setflags(write=False)
    return kept


def _quantiles(rng: np.random.Generator, draws: int, share: float, shape: tuple[int, int]) -> Ints:
    """Binomial numbers of ``shape`` whose distribution over all of them is the exact one."""
    if draws > TABLE:
        return rng.binomial(draws, share, shape).astype(np.int64)
    size = shape[0] * shape[1]
    below = np.cumsum(spread(draws, share))
    levels = (np.arange(size) + 0.5) / size
    found = np.minimum(np.searchsorted(below, levels), draws).astype(np.int64)
    return np.asarray(rng.permutation(found).reshape(shape))


def _block_rows(
    rng: np.random.Generator, sparsity: Sparsity, shape: tuple[int, int], wanted: tuple[int, int]
) -> Ints:  # fmt: skip
    """Rows of a matrix whose square blocks are kept whole: as many blocks in all as a draw keeps."""
    edge, (rows, cols), (sets, count) = sparsity.edge, shape, wanted
    stripes, across, used = -(-rows // edge), -(-cols // edge), -(-count // edge)
    blocks = round(share_of(stripes * across, sparsity.density) * used / stripes)
    if across * used < FEW:
        there = rng.multivariate_hypergeometric([across] * used, blocks, size=sets, method="marginals")
    else:
        there = rng.binomial(across, blocks / (across * used), (sets, used))
    short = across * edge - cols
    cut = short * (rng.random(there.shape) < there / across)
    return np.asarray(np.repeat(there * edge - cut, edge, axis=1)[:, :count], np.int64)
