# SPDX-License-Identifier: Apache-2.0
"""Dense products of a tuned library (oneMKL, OpenBLAS): arithmetic at its rate, and copies of the weights."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.core import Op
from simsparse.devices.cpu_core import Cores, LoopCounts, Products, Refills
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel

COPIED = 2
"""Bytes moved for each byte of a copy of the weights beside the read of the original: written, and read again."""


class LibraryGemm(CpuKernel):
    """A blocked product. Multiply-adds run at the share of the peak that the part states for large products.

    Few tokens read the weights in place. More tokens read them from a copy in the order of the inner loop, made at each
    call: as a whole or in panels that stay in a cache (``core.gemm`` gives the numbers of tokens). Source: Goto and van
    de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 2008. Left out: tiles that the sizes do not
    fill.
    """

    name: ClassVar[str] = "gemm"
    formats: ClassVar[frozenset[str]] = frozenset({"dense"})

    def weights(self, op: Op, n: int, k: int) -> tuple[float, float]:
        del op
        return n * k, 1

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p, library, zero = products, cores.core.gemm, np.zeros_like(products.m)
        stored = p.n * p.k * p.weight
        cycles = 2 * p.m * p.n * p.k / p.flops_per_cycle
        direct, whole = np.ones_like(p.m, np.bool_), np.zeros_like(p.m, np.bool_)
        if library is not None:
            direct = p.m <= library.direct.si
            whole = ~direct & (p.m >= library.whole.si) & (p.m < library.panels.si)
        panels = ~direct & ~whole
        read = cores.weights(stored, np.ones_like(stored))
        copies = (
            Refills(np.where(panels, stored, 0.0), stored, overlaps=False),
            Refills(np.where(whole, COPIED * stored, 0.0), stored, overlaps=False),
        )
        first = [Refills(np.where(direct, each.bytes, 0.0), each.footprint) for each in read]
        first += [Refills(np.where(direct, 0.0, each.bytes), np.where(whole, 2 * each.footprint, each.footprint), False)
                  for each in read]  # fmt: skip
        return LoopCounts(
            p.n * np.ceil(p.m / 4), cycles * cores.fma_rate, zero, zero, zero, zero, zero, zero, zero,
            (*first, *copies),
        )  # fmt: skip


CPU_KERNELS.register(LibraryGemm.name)(LibraryGemm())
