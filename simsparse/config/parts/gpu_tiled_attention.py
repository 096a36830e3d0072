# SPDX-License-Identifier: Apache-2.0
"""Attention kernels of a library priced by their tiles alone: dense, on blocks of a mask, on selected ones."""

from __future__ import annotations

from simsparse.config.quantity import Frozen, Ratio, Seconds


class GpuTiledKernel(Frozen):
    """One kernel (simsparse.devices.gpu_tiled_attention): ``launch`` alone, cycles of an SM per row of tiles (``unit``)
    and per tile (``step``), at head dim 128."""

    launch: Seconds
    unit: Ratio
    step: Ratio


class GpuTiledAttention(Frozen):
    """Kernels of a library of sparse attention.

    ``dense``: FlashAttention 2, rows of 128 queries, tiles of 64 keys; ``triton``: the same in Triton, ``blocks`` with
    rows of 64 queries for a mask of blocks of 64; ``selected``: a query's heads that share keys, on the blocks of 64
    keys that it selected; ``compressed``: rows of 128 queries on one key for every few tokens, ``scored`` with the sums
    of scores that select blocks. ``*_backward``: gradients of queries, keys and values.
    """

    dense: GpuTiledKernel
    dense_backward: GpuTiledKernel
    triton: GpuTiledKernel
    triton_backward: GpuTiledKernel
    blocks: GpuTiledKernel
    selected: GpuTiledKernel
    selected_backward: GpuTiledKernel
    compressed: GpuTiledKernel
    scored: GpuTiledKernel
    scored_backward: GpuTiledKernel
