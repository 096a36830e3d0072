# SPDX-License-Identifier: Apache-2.0
"""Backward pass of sparse weights: both gradients in one pass over the non-zeros (SparseProp)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS
from simsparse.devices.cpu_kernels.csr_axpy import CsrAxpy


class CsrBackward(CsrAxpy):
    """Per non-zero and vector of tokens: ``dx[k, :] += w * dy[n, :]`` and ``dw += dy[n, :] . x[k, :]``.

    Three loads, two multiply-adds and a store per vector; the gradient of the weight is a sum that is reduced and
    stored once per non-zero. The outputs that are added to are rows of ``dx``, which differ from one non-zero to the
    next, so that none waits for the store before. Source: IST-DASLab/sparseprop, lib/sparse_linear.cpp (backward);
    Nikdan et al., ICML 2023.
    """

    name: ClassVar[str] = "csr_backward"

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p = products
        forward = super().loops(products, cores)
        vectors = p.kept * np.ceil(p.m / p.lanes)
        reduced = 2 * np.log2(np.maximum(p.lanes, 2)) * p.kept
        return replace(
            forward, fma=2 * vectors, loads=2 * p.kept + 3 * vectors, stores=vectors + p.kept,
            others=forward.others + reduced, chain=np.zeros_like(p.m),
            traffic=(*forward.traffic[:-1], cores.inputs(p, 3 * vectors)),
        )  # fmt: skip


CPU_KERNELS.register(CsrBackward.name)(CsrBackward())
