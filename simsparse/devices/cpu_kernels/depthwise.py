# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions in channel-first layout: every channel by itself, a vector of pixels at a time (XNNPACK)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.core import Op
from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel

ENDS = 6
"""Instructions of a vector of outputs beside: two to clamp it, pointers, the counter and the branch."""


class Depthwise(CpuKernel):
    """Per vector of outputs: a multiply-add per tap, a load per row of taps, and a shift of vectors per other tap.

    The taps stay in registers. Source: google/XNNPACK, src/f32-dwconv2d-chw. Left out: padding and strides, which take
    further shifts.
    """

    name: ClassVar[str] = "depthwise"
    formats: ClassVar[frozenset[str]] = frozenset({"dense"})
    joins: ClassVar[bool] = True

    def weights(self, op: Op, n: int, k: int) -> tuple[float, float]:
        del op
        return n * k, 1

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        del cores
        p, zero = products, np.zeros_like(products.m)
        vectors, rows = p.n * np.ceil(p.m / p.lanes), np.sqrt(p.k)
        return LoopCounts(
            items=p.n * p.m, fma=p.k * vectors, loads=rows * vectors, stores=vectors,
            others=(p.k - rows + ENDS) * vectors, gathered=zero, misses=zero, chain=zero, calls=zero, traffic=(),
        )  # fmt: skip


CPU_KERNELS.register(Depthwise.name)(Depthwise())
