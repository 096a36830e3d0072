# SPDX-License-Identifier: Apache-2.0
"""A matrix product as memory images for nm_gemm_top: weights kept, indexed and laid out tile by tile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.gemm_stream import GemmRequest
from simsparse.errors import SpecError
from simsparse.rtl.blocks.gemm_top import NMGemmTop
from simsparse.rtl.gemm_requests import after, encoded, of_job
from simsparse.rtl.stream import DrivenStream
from simsparse.sparsity.formats.bits import index_bits, unpack
from simsparse.sparsity.formats.nm import NMIndex

Ints = NDArray[np.int64]
_ALWAYS = np.ones(1, np.bool_)


def gemm_stream(block: NMGemmTop, inputs: Ints, weights: Ints, serial: bool = False) -> DrivenStream:
    """``inputs`` (m, k) times ``weights`` (n, k), N:M as the array is: set up, run, and the registers read afterwards.

    Nothing stalls. Raises SpecError when there are more tokens than the engine holds sums of, or a group keeps more
    than N weights.
    """
    array = block.array
    if len(inputs) > block.max_tokens:
        raise SpecError(f"{len(inputs)} tokens; expected at most {block.max_tokens}", key="inputs")
    x = _padded(inputs, 1, array.rows * array.m)
    w = _padded(weights, array.cols, array.rows * array.m)
    job = GemmRequest(len(x), x.shape[1] // (array.rows * array.m), len(w) // array.cols, serial)
    folds = x.reshape(job.tokens, job.k_folds, -1).transpose(1, 0, 2).reshape(job.k_folds * job.tokens, -1)
    values, index = (_words(block, each, job) for each in _kept(block, w))
    lengths = np.full(job.k_folds * job.tiles, job.tokens)
    images = block.memory_images(np.tile(folds, (job.tiles, 1)), values, index, lengths)
    asked = encoded([*of_job(job), *after()])
    return DrivenStream({**asked, **images}, len(folds) * job.tiles, _ALWAYS, _ALWAYS, (_ALWAYS, _ALWAYS), (_ALWAYS,))


def product(block: NMGemmTop, results: Ints, shape: tuple[int, int]) -> Ints:
    """The product of ``shape`` (m, n) from the result beats."""
    m, n = shape
    tiles = results.reshape(-1, m, block.array.cols)
    return tiles.transpose(1, 0, 2).reshape(m, -1)[:, :n]


def _padded(matrix: Ints, rows: int, cols: int) -> Ints:
    """``matrix`` with zeros, up to multiples of ``rows`` and ``cols``."""
    return np.pad(matrix, [(0, -size % unit) for size, unit in zip(matrix.shape, (rows, cols), strict=True)])


def _kept(block: NMGemmTop, weights: Ints) -> tuple[Ints, Ints]:
    """Kept values and their indexes (n, groups, N)."""
    n, m = block.array.n, block.array.m
    stored = NMIndex(n, m).encode(weights)
    index = unpack(stored.metadata[NMIndex.name], index_bits(m), stored.values.size)
    shape = (len(weights), -1, n)
    return stored.values.astype(np.int64).reshape(shape), index.reshape(shape)


def _words(block: NMGemmTop, kept: Ints, job: GemmRequest) -> Ints:
    """(n, groups, N) as weight words (tiles * folds * rows, cols * N)."""
    array = block.array
    split = kept.reshape(job.tiles, array.cols, job.k_folds, array.rows, array.n)
    return split.transpose(0, 2, 3, 1, 4).reshape(-1, array.cols * array.n)
