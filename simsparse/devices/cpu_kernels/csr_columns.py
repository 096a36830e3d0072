# SPDX-License-Identifier: Apache-2.0
"""CSR weights times inputs in column-major order, a token at a time (torch's CSR products by oneMKL)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.dataflow.cache_walk import LoopAccess
from simsparse.devices.cpu_core import Cores, LoopCounts, Products, Refills
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel

INDEX_BYTES = 4
CONVERTED_BYTES = 16
"""Bytes moved to turn one 64-bit index of torch into a 32-bit one of oneMKL: 8 read, 4 allocated, 4 written."""
STEP_OTHERS = 2


class CsrColumns(CpuKernel):
    """A sparse matrix times each token's inputs: a gather per vector of non-zeros of a row, and a scalar rest.

    ``x @ w.T`` of row-major inputs is ``w`` times a column-major matrix, so that a token's inputs lie together and a
    vector instruction can't run over tokens. Rows differ in length: their end and their rest are two mispredicted
    branches. At each call torch turns its 64-bit indexes into the library's 32-bit ones. Source: PyTorch,
    aten/src/ATen/native/mkl/SparseBlasImpl.cpp.
    """

    name: ClassVar[str] = "csr_columns"
    walks: ClassVar[bool] = True
    formats: ClassVar[frozenset[str]] = frozenset({"csr"})

    def access(self, products: Products) -> LoopAccess:
        value, row = round(products.value[0]), round(products.k[0] * products.value[0])
        stored = round(products.weight[0]) + INDEX_BYTES
        return LoopAccess(value, value, row, stored, value, False, round(products.m[0]))

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p = products
        rows = p.m * p.n
        mean = p.kept / p.n
        rest = np.minimum(mean, (p.lanes - 1) / 2)
        steps = rows * np.maximum(mean - rest, 0) / p.lanes
        scalar = rows * rest
        reduced = 2 * np.log2(np.maximum(p.lanes, 2))
        stored = p.kept * (p.weight + INDEX_BYTES)
        converted = Refills(p.kept * CONVERTED_BYTES, p.kept * (CONVERTED_BYTES - 4), overlaps=False)
        return LoopCounts(
            items=p.n, fma=steps + scalar, loads=2 * steps + 3 * scalar + 2 * rows, stores=rows,
            others=STEP_OTHERS * (steps + scalar) + reduced * rows, gathered=steps * p.lanes, misses=2 * rows,
            chain=steps * cores.core.fma_latency.si, calls=np.full_like(p.m, cores.core.dispatch.si),
            traffic=(*cores.weights(stored, p.m), converted),
        )  # fmt: skip


CPU_KERNELS.register(CsrColumns.name)(CsrColumns())
