# SPDX-License-Identifier: Apache-2.0
"""Constant fan-in: for each token and output, gathered inputs times a row of weights (SRigL's condensed layer)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.dataflow.cache_walk import LoopAccess
from simsparse.devices.cpu_core import PREDICTED_STEPS, Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel

INDEX_BYTES = 4
STEP_OTHERS = 2
"""Instructions of a step beside loads, the gather and the multiply-add: the counter and the branch."""


class FanInGather(CpuKernel):
    """``sum(weight[n, :] * x[token, index[n, :]])``: the loop runs along the fan-in, a vector of it at a time.

    A step loads a vector of weights and one of 32-bit indexes, gathers the inputs and multiplies. The row's sum is
    reduced at its end; rows are equally long, so that the exit of a short loop is predicted. Every token passes over
    all weights and indexes. Source: calgaryml/condensed-sparsity, src/condensed_sparsity/condensed_linear.py,
    CondensedLinearFineGrained, as torch's inductor compiles it.
    """

    name: ClassVar[str] = "fan_in_gather"
    walks: ClassVar[bool] = True
    formats: ClassVar[frozenset[str]] = frozenset({"fan_in"})

    def access(self, products: Products) -> LoopAccess:
        value, row = round(products.value[0]), round(products.k[0] * products.value[0])
        stored = round(products.weight[0]) + INDEX_BYTES
        return LoopAccess(value, value, row, stored, value, False, round(products.m[0]))

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p, zero = products, np.zeros_like(products.m)
        rows = p.m * p.n
        trips = np.ceil(p.kept / p.n / p.lanes)
        steps = rows * trips
        reduced = 2 * np.log2(np.maximum(p.lanes, 2))
        stored = p.kept * (p.weight + INDEX_BYTES)
        return LoopCounts(
            items=rows, fma=steps, loads=2 * steps, stores=rows, others=STEP_OTHERS * steps + reduced * rows,
            gathered=p.m * p.kept, misses=np.where(trips > PREDICTED_STEPS, rows, 0.0),
            chain=steps * cores.core.fma_latency.si, calls=zero, traffic=cores.weights(stored, p.m),
        )  # fmt: skip


CPU_KERNELS.register(FanInGather.name)(FanInGather())
