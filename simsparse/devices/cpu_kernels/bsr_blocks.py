# SPDX-License-Identifier: Apache-2.0
"""Square blocks of weights (BSR) times row-major inputs: a small dense product per block."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.core import Op
from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel
from simsparse.sparsity.formats.base import Format
from simsparse.sparsity.formats.bsr import Bsr

INDEX_BYTES = 4
TILE_VECTORS = 2
"""Vectors of tokens that a pass over the weights covers."""
SUMS = 8
"""Rows of a block whose sums stay in registers for a tile of tokens."""
STEP_OTHERS = 4


class BsrBlocks(CpuKernel):
    """Per block and tile of tokens: each column loads its inputs once per ``SUMS`` rows, each weight is broadcast.

    The inputs are (k, m), tokens together. Sums stay in registers along a row of blocks. Source: the loop of a BSR
    product as oneMKL and SparseZoo's engines block it; their code is not public, and the tile is assumed.
    """

    name: ClassVar[str] = "bsr_blocks"
    formats: ClassVar[frozenset[str]] = frozenset({"bsr"})

    def held(self, form: Format, op: Op, n: int, k: int) -> tuple[float, float]:
        if isinstance(form, Bsr):
            return form.pattern_units(op.weight_sparsity, (n, k)) * form.block**2, form.block
        return super().held(form, op, n, k)

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p = products
        vectors = np.ceil(p.m / p.lanes)
        tiles = np.ceil(vectors / TILE_VECTORS)
        blocks, rows = p.kept / p.block**2, np.ceil(p.n / p.block)
        read = blocks * p.block * np.ceil(p.block / SUMS) * vectors
        stored = p.kept * p.weight + blocks * INDEX_BYTES
        return LoopCounts(
            items=rows * tiles, fma=p.kept * vectors, loads=p.kept * tiles + read + blocks * tiles,
            stores=p.n * vectors, others=STEP_OTHERS * blocks * tiles, gathered=np.zeros_like(p.m),
            misses=rows * tiles, chain=np.zeros_like(p.m), calls=np.full_like(p.m, cores.core.dispatch.si),
            traffic=(*cores.weights(stored, tiles), cores.inputs(p, read, TILE_VECTORS)),
        )  # fmt: skip


CPU_KERNELS.register(BsrBlocks.name)(BsrBlocks())
