# SPDX-License-Identifier: Apache-2.0
"""The contract of a kernel for CPUs: from products to the instructions of its inner loops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from simsparse.core import Op
from simsparse.dataflow.cache_walk import LoopAccess
from simsparse.devices.cpu_core import Cores, LoopCounts, Products
from simsparse.registry import Registry
from simsparse.sparsity.formats.base import Format
from simsparse.sparsity.formats.storage import format_for


class CpuKernel(ABC):
    """One kernel. ``name`` is what parts call it; its objects hold no state.

    ``formats``: storage formats of weights that it reads. ``joins``: it runs all groups of an op as one loop.
    ``walks``: level 2 can walk its weights, one by one.
    """

    name: ClassVar[str]
    formats: ClassVar[frozenset[str]]
    joins: ClassVar[bool] = False
    walks: ClassVar[bool] = False

    def weights(self, op: Op, n: int, k: int) -> tuple[float, float]:
        """Weights that the kernel multiplies in a product of ``op`` with an n x k matrix, and how many share an index.

        Raises SpecError when the op's format can't hold its weights.
        """
        return self.held(format_for(op.weight_format, op.weight_sparsity, n, k, op.w_dtype.bits), op, n, k)

    def held(self, form: Format, op: Op, n: int, k: int) -> tuple[float, float]:
        """The same of weights in the format ``form``, by default one that stores single elements."""
        return form.pattern_units(op.weight_sparsity, (n, k)), 1

    def access(self, products: Products) -> LoopAccess:
        """What a pass over the first of ``products`` touches, of a kernel that ``walks``."""
        raise NotImplementedError(self.name)

    @abstractmethod
    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        """Instructions and traffic of ``products``, all of which this kernel runs."""


CPU_KERNELS: Registry[CpuKernel] = Registry("CPU kernel", package="simsparse.devices.cpu_kernels")
"""Kernels by name; each module of devices/cpu_kernels registers one."""
