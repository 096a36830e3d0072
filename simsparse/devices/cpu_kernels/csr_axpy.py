# SPDX-License-Identifier: Apache-2.0
"""CSR weights times row-major inputs of several tokens: ``y[n, :] += w * x[k, :]`` (SciPy, SparseProp)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.dataflow.cache_walk import LoopAccess
from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel

INDEX_BYTES = 4
STEP_OTHERS = 4
"""Instructions of a non-zero beside loads and arithmetic: addresses of two rows, the counter and the branch."""


class CsrAxpy(CpuKernel):
    """For each non-zero the inputs of all tokens, a vector at a time, are added to the outputs in the first cache.

    The inputs are (k, m), tokens together. Per vector: two loads, a multiply-add, a store. A row's next non-zero adds
    to the same outputs and waits for their store. One token is a scalar loop whose sum stays in a register, so that
    each addition waits for the one before. Source: SciPy,
    scipy/sparse/sparsetools/csr.h (csr_matvec, csr_matvecs); IST-DASLab/sparseprop, lib/sparse_linear.cpp.
    """

    name: ClassVar[str] = "csr_axpy"
    walks: ClassVar[bool] = True
    formats: ClassVar[frozenset[str]] = frozenset({"csr"})

    def access(self, products: Products) -> LoopAccess:
        row = round(products.m[0] * products.value[0])
        return LoopAccess(row, row, 0, round(products.weight[0]) + INDEX_BYTES, row, products.m[0] > 1, 1)

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p, one = products, products.m == 1
        wait = cores.core.fma_latency.si + np.where(one, 0.0, cores.core.forward.si)
        vectors = p.kept * np.ceil(p.m / p.lanes)
        stored = p.kept * (p.weight + INDEX_BYTES)
        return LoopCounts(
            items=p.n, fma=vectors, loads=2 * p.kept + np.where(one, 1, 2) * vectors,
            stores=np.where(one, p.n, vectors), others=STEP_OTHERS * p.kept, gathered=np.zeros_like(p.m),
            misses=p.n, chain=p.kept * wait,
            calls=np.full_like(p.m, cores.core.dispatch.si),
            traffic=(*cores.weights(stored, np.ones_like(stored)), cores.inputs(p, vectors)),
        )  # fmt: skip


CPU_KERNELS.register(CsrAxpy.name)(CsrAxpy())
