# SPDX-License-Identifier: Apache-2.0
"""Products with weights of few bits by table look-up (T-MAC): no multiplication, a permutation of bytes instead."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.core import Op
from simsparse.devices.cpu_core import Cores, LoopCounts, Products, Refills
from simsparse.devices.cpu_kernels.base import CPU_KERNELS, CpuKernel

GROUP = 4
"""Inputs that share a table: one bit of each of their weights is the index of one of 16 sums."""
ENTRIES = 1 << GROUP
ROWS = 32
"""Rows of weights that a table in a register serves. Assumed: what 32 registers of 16 bytes hold sums for."""
SCALED = 128
"""Inputs after which sums of 16 bits are scaled and added in fp32: a group of scales."""
LOOKUP = 4
"""Instructions on vectors per vector of look-ups: an index (a mask for one half of a byte, a shift for the other), the
permutation, a sum of two vectors of bytes in 16 bits and that sum added up, both for the low and the high half.
Counted by hand for NEON; AVX2 has no shift of bytes and needs half an instruction more."""
SCALING = 12
"""Instructions per vector of rows and bit of a weight that scale sums: widened, converted, multiplied, four each."""
BUILDING = 3
"""Instructions per vector of fp32 entries when tables are made: a sum, a scale, a conversion to bytes."""


class TableLookup(CpuKernel):
    """One token after the other; per bit of a weight and four inputs, a byte from a table of their sixteen sums.

    Work grows with the bits of the weights, whatever the type of the inputs. Instructions are counted by hand from the
    method's description (Wei et al., "T-MAC: CPU Renaissance via Table Lookup for Low-Bit LLM Deployment on Edge",
    arXiv 2407.00088, section 3). Left out: the bytes of scales; sums by averages of bytes, which are faster and
    inexact; tokens that share a pass over the weights.
    """

    name: ClassVar[str] = "table_lookup"
    formats: ClassVar[frozenset[str]] = frozenset({"dense"})

    def weights(self, op: Op, n: int, k: int) -> tuple[float, float]:
        del op
        return n * k, 1

    def loops(self, products: Products, cores: Cores) -> LoopCounts:
        p, wide, zero = products, cores.core.vector.si, np.zeros_like(products.m)
        planes = 8 * p.weight
        lookups = p.m * p.n * np.ceil(p.k / GROUP) * planes / wide
        tables = p.m * np.ceil(p.k / GROUP) * np.ceil(p.n / ROWS)
        scaled = p.m * p.n * np.ceil(p.k / SCALED) * planes / wide
        built = p.m * p.k / GROUP * ENTRIES * 4 / wide
        held = p.k / GROUP * ENTRIES * cores.count
        return LoopCounts(
            items=np.ceil(p.n / ROWS), fma=LOOKUP * lookups + SCALING * scaled + BUILDING * built,
            loads=lookups / 2 + tables, stores=p.m * p.n * 4 / wide + built / 4, others=lookups / 2, gathered=zero,
            misses=zero, chain=zero, calls=np.full_like(p.m, cores.core.dispatch.si),
            traffic=(*cores.weights(p.n * p.k * p.weight, p.m), Refills(ENTRIES * tables, held)),
        )  # fmt: skip


CPU_KERNELS.register(TableLookup.name)(TableLookup())
