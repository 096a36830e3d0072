# SPDX-License-Identifier: Apache-2.0
"""A matrix product as memory images for nm_gemm_top: weights kept, indexed and laid out tile by tile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.gemm_stream import GemmRequest
from simsparse.errors import SpecError
from simsparse.rtl.blocks.gemm_top import NMGemmTop
from simsparse.rtl.gemm_requests import after, encoded, of_job, program
from simsparse.rtl.stream import DrivenStream
from simsparse.sparsity.formats.bits import index_bits, unpack
from simsparse.sparsity.formats.nm import NMIndex

Ints = NDArray[np.int64]
_ALWAYS = np.ones(1, np.bool_)


def gemm_stream(
    block: NMGemmTop, inputs: Ints, weights: Ints, serial: bool = False, skip: bool = False, dense: bool = False
) -> DrivenStream:  # fmt: skip
    """``inputs`` (m, k) times ``weights`` (n, k): set up, run, and the registers read afterwards; nothing stalls.

    The weights are N:M as the array is, or any when ``dense``. With ``skip``, folds without a kept weight are not sent,
    nor tiles without such a fold (``tiles_sent``). Raises SpecError when there are more tokens than the engine holds
    sums of, a group keeps more than N weights, or no weight is kept where folds are skipped.
    """
    array = block.array
    if len(inputs) > block.max_tokens:
        raise SpecError(f"{len(inputs)} tokens; expected at most {block.max_tokens}", key="inputs")
    deep = _deep(block, dense)
    x, w = _padded(inputs, 1, deep), _padded(weights, array.cols, deep)
    k_folds, tiles = x.shape[1] // deep, len(w) // array.cols
    runs = _folds_with_weights(block, weights, deep) if skip else np.ones((tiles, k_folds), dtype=np.bool_)
    if not runs.any():
        raise SpecError("no weight is kept, so no fold runs; expected one at least", key="weights")
    sent = tuple(int(count) for count in runs.sum(axis=1) if count) if skip else ()
    job = GemmRequest(len(x), k_folds, len(sent) or tiles, serial, sent)
    folds = _lanes(block, x.reshape(job.tokens, k_folds, -1).transpose(1, 0, 2), dense)
    streamed = np.concatenate([folds[row].reshape(-1, folds.shape[2]) for row in runs if row.any()])
    values, index = (_words(block, each, runs) for each in _kept(block, w, dense))
    asked = encoded([*of_job(job, dense), *after()], list(sent))
    images = block.memory_images(streamed, values, index, program(asked, block.shape))
    stream = DrivenStream(
        {**asked, **images}, len(streamed), _ALWAYS, _ALWAYS, (_ALWAYS, _ALWAYS), (_ALWAYS,)
    )  # fmt: skip
    return block.fitted(stream)


def tiles_sent(block: NMGemmTop, weights: Ints, dense: bool = False) -> NDArray[np.bool_]:
    """Which tiles of ``weights`` (n, k) run when folds without a kept weight are skipped; the others are zero."""
    return np.asarray(_folds_with_weights(block, weights, _deep(block, dense)).any(axis=1), np.bool_)


def _deep(block: NMGemmTop, dense: bool) -> int:
    """Elements of k in a fold."""
    return block.array.rows * (block.array.n if dense else block.array.m)


def _lanes(block: NMGemmTop, folds: Ints, dense: bool) -> Ints:
    """Activations (folds, tokens, elements) as the lanes of beats: dense ones in the first N of every M."""
    if not dense:
        return folds
    groups = folds.reshape(*folds.shape[:2], block.array.rows, block.array.n)
    spare = block.array.m - block.array.n
    return np.pad(groups, [(0, 0)] * 3 + [(0, spare)]).reshape(*folds.shape[:2], -1)


def _folds_with_weights(block: NMGemmTop, weights: Ints, deep: int) -> NDArray[np.bool_]:
    """Which folds (tiles, folds along k) keep a weight."""
    w = _padded(weights, block.array.cols, deep) != 0
    return np.asarray(w.reshape(-1, block.array.cols, w.shape[1] // deep, deep).any(axis=(1, 3)), np.bool_)


def product(
    block: NMGemmTop, results: Ints, shape: tuple[int, int], sent: NDArray[np.bool_] | None = None
) -> Ints:  # fmt: skip
    """The product of ``shape`` (m, n) from the sums of the result beats; tiles that were not ``sent`` are zero."""
    m, n = shape
    tiles = results.reshape(-1, m, block.array.cols)
    if sent is not None:
        whole = np.zeros((sent.size, *tiles.shape[1:]), np.int64)
        whole[sent] = tiles
        tiles = whole
    return tiles.transpose(1, 0, 2).reshape(m, -1)[:, :n]


def _padded(matrix: Ints, rows: int, cols: int) -> Ints:
    """``matrix`` with zeros, up to multiples of ``rows`` and ``cols``."""
    return np.pad(matrix, [(0, -size % unit) for size, unit in zip(matrix.shape, (rows, cols), strict=True)])


def _kept(block: NMGemmTop, weights: Ints, dense: bool) -> tuple[Ints, Ints]:
    """Kept values and their indexes (n, groups, N)."""
    n, m = block.array.n, block.array.m
    if dense:
        groups = weights.reshape(len(weights), -1, n)
        return groups, np.zeros_like(groups)
    stored = NMIndex(n, m).encode(weights)
    index = unpack(stored.metadata[NMIndex.name], index_bits(m), stored.values.size)
    shape = (len(weights), -1, n)
    return stored.values.astype(np.int64).reshape(shape), index.reshape(shape)


def _words(block: NMGemmTop, kept: Ints, runs: NDArray[np.bool_]) -> Ints:
    """(n, groups, N) as weight words of the folds that run, (folds * rows, cols * N)."""
    array = block.array
    tiles, k_folds = runs.shape
    split = kept.reshape(tiles, array.cols, k_folds, array.rows, array.n).transpose(0, 2, 3, 1, 4)
    return split[runs].reshape(-1, array.cols * array.n)
