# SPDX-License-Identifier: Apache-2.0
"""The loops of ``csr_axpy`` as numba compiles them: checks before each inner loop."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.devices.cpu_kernels.base import CPU_KERNELS
from simsparse.devices.cpu_kernels.csr_axpy import CsrAxpy

CHECK_LOADS, CHECK_OTHERS = 10, 30
"""Loads from the stack and other instructions per non-zero, beside those of ``csr_axpy``: negative indexes, overlap of
the two rows, lengths of the vector loop and of its rest. Counted in the assembly that numba emits for x86-64."""


class CsrNumba(CsrAxpy):
    """Per non-zero the compiler can't tell that the rows of inputs and outputs are apart, and checks it."""

    name: ClassVar[str] = "csr_numba"

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        found = super().loops(products, cores)
        return replace(found, loads=found.loads + CHECK_LOADS * products.kept,
                       others=found.others + CHECK_OTHERS * products.kept)  # fmt: skip


CPU_KERNELS.register(CsrNumba.name)(CsrNumba())
