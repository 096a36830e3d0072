# SPDX-License-Identifier: Apache-2.0
"""Weights stored as a bitmap and their values, expanded in registers and multiplied as dense ones."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel

EXPANSION = 6
"""Instructions that place a vector's values by its mask without one for that: a table of shuffles by halves of the
mask, a shuffle, a count of bits and the step of the pointer. Counted by hand for AVX2 and NEON."""


class BitmapExpand(CpuKernel):
    """Saves bytes, not arithmetic: for products of few tokens that the memory bounds.

    Per vector of dense positions a mask and values are loaded and expanded; each token then loads its inputs and
    multiplies. Source: the load-as-sparse, compute-as-dense scheme of SparAMX (arXiv 2502.12444) and of DeepSparse's
    compressed weights, whose code is not public.
    """

    name: ClassVar[str] = "bitmap_expand"
    formats: ClassVar[frozenset[str]] = frozenset({"bitmap"})

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p, zero = products, np.zeros_like(products.m)
        vectors = p.n * np.ceil(p.k / p.lanes)
        return LoopCounts(
            items=p.n, fma=p.m * vectors, loads=(2 + p.m) * vectors, stores=p.m * p.n, others=EXPANSION * vectors,
            gathered=zero, misses=zero, chain=zero, calls=np.full_like(p.m, cores.core.dispatch.si),
            traffic=cores.weights(p.stored, np.ones_like(p.m)),
        )  # fmt: skip


CPU_KERNELS.register(BitmapExpand.name)(BitmapExpand())
