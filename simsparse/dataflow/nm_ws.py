# SPDX-License-Identifier: Apache-2.0
"""Cycle core of the N:M weight-stationary array: walks real masks fold by fold."""

from __future__ import annotations

import numpy as np
from numba import njit

from simsparse.dataflow.base import ArrayCycles, Ints, Mask, PeArray
from simsparse.errors import SpecError


def masked_cycles(weight_mask: Mask, input_mask: Mask | int, array: PeArray, span: int) -> ArrayCycles:
    """Cycles with a weight mask (n, k) and an input mask (m, k), or ``input_mask`` dense tokens.

    Each PE holds the kept weights of ``span`` elements of k, and every fold pays the array's
    ``decode``. A fold runs at the pace of its fullest PE;
    a fold without weights, and a token without inputs in the fold, are skipped. Raises SpecError
    when the masks do not fit together.
    """
    k = weight_mask.shape[1]
    if isinstance(input_mask, int):
        tokens, per_k = np.full(-(-k // (array.rows * span)), input_mask, np.int64), np.full(k, input_mask, np.int64)
    else:
        if input_mask.ndim != 2 or input_mask.shape[1] != k:
            raise SpecError(f"input mask of shape {input_mask.shape}; expected (m, {k})", key="input_mask")
        tokens, per_k = _tokens_of_folds(input_mask, array.rows * span), input_mask.sum(axis=0, dtype=np.int64)
    cycles, folds, loaded, streamed = nm_ws(
        np.ascontiguousarray(weight_mask), tokens, array.rows, array.cols, span, array.macs,
        array.fold_fill + array.decode, array.once_fill, array.overlap,
    )  # fmt: skip
    macs = int(weight_mask.sum(axis=0, dtype=np.int64) @ per_k)
    return ArrayCycles(int(cycles), macs, int(folds), int(loaded), int(streamed), array.pes * array.macs)


def _tokens_of_folds(input_mask: Mask, depth: int) -> Ints:
    """How many tokens have any input in each stretch of ``depth`` elements of k."""
    starts = np.arange(0, input_mask.shape[1], depth)
    tokens: Ints = np.logical_or.reduceat(input_mask, starts, axis=1).sum(axis=0, dtype=np.int64)
    return tokens


@njit(cache=True)  # type: ignore[untyped-decorator]
def nm_ws(
    weight_mask: Mask, tokens: Ints, rows: int, cols: int, span: int, macs: int,
    fold_fill: int, once_fill: int, overlap: float,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Cycles of weights (n, k) on ``rows`` x ``cols`` PEs, ``tokens[f]`` rows of input in fold f of k.

    A fold whose fullest PE keeps b weights has a interval of ceil(b / macs): it loads rows * interval
    cycles, of which floor(overlap * load) may hide behind the fold before, and streams
    tokens * interval + fold_fill cycles. Returns (cycles, folds, weights loaded, input rows streamed).
    Source: derived; equal to WeightStationary.cycles when every group keeps its N.
    """
    n = weight_mask.shape[0]
    cycles = folds = loaded = streamed = previous = 0
    for col in range(0, n, cols):
        for fold in range(tokens.shape[0]):
            fullest, kept = _fold(weight_mask, col, min(n, col + cols), fold * rows * span, rows, span)
            if fullest == 0 or tokens[fold] == 0:
                continue
            interval = -(-fullest // macs)
            load, stream = rows * interval, tokens[fold] * interval + fold_fill
            cycles += load + stream - (min(int(overlap * load), previous) if folds else 0)
            folds, loaded, streamed, previous = folds + 1, loaded + kept, streamed + tokens[fold], stream
    return cycles + (once_fill if folds else 0), folds, loaded, streamed


@njit(cache=True)  # type: ignore[untyped-decorator]
def _fold(weight_mask: Mask, col: int, end: int, start: int, rows: int, span: int) -> tuple[int, int]:
    """Kept weights of the fullest PE and of all PEs of one fold."""
    k = weight_mask.shape[1]
    fullest = kept = 0
    for output in range(col, end):
        for first in range(start, min(k, start + rows * span), span):
            count = 0
            for i in range(first, min(k, first + span)):
                count += weight_mask[output, i]
            fullest, kept = max(fullest, count), kept + count
    return fullest, kept
