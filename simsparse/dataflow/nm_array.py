# SPDX-License-Identifier: Apache-2.0
"""Cycles of an N:M systolic array, weight- or output-stationary, from how many weights each group of k keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.expected import independent_windows, window_chances
from simsparse.dataflow.traffic import Floats
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import Columns, NonZeros
from simsparse.sparsity.patterns.nm import NM


@dataclass(frozen=True)
class NmArray:
    """``rows`` x ``cols`` PEs with ``macs`` multipliers, adders of ``add_latency`` cycles.

    A PE keeps up to ``interleave`` sums in flight. Each fold pays the share ``skew`` of its fill. A column gives
    ``drain`` results a cycle.
    """

    rows: int
    cols: int
    macs: int
    add_latency: int
    interleave: int
    skew: float
    drain: int

    @property
    def stationary_fill(self) -> int:
        """Cycles a weight-stationary fold fills: sums pass an adder a row, inputs a register a column."""
        return math.ceil(self.skew * ((self.rows - 1) * self.add_latency + self.cols - 1))

    @property
    def output_fill(self) -> int:
        """Cycles an output-stationary fold fills: operands pass a register a PE, the last sum its adder."""
        return math.ceil(self.skew * (self.rows + self.cols - 2 + self.add_latency))

    def chained(self, tokens: Ints) -> Ints:
        """Cycles in which a PE adds once to each of ``tokens`` sums, again and again: it turns round
        ``interleave`` of them, and a sum is ready after ``add_latency``."""
        full, rest = np.divmod(tokens, self.interleave)
        turn = max(self.interleave, self.add_latency)
        cycles: Ints = full * turn + np.where(rest > 0, np.maximum(rest, self.add_latency), 0)
        return cycles


@dataclass(frozen=True)
class Parts:
    """Cycles of each block of outputs by cause."""

    busy: Ints
    latency: Ints
    fill: Ints
    load: Ints
    drain: Ints

    @property
    def total(self) -> Ints:
        """All of them."""
        total: Ints = self.busy + self.latency + self.fill + self.load + self.drain
        return total


def fullest(weights: NonZeros, cols: int, group: int) -> Ints:
    """Kept weights of the fullest of ``cols`` neighbouring rows of ``weights`` (n, k) in each ``group`` of k.

    Shape (ceil(n / cols), ceil(k / group)); O(non-zeros).
    """
    n, k = weights.shape
    found: Ints = _fullest(weights.pointers, weights.columns, cols, group, -(-n // cols), -(-k // group))
    return found


def expected_fullest(shape: tuple[int, int], sparsity: Sparsity, cols: int, group: int, rows: int) -> Ints:
    """What ``fullest`` is on average for weights (n, k) of ``sparsity``, ``rows`` groups at one pace.

    N:M with M = ``group`` (or a divisor): exact. Others: the largest of independent windows, rounded so that
    no fraction is lost along k. One row, that of a full block; shape (1, ceil(k / group)).
    """
    n, k = shape
    groups = -(-k // group)
    sizes = np.full(groups, group, np.int64)
    sizes[-1] = k - (groups - 1) * group
    if sparsity.is_dense:
        return sizes[None]
    if isinstance(sparsity, NM) and group % sparsity.m == 0:
        full, rest = np.divmod(sizes, sparsity.m)
        return np.asarray(full * sparsity.n + np.minimum(sparsity.n, rest), np.int64)[None]
    paces = [(int(sizes[at]), min(rows, groups - at)) for at in range(0, groups, rows)]
    known = {
        (size, windows): expected_maximum(
            window_chances(sparsity, size), independent_windows(sparsity, min(n, cols), windows, size)
        )
        for size, windows in set(paces)
    }
    whole = np.diff(np.round(np.cumsum([0.0] + [known[pace] for pace in paces])))
    return np.repeat(whole.astype(np.int64), rows)[None, :groups]


def folded_intervals(fullest: Ints, rows: int, macs: int) -> Ints:
    """Cycles between tokens of weight-stationary folds, (blocks, folds).

    The largest of ``rows`` groups counts, at ``macs`` weights a cycle.
    """
    blocks, groups = fullest.shape
    padded = np.zeros((blocks, ceil_div(groups, rows) * rows), np.int64)
    padded[:, :groups] = ceil_div(fullest, macs)
    return np.asarray(padded.reshape(blocks, -1, rows).max(axis=2), np.int64)


def weight_stationary(folds: Ints, tokens: int, array: NmArray) -> Parts:
    """Folds (blocks, folds) of so many cycles per token, ``tokens`` through each.

    A fold loads rows * interval words a column behind the fold before it. With more than one cycle per token, one PE
    adds to a token's sum repeatedly, and waits for its adder unless other sums are interleaved.
    """
    count = np.int64(tokens)
    busy = count * folds
    stream = np.where(folds > 1, folds * array.chained(np.asarray(count)), busy)
    runs = folds > 0
    before = np.roll(stream, 1, axis=1)
    load = np.maximum(0, array.rows * folds - before)
    return Parts(
        busy.sum(axis=1), (stream - busy).sum(axis=1), runs.sum(axis=1) * array.stationary_fill,
        load.sum(axis=1), np.zeros(len(folds), np.int64),
    )  # fmt: skip


def output_stationary(fullest: Ints, tokens: int, array: NmArray) -> Parts:
    """Groups (blocks, groups) of so many weights each, ``tokens`` of results.

    A fold holds ``rows * interleave`` tokens and adds every kept weight to each; its results leave behind the next.
    """
    steps = ceil_div(fullest, array.macs).sum(axis=1)
    depth = array.rows * array.interleave
    full, rest = divmod(tokens, depth)
    busy = latency = fill = drain = np.zeros(len(fullest), np.int64)
    for count, sums in ((full, array.interleave), (1 if rest else 0, -(-rest // array.rows))):
        compute = steps * max(sums, array.add_latency)
        leaving = np.maximum(0, -(-array.rows * sums // array.drain) - compute)
        some = count * (steps > 0)
        busy, latency = busy + count * steps * sums, latency + count * (compute - steps * sums)
        fill, drain = fill + some * array.output_fill, drain + some * leaving
    return Parts(busy, latency, fill, np.zeros(len(fullest), np.int64), drain)


def expected_maximum(chances: Floats, samples: int) -> float:
    """Mean of the largest of ``samples`` counts, each 0, 1, 2, ... with its chance."""
    return float((1 - np.minimum(1, np.cumsum(chances)[:-1]) ** samples).sum())


@njit(cache=True)  # type: ignore[untyped-decorator]
def _fullest(pointers: Ints, columns: Columns, cols: int, group: int, blocks: int, groups: int) -> Ints:
    found = np.zeros((blocks, groups), np.int64)
    for row in range(pointers.size - 1):
        block, at = row // cols, pointers[row]
        while at < pointers[row + 1]:
            where, count = columns[at] // group, 0
            while at < pointers[row + 1] and columns[at] // group == where:
                count, at = count + 1, at + 1
            found[block, where] = max(found[block, where], count)
    return found
