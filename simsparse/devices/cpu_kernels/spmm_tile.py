# SPDX-License-Identifier: Apache-2.0
"""Sparse weights times channel-first activations, a tile of pixels in registers (XNNPACK's SpMM)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.core import Op
from simsparse.dataflow.cache_walk import LoopAccess
from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel
from simsparse.sparsity.formats.base import Format
from simsparse.sparsity.formats.bsr import Bsr

INDEX_BYTES = 4
"""A delta in bytes to the next input channel, one per block of weights."""
TILE_VECTORS = 8
"""Vectors of pixels of a tile: 32 floats of NEON."""
STEP_OTHERS = 3
"""Instructions of a block beside loads and arithmetic: the pointer's step by the delta, the counter, the branch."""


class SpmmTile(CpuKernel):
    """For each tile of pixels and each row of weights: a delta, a weight, the tile's inputs, a multiply-add of each.

    Sums of the tile stay in registers until the row ends, whose exit is mispredicted. Blocks of output channels
    (``block`` rows of weights) share one delta and the loads of the inputs. Every tile passes over all weights, and
    reads the inputs of its pixels from the level that holds them. Source: google/XNNPACK, src/f32-spmm (micro-kernels
    MRxNR; weights, widx_dmap, nidx_nnzmap); Elsen, Dukhan, Gale, Simonyan, CVPR 2020.
    """

    name: ClassVar[str] = "spmm_tile"
    walks: ClassVar[bool] = True
    formats: ClassVar[frozenset[str]] = frozenset({"csr", "bsr"})

    def held(self, form: Format, op: Op, n: int, k: int) -> tuple[float, float]:
        if isinstance(form, Bsr):
            return form.pattern_units(op.weight_sparsity, (n, k)) * form.block**2, form.block
        return super().held(form, op, n, k)

    def access(self, products: Products) -> LoopAccess:
        value, pixels = products.value[0], products.m[0]
        tile = min(pixels, TILE_VECTORS * products.lanes[0])
        stored = round(products.weight[0]) + INDEX_BYTES
        sizes = (round(tile * value), round(pixels * value), round(tile * value))
        return LoopAccess(*sizes, stored, sizes[0], False, int(np.ceil(pixels / tile)))

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p = products
        vectors = np.ceil(p.m / p.lanes)
        tiles = np.ceil(vectors / TILE_VECTORS)
        rows, blocks = p.n / p.block, p.kept / p.block
        read = blocks * vectors
        stored = p.kept * p.weight + blocks * INDEX_BYTES + rows * INDEX_BYTES
        return LoopCounts(
            items=tiles * rows, fma=p.kept * vectors, loads=tiles * (blocks + p.kept) + read,
            stores=p.n * vectors, others=STEP_OTHERS * tiles * blocks, gathered=np.zeros_like(p.m),
            misses=tiles * rows, chain=np.zeros_like(p.m), calls=np.zeros_like(p.m),
            traffic=(*cores.weights(stored, tiles), cores.inputs(p, read, TILE_VECTORS)),
        )  # fmt: skip


CPU_KERNELS.register(SpmmTile.name)(SpmmTile())
