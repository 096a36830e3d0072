# SPDX-License-Identifier: Apache-2.0
"""Host processors: a roofline with a fixed cost per operator; where a part knows its threads, what they share.

Left out: caches (every operand comes from DRAM once), NUMA, the slow ramp of small GEMMs. Sparse weights are stored and
multiplied as dense ones, as PyTorch does on a CPU, or decoded from the format that an op names. A part that knows its
kernels for CSR multiplies fp32 weights of that format. A part that describes its cores times products with weights by
the inner loops of its kernels (cpu_core, cpu_kernels), caches included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from simsparse.config.parts.cpu import CpuPart
from simsparse.core import DENSE, Action, Op, OpCost, OpCycles, OpKind, Unit
from simsparse.core.kinds.gather import GATHER
from simsparse.devices.base import DEVICES, CopyRates, CostArrays, Device, Floats, Mask, StreamedTime
from simsparse.devices.cpu_core import Cores
from simsparse.devices.cpu_loops import loop_arrays, sparse_kernel
from simsparse.devices.cpu_threads import CSR, csr_seconds, thread_arrays
from simsparse.devices.cpu_walk import walk_refusal, walked_seconds
from simsparse.devices.decode import with_decoding
from simsparse.devices.memory import READ, WRITE
from simsparse.devices.roofline import dominant, require_supported
from simsparse.errors import MappingError
from simsparse.sparsity import USUAL

FLOP: Action = ("core", "flop")
SCALAR = "fp32"
CYCLES = 2
"""Level from which sparse kernels walk their weights."""


@DEVICES.register("cpu")
class Cpu(Device):
    """All cores of a host on one operator at a time; level 2 where its kernels walk sparse weights."""

    kind: ClassVar[str] = "cpu"
    op_kinds = frozenset(
        {"linear", "conv2d", "matmul", "attention", "moe_ffn", "elementwise", "other", "launched", "norm", "softmax",
         "reduce", "gather", "scan"}
    )  # fmt: skip
    refusals: ClassVar[Mapping[str, str]] = {
        "topk": "sorting branches on its data and reaches no share of the peak rate that is known here",
        "block_sparse_attention": "PyTorch has no kernel for a CPU that skips the blocks of a mask",
        "selected_attention": "PyTorch has no kernel for a CPU that reads tokens of a cache by index",
        "key_index": "PyTorch has no kernel for a CPU that scores cached keys and keeps the best",
    }
    part: CpuPart

    def __init__(self, part: CpuPart, resident: bool = False) -> None:
        """``resident``: weights stay in the caches between calls, as in the loop of a benchmark (``Cores``)."""
        super().__init__(part)
        self._cores = Cores.of(part, resident)

    def unsuited(self, op: Op) -> str | None:
        if (name := _rate_name(op)) not in self.part.compute.peak:
            return f"{self.part.name} has no {name} rate; it has {', '.join(self.part.compute.peak)}"
        return None

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        require_supported(self, ops)
        dense = list(map(_dense, ops))
        stored = [
            op if full is not op and (self.decodes(op) or self.skips(op)) else full
            for op, full in zip(ops, dense, strict=True)
        ]
        read = np.array([op.weight_bytes for op in stored], np.int64)
        read = read + np.array([op.input_bytes for op in dense], np.int64)
        write = np.array([op.output_bytes for op in ops], np.int64)
        flops = np.array([op.flops for op in ops], np.int64)
        contributors = self._contributors(ops, flops / self._flops_per_s(ops), (read + write).astype(np.float64))
        latency = contributors["launch"] + np.maximum(contributors["compute"], contributors["memory"])
        if self._cores is not None:
            flops = np.array(
                [2 * op.useful_macs if sparse_kernel(self._cores, op) else op.flops for op in ops], np.int64
            )
            self._walk_loops(self._cores, ops, contributors, latency, level)
        costs = CostArrays(
            latency, contributors, dominant(contributors), {FLOP: flops, READ: read, WRITE: write},
            [""] * len(ops), CYCLES if level >= CYCLES and self._cores is not None else 0,
        )  # fmt: skip
        return with_decoding(self, ops, costs)

    def _contributors(self, ops: Sequence[Op], flop_s: Floats, bytes: Floats) -> dict[str, Floats]:
        threads = self.part.threads
        if threads is None:
            return {
                "launch": np.full(len(ops), self.part.compute.launch.si),
                "compute": flop_s,
                "memory": bytes / (self.part.memory.bandwidth.si * self.part.memory.efficiency.si),
            }
        found = thread_arrays(self.part, threads, ops, flop_s, bytes)
        for i, op in enumerate(ops if self.part.gather else ()):
            if op.kind == GATHER.name:
                found["memory"][i] = gather_seconds(self.part, op.dims["rows"], op.dims["row_bytes"])
                found["compute"][i] = 0.0
        csr = threads.csr
        for i, op in enumerate(ops if csr else ()):
            if csr and self.skips(op):
                found["compute"][i] = csr_seconds(csr, threads, op)
                found["memory"][i] = 0.0
        return found

    def _walk_loops(
        self, cores: Cores, ops: Sequence[Op], contributors: Mapping[str, Floats], latency: Floats, level: int
    ) -> None:  # fmt: skip
        """Put the seconds of inner loops in the places of products with weights."""
        places = [i for i, op in enumerate(ops) if op.definition.prunable]
        if not places:
            return
        found = loop_arrays(cores, [ops[i] for i in places])
        for name, values in contributors.items():
            values[places] = found[name]
        latency[places] = found["launch"] + found["total"]
        for i in places if level >= CYCLES else ():
            if walk_refusal(cores, ops[i]) is None and len(ops[i].gemms) == 1 and ops[i].gemms[0][0] == 1:
                walked = walked_seconds(cores, ops[i])
                contributors["compute"][i], contributors["memory"][i] = walked["compute"], walked["memory"]
                latency[i] = contributors["launch"][i] + walked["total"]

    def cycles(
        self, op: Op, weight_mask: Mask | None = None, input_mask: Mask | None = None, seed: int = 0
    ) -> OpCycles:
        """Cycles of the cores' clock of a sparse kernel on the real places of its weights; see Device.cycles.

        Zeros of the inputs save nothing, so that ``input_mask`` must be None.
        """
        if reason := self.supports(op) or walk_refusal(self._cores, op):
            raise MappingError(reason, key=op.name)
        if self._cores is None or input_mask is not None:
            raise MappingError("no kernel here skips zeros of the inputs; expected no mask of them", key=op.name)
        walked = walked_seconds(self._cores, op, weight_mask, seed)
        clock = self._cores.core.clock.si
        total = max(1, round(walked["total"] * clock))
        compute = min(total, round(walked["compute"] * clock))
        slots = walked["total"] * clock * self._cores.lanes(op.dtype) * self._cores.core.fma_ports.si
        (cost,) = self.costs([op])
        used = min(1.0, max(op.useful_macs / (slots * self._cores.count), 1e-12))
        return OpCycles(total, used, cost.counts, {"compute": compute, "memory": total - compute})

    def skips(self, op: Op) -> bool:
        if sparse_kernel(self._cores, op) is not None:
            return True
        if op.weight_format != CSR or op.kind != OpKind.LINEAR or op.w_dtype != SCALAR:
            return False
        return self.part.threads is not None and self.part.threads.csr is not None

    @property
    def decode_rates(self) -> Mapping[str, float]:
        return {name: rate.si for name, rate in (self.part.decode or {}).items()}

    @property
    def prices(self) -> Mapping[Action, float]:
        energy = self.part.energy
        return {FLOP: energy.flop.si, READ: energy.dram_byte.si, WRITE: energy.dram_byte.si}

    @property
    def static_watts(self) -> float:
        return self.part.energy.static.si

    @property
    def copy_rates(self) -> CopyRates:
        memory = self.part.memory
        return replace(CopyRates.of(memory), channels=(memory.channels or memory.bandwidth).si)

    def streaming(self, cost: OpCost) -> StreamedTime:
        body = max(0.0, cost.latency_s - cost.breakdown.get("launch", 0.0))
        moved, rate = cost.counts.of(*READ) + cost.counts.of(*WRITE), self._stream_rate
        stream = min(body, moved / rate)
        return StreamedTime(stream, body - stream, rate)

    @property
    def _stream_rate(self) -> float:
        """Bytes per second that the threads at work stream."""
        memory, threads = self.part.memory, self.part.threads
        whole = memory.bandwidth.si * memory.efficiency.si
        if threads is None:
            return whole
        return min(whole, threads.bandwidth.si / (threads.serial.si + (1 - threads.serial.si) / threads.count.si))

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.memory.capacity.si)

    def _flops_per_s(self, ops: Sequence[Op]) -> Floats:
        rates = {name: peak.si * self.part.compute.efficiency.si for name, peak in self.part.compute.peak.items()}
        return np.array([rates[_rate_name(op)] for op in ops], np.float64)


def _rate_name(op: Op) -> str:
    return SCALAR if op.definition.unit is Unit.VECTOR else op.dtype


def _dense(op: Op) -> Op:
    if op.weight_sparsity.is_dense and op.input_sparsity.is_dense and op.weight_format == USUAL:
        return op
    return op.with_(weight_sparsity=DENSE, input_sparsity=DENSE, weight_format=USUAL)


def gather_seconds(part: CpuPart, rows: int, row_bytes: int) -> float | None:
    """Seconds to copy ``rows`` random rows into one buffer; None where the part does not say."""
    if part.gather is None:
        return None
    moved = 2 * rows * row_bytes / (part.memory.bandwidth.si * part.gather.efficiency.si)
    return max(rows * part.gather.row.si, moved)
