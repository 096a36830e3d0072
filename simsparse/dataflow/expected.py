# SPDX-License-Identifier: Apache-2.0
"""Expected values that closed forms of sparse engines share."""

from __future__ import annotations

from functools import cache
from math import comb, erf, lgamma, prod

import numpy as np
from numpy.typing import ArrayLike

from simsparse.dataflow.traffic import Floats
from simsparse.sparsity import Sparsity


def binomial(draws: int, share: float) -> Floats:
    """Probability of 0 to ``draws`` hits when each has ``share``."""
    if not 0 < share < 1:
        sure: Floats = np.eye(draws + 1)[draws if share else 0]
        return sure
    hits = np.arange(draws + 1)
    terms = np.array([lgamma(draws + 1) - lgamma(hit + 1) - lgamma(draws - hit + 1) for hit in hits.tolist()])
    chances: Floats = np.exp(terms + hits * np.log(share) + (draws - hits) * np.log1p(-share))
    return chances


@cache
def largest_normal(count: int) -> float:
    """Expected largest of ``count`` standard normal numbers, integrated over its distribution."""
    grid = np.linspace(-9.0, 9.0, 3601)
    below = np.array([0.5 * (1 + erf(value / 2**0.5)) for value in grid.tolist()]) ** count
    middle = (grid[1:] + grid[:-1]) / 2
    return float((np.diff(below) * middle).sum())


def largest_binomial(draws: int, share: float, count: int) -> float:
    """Expected largest of ``count`` binomial numbers."""
    below = np.minimum(np.cumsum(binomial(draws, share)), 1.0) ** count
    return float((1 - below).sum())


def hypergeometric(size: int, kept: int, draws: int) -> Floats:
    """Probability that 0 to ``draws`` of so many among ``size`` places are of the ``kept`` ones."""
    ways = [comb(kept, hits) * comb(size - kept, draws - hits) for hits in range(draws + 1)]
    return np.array(ways, np.float64) / comb(size, draws)


