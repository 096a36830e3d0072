# SPDX-License-Identifier: Apache-2.0
"""Level 2 of a host: a sparse kernel on the real places of its weights, with caches by sets and ways.

Instructions are those of level 0 for the weights that are there; mispredicted exits of row loops and the lines from
each level come from the walk (simsparse.dataflow.cache_walk). Lines beyond the first cache cost what a stream from
their level costs. Left out: prefetches that come too late, TLBs, coherence, dense products (level 0 has them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from simsparse.core import Op
from simsparse.dataflow.cache_walk import CacheShape, cache_walk, row_ends
from simsparse.devices.base import Mask
from simsparse.devices.cpu_core import PREDICTED_STEPS, Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CpuKernel
from simsparse.devices.cpu_loops import products_of, sparse_kernel
from simsparse.devices.gemm_list import single_product
from simsparse.errors import MappingError
from simsparse.sparsity.drawn import Operand, drawn
from simsparse.sparsity.nonzeros import NonZeros


def walk_refusal(cores: Cores | None, op: Op) -> str | None:
    """Why no walk of ``op``'s weights is there; None when there is."""
    kernel = sparse_kernel(cores, op)
    if kernel is None:
        return "level 2 walks sparse kernels, and none runs here"
    return None if kernel.walks else f"{kernel.name} has no walk of its blocks"


def walked_seconds(cores: Cores, op: Op, weight_mask: Mask | None = None, seed: int = 0) -> Mapping[str, float]:
    """Seconds of ``op`` by contributor (compute, memory) and in ``total``, without those of its call.

    Raises MappingError when no kernel with a walk runs the op, or the mask does not fit.
    """
    if reason := walk_refusal(cores, op):
        raise MappingError(reason, key=op.name)
    kernel = sparse_kernel(cores, op)
    assert kernel is not None
    weights = _weights(op, weight_mask, seed)
    products, times, _ = products_of(cores, [op], kernel)
    products = replace(products, kept=np.array([float(weights.nnz)]))
    loops = kernel.loops(products, cores)
    loops = _with_real_rows(loops, weights, products)
    behind = float(_transfer_seconds(cores, kernel, weights, products))
    alone = sum((cores.transfer_seconds(each) for each in loops.traffic if not each.overlaps), np.zeros(1))
    found = cores.seconds(loops, np.array([behind]), np.zeros(1) + alone)
    named = {"compute": found.compute, "memory": found.memory, "total": found.total}
    return {name: float(times[0] * values[0]) for name, values in named.items()}


def _weights(op: Op, mask: Mask | None, seed: int) -> NonZeros:
    _, n, k = single_product(op)
    if mask is None:
        return drawn(op.weight_sparsity, n, k, Operand.WEIGHT, seed)
    if mask.shape != (n, k):
        raise MappingError(f"a mask of shape {mask.shape} does not fit; expected {(n, k)}", key=op.name)
    return NonZeros.of(mask)


def _with_real_rows(loops: LoopCounts, weights: NonZeros, products: Products) -> LoopCounts:
    """``loops`` whose mispredicted exits are those of the real lengths of rows."""
    _, _, missed = row_ends(weights.pointers, round(products.lanes[0]), PREDICTED_STEPS)
    return replace(loops, misses=loops.misses * missed / max(1, weights.shape[0]))


def _transfer_seconds(cores: Cores, kernel: CpuKernel, weights: NonZeros, products: Products) -> float:
    """Seconds of the lines that come from beyond the first cache, over all threads."""
    caches, count = cores.core.caches, cores.count
    line, ways = round(caches.line.si), caches.ways.whole
    capacities = [caches.l1.si, *(cache.capacity.si if cache else 0.0 for cache in (caches.l2, caches.l3))]
    first, second, last = (max(1, round(size / line / ways)) if size else 0 for size in capacities)
    shape = CacheShape(first, second, last, ways, line)
    access = kernel.access(products)
    lines = cache_walk(weights.pointers, weights.columns, count, shape, access, cores.resident)
    rates = [caches.l2.bandwidth.si if caches.l2 else np.inf, caches.l3.bandwidth.si if caches.l3 else np.inf]
    paces = np.array([0.0, *(1 / (count * rate) for rate in rates), 1 / cores.dram_rate])
    return float((lines.sum(axis=0) * line) @ paces)
