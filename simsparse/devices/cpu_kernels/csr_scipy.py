# SPDX-License-Identifier: Apache-2.0
"""SciPy's CSR products: the loops of ``csr_axpy`` compiled for the oldest processors that its wheels support."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS
from simsparse.devices.cpu_kernels.csr_axpy import CsrAxpy

WHEEL_BYTES = 16
"""Vector registers of the baseline of SciPy's wheels: SSE2, NEON."""


class CsrScipy(CsrAxpy):
    """Vectors of 16 bytes, and a multiplication and an addition in place of each multiply-add."""

    name: ClassVar[str] = "csr_scipy"

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        narrow = replace(products, lanes=np.minimum(products.lanes, WHEEL_BYTES / products.value))
        found = super().loops(narrow, cores)
        return replace(found, fma=2 * found.fma)


CPU_KERNELS.register(CsrScipy.name)(CsrScipy())
