# SPDX-License-Identifier: Apache-2.0
"""Products with weights of few bits that are unpacked to bytes in registers and multiplied by 8-bit inputs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.core import Op
from simsparse.devices.cpu_core import Cores, LoopCounts, Products, Refills
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel


class UnpackDot(CpuKernel):
    """A dot product per row and token: a mask and a shift place the weights of a vector, a dot product of bytes adds.

    ``rows`` share a loaded vector of inputs, ``tokens`` one of unpacked weights; both one as in the plain kernel of
    BitNet's 2-bit weights (microsoft/BitNet, README of its CPU kernels). Where the core adds products of bytes in
    16 bits, whose rate the part's int8 peak tells, a product takes two instructions. Left out: scales of groups of
    weights, and sums carried to 32 bits.
    """

    name: ClassVar[str] = "unpack_dot"
    formats: ClassVar[frozenset[str]] = frozenset({"dense"})
    rows: ClassVar[int] = 1
    tokens: ClassVar[int] = 1

    def weights(self, op: Op, n: int, k: int) -> tuple[float, float]:
        del op
        return n * k, 1

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p, wide, zero = products, cores.core.vector.si, np.zeros_like(products.m)
        vectors = p.n * np.ceil(p.k / wide)
        passes = np.ceil(p.m / self.tokens)
        unpacked, read = (2 - p.weight) * passes * vectors, p.weight * passes * vectors
        inputs = p.m * np.ceil(p.n / self.rows) * np.ceil(p.k / wide)
        return LoopCounts(
            items=p.n, fma=unpacked + p.m * vectors * np.maximum(1.0, wide / p.lanes), loads=read + inputs,
            stores=p.m * p.n, others=passes * vectors / 2, gathered=zero, misses=zero, chain=zero,
            calls=np.full_like(p.m, cores.core.dispatch.si),
            traffic=(*cores.weights(p.n * p.k * p.weight, passes), Refills(inputs * wide, p.k * cores.count)),
        )  # fmt: skip


class UnpackDotRows(UnpackDot):
    """Four rows of weights share the inputs."""

    name: ClassVar[str] = "unpack_dot_rows"
    rows: ClassVar[int] = 4


class UnpackDotTokens(UnpackDot):
    """Four tokens share the unpacked weights."""

    name: ClassVar[str] = "unpack_dot_tokens"
    tokens: ClassVar[int] = 4


for _kernel in (UnpackDot(), UnpackDotRows(), UnpackDotTokens()):
    CPU_KERNELS.register(_kernel.name)(_kernel)
