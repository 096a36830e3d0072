# SPDX-License-Identifier: Apache-2.0
"""Grouped n:m weights (n:m:g): patterns in a fixed order, so that the code knows each index (STen)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.core import Op
from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel
from simsparse.sparsity.formats.base import Format
from simsparse.sparsity.formats.grouped_nm import GroupedNM

TILE_VECTORS = 4
"""Vectors of tokens that a pass over the weights covers."""
ROW_BYTES = 2
"""The row that a stored group of values belongs to, in STen's tensors."""


class NmgCounter(CpuKernel):
    """Unrolled code per pattern: no index per value, one row number per group of ``n`` values.

    The inputs are (k, m), tokens together. A step of ``n`` values loads its row's sums, multiplies ``n`` vectors of
    inputs that neighbouring patterns share but for one, and stores the sums. Source: spcl/sten,
    src/sten/grouped_nm/ (n_m, the generated kernels); Ivanov et al., 2023.
    """

    name: ClassVar[str] = "nmg_counter"
    formats: ClassVar[frozenset[str]] = frozenset({"nmg"})

    def held(self, form: Format, op: Op, n: int, k: int) -> tuple[float, float]:
        return op.weight_sparsity.kept(n, k), form.n if isinstance(form, GroupedNM) else 1

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p = products
        vectors = np.ceil(p.m / p.lanes)
        tiles = np.ceil(vectors / TILE_VECTORS)
        groups = p.kept / p.block
        stored = p.kept * p.weight + groups * ROW_BYTES
        return LoopCounts(
            items=p.n * tiles, fma=p.kept * vectors, loads=p.kept * tiles + groups * (2 * vectors + tiles),
            stores=groups * vectors, others=2 * groups * tiles, gathered=np.zeros_like(p.m), misses=np.zeros_like(p.m),
            chain=np.zeros_like(p.m), calls=np.full_like(p.m, cores.core.dispatch.si),
            traffic=(*cores.weights(stored, tiles), cores.inputs(p, groups * vectors, TILE_VECTORS)),
        )  # fmt: skip


CPU_KERNELS.register(NmgCounter.name)(NmgCounter())
