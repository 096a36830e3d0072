# SPDX-License-Identifier: Apache-2.0
"""Typical numbers of elements that the rows and columns of a pattern keep: what closed forms deal out to workers.

A scheduler's end depends on how uneven its jobs are, so a closed form runs it on a few typical sets of jobs. These are
the quantiles of the exact distribution of a row, dealt in a fixed order, so that the mean is exact and little is left
to chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import fmean, stdev

import numpy as np

from simsparse.dataflow.base import Ints
from simsparse.dataflow.fibers import spread
from simsparse.dataflow.sparse_engine import Work
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.sparsity.patterns.base import share_of

MOST = 4096
"""Rows of a set at most: a longer matrix is as many of these, one after another."""
LEAST, SETS = 512, 12
"""Rows that all sets have together at least, and the fewest sets."""
TABLE = 1 << 14
"""Elements of a row up to which quantiles come from a table of all chances."""
FEW = 10**9
"""Blocks up to which their number in all is kept to exactly."""

PART_SEED, GOLDEN = 20260, 0.6180339887
"""Seed of the first drawn part; the fraction by which successive ones differ in rounding."""
SAMPLE = 1 << 17
"""Elements of a drawn part of a matrix, unless a row has more."""
FEWEST, DRAWS, STEADY = 8, 64, 0.01
"""Draws of a small matrix, at least (of a larger one 3) and at most, and the standard error of their mean that is
small enough."""


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


def draws_of(works: list[Work], rows: int, cols: int) -> Iterator[int]:
    """Numbers of drawn parts (rows, cols), each of which adds to ``works``, until their mean is steady."""
    most = most_draws(rows, cols)
    for draw in range(most):
        yield draw
        cycles = [work.cycles for work in works]
        if (
            len(cycles) >= (FEWEST if most == DRAWS else 3)
            and stdev(cycles) <= STEADY * fmean(cycles) * len(cycles) ** 0.5
        ):
            return


def most_draws(rows: int, cols: int) -> int:
    """How many drawn parts of a matrix (rows, cols) are walked at most."""
    return max(1, min(DRAWS, 4 * SAMPLE // (rows * cols)))


@lru_cache(maxsize=256)
def typical_part(sparsity: Sparsity, rows: int, cols: int, seed: int, k: int = 0, most: int = SAMPLE) -> NonZeros:
    """Some of the first rows of a draw (rows, k), the first ``cols`` columns of them; no draw of level 2.

    As many rows as hold ``most`` elements; ``k`` is ``cols`` unless given. Parts of block patterns have the mean share
    of the blocks, rounded up or down in turn.
    """
    edge = max(1, sparsity.rows_together)
    count = min(rows, max(1, most // (cols * edge)) * edge)
    if sparsity.edge > 1 and (count, cols) != (rows, k or cols):
        grid, whole = (-(-tall // edge) * -(-wide // edge) for tall, wide in ((count, cols), (rows, k or cols)))
        blocks = int(share_of(whole, sparsity.density) * grid / whole + (0.5 + seed * GOLDEN) % 1)
        if not blocks:
            return NonZeros((count, cols), np.zeros(count + 1, np.int64), np.zeros(0, np.int32))
        sparsity = replace(sparsity, density=min(1.0, (blocks - 0.5) / grid))  # type: ignore[type-var]
    return sparsity.draw(count, cols, PART_SEED + seed)


def repeated(part: NonZeros, rows: int) -> NonZeros:
    """``part`` again and again, ``rows`` in all."""
    if rows <= part.shape[0]:
        return NonZeros((rows, part.shape[1]), part.pointers[: rows + 1], part.columns[: part.pointers[rows]])
    times, rest = divmod(rows, part.shape[0])
    last = repeated(part, rest) if rest else None
    return NonZeros.joined(part.shape[1], [part] * times + ([last] if last else []))


def mean_work(works: Sequence[Work]) -> Work:
    """The mean of what draws of one product took."""
    if len(works) == 1:
        return works[0]
    causes = {name: round(sum(work.causes[name] for work in works) / len(works)) for name in works[0].causes}
    names = {name: 0 for work in works for name in work.events}
    events = {name: round(sum(work.events.get(name, 0) for work in works) / len(works)) for name in names}
    macs, read, write, sram = (
        round(sum(getattr(work, name) for work in works) / len(works))
        for name in ("macs", "dram_read", "dram_write", "sram")
    )
    return Work(sum(causes.values()), macs, causes, read, write, sram, events)
