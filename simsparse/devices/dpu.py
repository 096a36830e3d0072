# SPDX-License-Identifier: Apache-2.0
"""DRAM with a small processor at every bank (UPMEM's DPUs), by counts of instructions and of block transfers.

A DPU issues one instruction in a cycle, of each thread one in ``pipeline`` cycles. Threads bring blocks of the bank to
a scratchpad, compute and write blocks back, while others compute. So a kernel takes as long as its instructions, its
block transfers, or the blocks of a thread one after another over all threads, whichever is most. Outputs and elements
spread over the DPUs; the one with the most decides. Weights are read again for each token.

Left out: rows of the bank, calls of functions, the end of a kernel where few threads still work, sums between DPUs,
which go through the host, and the host's distribution of inputs, which is a copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Literal

import numpy as np

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    DTypeName,
    Frozen,
    Hertz,
    Joules,
    JoulesPerByte,
    Part,
    Seconds,
    Ticks,
    Watts,
    Whole,
)
from simsparse.core import Action, Op
from simsparse.devices.base import DEVICES, CopyRates, CostArrays, Device, whole_counts
from simsparse.devices.roofline import dominant, require_supported

INSTRUCTION: Action = ("dpu", "instruction")
BANK: Action = ("bank", "byte")
MEASURED = "kernels of PrIM on 60 to 480 DPUs"
_LOOP, _ADDRESS, _ACCESS = 2, 1, 1
"""Instructions of a loop for each element (its count and its branch), of an address, and of a load or a store."""


class DpuMemory(Frozen):
    """The bank of one DPU, of ``capacity``.

    A transfer of ``block`` bytes takes ``read`` or ``write`` cycles, and its bytes at ``rate`` bytes a cycle.
    ``host_write`` and ``host_read`` are rates of all DPUs together.
    """

    capacity: Bytes
    block: Bytes
    read: Ticks
    write: Ticks
    rate: Whole
    host_write: BytesPerSecond
    host_read: BytesPerSecond


class DpuProduct(Frozen):
    """Instructions of a product: ``start``, and ``bit`` for each bit of the smaller factor."""

    start: Whole
    bit: Ticks


class DpuCompute(Frozen):
    """``dpus`` of a ``clock``, each with ``threads`` that issue every ``pipeline`` cycles; ``launch`` starts all.

    ``add`` are instructions of an addition by dtype, ``multiply`` of a product, of factors of ``operand_bits`` bits or
    those of the dtype if these are fewer.
    """

    dpus: Whole
    clock: Hertz
    threads: Whole
    pipeline: Whole
    launch: Seconds
    add: dict[DTypeName, Whole]
    multiply: dict[DTypeName, DpuProduct]
    operand_bits: Whole


class DpuEnergy(Frozen):
    """Price of an instruction and of a byte from or to a bank, and power that is drawn whatever runs."""

    instruction: Joules
    bank_byte: JoulesPerByte
    static: Watts


@PARTS.register("dpu")
class DpuPart(Part):
    """DRAM modules whose banks have a processor each."""

    kind: Literal["dpu"]
    memory: DpuMemory
    compute: DpuCompute
    energy: DpuEnergy


@dataclass(frozen=True)
class _Loop:
    """What one DPU does: ``elements`` of ``bits`` bits, of each so many ``instructions``, vectors read and written."""

    elements: int
    bits: int
    instructions: float
    read: float
    written: float


@DEVICES.register("dpu")
class Dpu(Device):
    """All DPUs run one kernel at a time."""

    kind: ClassVar[str] = "dpu"
    op_kinds = frozenset({"linear", "matmul", "elementwise", "reduce"})
    refusals: ClassVar[Mapping[str, str]] = {
        "attention": "its kernels are loops over elements; give its two products and the softmax apart",
    }
    part: DpuPart

    def unsuited(self, op: Op) -> str | None:
        known = self.part.compute.add
        if op.dtype not in known or op.w_dtype is not op.dtype:
            return (
                f"its kernels have no {op.w_dtype} with {op.dtype}; they have {', '.join(known)}, both operands alike"
            )
        if self.decodes(op):
            return f"its kernels read plain weights, not {op.weight_format}"
        return None

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        del level  # there is one fidelity
        require_supported(self, ops)
        compute = self.part.compute
        loops = [self._loop(op) for op in ops]
        cycles = np.array([self._cycles(loop) for loop in loops], np.float64).reshape(-1, 3) / compute.clock.si
        contributors = {"launch": np.full(len(ops), compute.launch.si), "compute": cycles[:, 0],
                        "memory": cycles[:, 1], "threads": cycles[:, 2]}  # fmt: skip
        latency = contributors["launch"] + cycles.max(axis=1, initial=0.0)
        dpus = compute.dpus.si
        issued = np.array([dpus * loop.elements * loop.instructions for loop in loops])
        moved = np.array([dpus * self._bytes(loop) for loop in loops])
        counts = {INSTRUCTION: whole_counts(INSTRUCTION, np.ceil(issued)), BANK: whole_counts(BANK, np.ceil(moved))}
        return CostArrays(latency, contributors, dominant(contributors), counts, [self._reference(op) for op in ops])

    def _loop(self, op: Op) -> _Loop:
        """The loop of the DPU with the most to do."""
        dpus, bits = self.part.compute.dpus.whole, op.dtype.bits
        add = self.part.compute.add[op.dtype].si
        if op.kind == "elementwise":
            d = {dim: size * 8 / bits for dim, size in op.dims.items()}
            each = max(1.0, d["write_bytes"] or d["read_bytes"])
            read, written, computed = (d["read_bytes"] / each, d["write_bytes"] / each, op.flops / each)
            instructions = _LOOP + read * (_ADDRESS + _ACCESS) + written * _ACCESS + computed * add
            return _Loop(ceil(each / dpus), bits, instructions, read, written)
        if op.kind == "reduce":
            return _Loop(ceil(op.dims["rows"] * op.dims["cols"] / dpus), bits, _LOOP + _ADDRESS + _ACCESS + add, 1, 0)
        macs = sum(m * ceil(count * n / dpus) * k for count, m, n, k in op.gemms)
        instructions = _LOOP + 2 * (_ADDRESS + _ACCESS) + self._multiply(op) + add + 2 * _ACCESS
        return _Loop(macs, bits, instructions, 2, 0)

    def _multiply(self, op: Op) -> float:
        product = self.part.compute.multiply[op.dtype]
        return product.start.si + product.bit.si * min(op.dtype.bits, self.part.compute.operand_bits.si)

    def _bytes(self, loop: _Loop) -> float:
        return loop.elements * loop.bits / 8 * (loop.read + loop.written)

    def _cycles(self, loop: _Loop) -> tuple[float, float, float]:
        """Cycles of all instructions, of all block transfers, and of the blocks of a thread over the threads."""
        memory, compute = self.part.memory, self.part.compute
        issued = loop.elements * loop.instructions
        blocks = loop.elements * loop.bits / 8 / memory.block.si
        moved = blocks * (loop.read * memory.read.si + loop.written * memory.write.si)
        moved += self._bytes(loop) / memory.rate.si
        return issued, moved, (issued * compute.pipeline.si + moved) / compute.threads.si

    def _reference(self, op: Op) -> str:
        """Sums of vectors, sums of elements and products of one vector in integers are what has been compared."""
        compared = op.kind in ("elementwise", "reduce") or (op.kind == "linear" and op.dims["m"] == 1)
        return MEASURED if compared and str(op.dtype) in ("int32", "int64") else ""

    @property
    def prices(self) -> Mapping[Action, float]:
        return {INSTRUCTION: self.part.energy.instruction.si, BANK: self.part.energy.bank_byte.si}

    @property
    def static_watts(self) -> float:
        return self.part.energy.static.si

    @property
    def copy_rates(self) -> CopyRates:
        return CopyRates(self.part.memory.host_read.si, self.part.memory.host_write.si)

    def copy_counts(self, direction: str, bytes: int) -> Mapping[Action, int]:
        del direction
        return {BANK: bytes}

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.compute.dpus.si * self.part.memory.capacity.si)