def window_chances(sparsity: Sparsity, size: int) -> Floats:
    """Probability that a row keeps 0 to ``size`` of an aligned window of ``size`` columns.

    N:M groups that lie across the edge of the window count as if they were independent of each other.
    """
    if sparsity.groups is not None:
        kept, group = sparsity.groups
        whole, rest = divmod(size, group)
        chances = np.eye(whole * kept + 1)[-1]
        return np.convolve(chances, hypergeometric(group, kept, rest)) if rest else chances
    edge = min(sparsity.edge, size)
    blocks = binomial(-(-size // edge), sparsity.density)
    spread = np.zeros(size + 1)
    for hits, chance in enumerate(blocks.tolist()):
        spread[min(hits * edge, size)] += chance
    return spread


def independent_windows(sparsity: Sparsity, rows: int, windows: int, size: int) -> int:
    """How many of ``windows`` neighbouring windows in each of ``rows`` rows keep their elements on their own."""
    if sparsity.groups is not None:
        return rows * windows
    return max(1, -(-rows // sparsity.edge)) * max(1, -(-windows * size // max(sparsity.edge, size)))


def most_kept(sparsity: Sparsity, size: int) -> int | None:
    """The most that any aligned window of ``size`` columns of an N:M row keeps; None for patterns without a limit."""
    if sparsity.is_dense or sparsity.groups is None:
        return None
    kept, group = sparsity.groups
    most = 0
    for start in {at * size % group for at in range(group)}:
        first = min(group - start, size)
        whole, last = divmod(size - first, group)
        most = max(most, min(kept, first) + whole * kept + min(kept, last))
    return most


def covered(
    sparsity: Sparsity, shape: tuple[int, int], fibers: ArrayLike, window: ArrayLike = 1.0, run: int = 1
) -> Floats:
    """Expected rows of weights (n, k) that keep something in at least one of ``fibers`` columns.

    The columns lie anywhere in a stretch that is the share ``window`` of k, ``run`` of them side by side. Elements of
    a row of N:M weights and of a column of blocks exclude each other as a draw without replacement does.
    """
    (n, k), values = shape, np.asarray(fibers, np.float64)
    wide = k * np.asarray(window, np.float64)
    if sparsity.is_dense:
        missed = (values <= 0).astype(np.float64)
    elif sparsity.edge > 1:
        missed = _missed_blocks(sparsity, shape, values, wide, run)
    elif sparsity.groups is not None:
        keep, size = sparsity.groups
        width = np.maximum(wide, min(size, k))
        missed = without(width, np.maximum(sparsity.kept(1, k) * width / k, min(keep, k)), values)
        missed = np.where(values >= size, 0.0, missed) if run >= size else missed
        side_by_side = (values >= wide - 1e-9) & (wide < k)
        missed = np.where(side_by_side, np.interp(values, np.arange(2 * size), _missed_runs(keep, size)), missed)
    else:
        missed = (1 - sparsity.density) ** values
    found: Floats = n * (1 - missed)
    return found


@cache
def _missed_runs(keep: int, size: int) -> Floats:
    """Chance that 0 to 2 ``size`` - 1 columns side by side, from any column on, hold nothing of a row of N:M."""
    missed = np.zeros(2 * size)
    for start in range(size):
        counts = np.arange(2 * size)
        first = np.minimum(counts, size - start)
        parts = first, np.minimum(counts - first, size), np.maximum(0, counts - first - size)
        missed += prod(without(np.asarray(float(size)), np.asarray(float(keep)), part) for part in parts) / size
    return missed


def _missed_blocks(sparsity: Sparsity, shape: tuple[int, int], fibers: Floats, wide: Floats, run: int) -> Floats:
    """Chance that a row of blocks keeps none of the stripes of ``wide`` columns in which ``fibers`` lie."""
    edge, (n, k) = sparsity.edge, shape
    stripes = -(-k // edge)
    grid = stripes * -(-n // edge)
    span = np.minimum(stripes, wide / edge + np.where(wide < k, 1 - 1 / edge, 0))
    share = np.minimum(1.0, fibers / np.maximum(wide, 1e-9))
    hit = np.minimum(fibers, np.maximum(np.minimum(1.0, fibers), span * (1 - (1 - share) ** max(1.0, edge / run))))
    return without(np.asarray(grid, np.float64), np.ceil(np.round(grid * sparsity.density, 6)), hit)


def without(places: Floats, kept: Floats, draws: Floats) -> Floats:
    """Chance that ``draws`` of so many places, without replacement, are none of the ``kept`` ones."""
    logs = _log_factorial(places - draws) - _log_factorial(places - kept - draws)
    logs = np.minimum(0.0, logs + _log_factorial(places - kept) - _log_factorial(places))
    return np.asarray(np.where(draws > places - kept, 0.0, np.exp(logs)))


def _log_factorial(values: Floats) -> Floats:
    """Logarithm of the gamma function of ``values`` + 1, by Stirling's series eight places further up."""
    x = np.maximum(values, 0.0) + 9
    series = (x - 0.5) * np.log(x) - x + 0.9189385332046727 + 1 / (12 * x) - 1 / (360 * x**3)
    steps = sum(np.log(x - down) for down in range(1, 9))
    logs: Floats = series - steps
    return logs


def products(shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity) -> int:
    """Expected products of two non-zeros of (m, n, k): short last groups keep a larger share of their columns."""
    m, n, k = shape
    even = inputs.nonzeros(m, k) * weights.nonzeros(n, k) / k
    if weights.groups is None or inputs.groups is None:
        return round(even)
    shares = [_column_shares(one, k) for one in (weights, inputs)]
    return round(m * n * float(shares[0] @ shares[1]))


def _column_shares(sparsity: Sparsity, k: int) -> Floats:
    keep, size = sparsity.groups or (1, 1)
    shares = np.full(k, keep / size)
    rest = k % size
    if rest:
        shares[k - rest :] = min(keep, rest) / rest
    return shares
