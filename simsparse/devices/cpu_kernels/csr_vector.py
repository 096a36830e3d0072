# SPDX-License-Identifier: Apache-2.0
"""CSR weights times one token after another, compiled from the plain loop: a gather per vector of a row's non-zeros."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS
from simsparse.devices.cpu_kernels.csr_columns import CsrColumns


class CsrVector(CsrColumns):
    """The loops of ``CsrColumns`` without a library's call, on indexes of 32 bits: nothing is converted."""

    name: ClassVar[str] = "csr_vector"

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        found = super().loops(products, cores)
        return replace(found, calls=np.zeros_like(products.m), traffic=found.traffic[:-1])


CPU_KERNELS.register(CsrVector.name)(CsrVector())
