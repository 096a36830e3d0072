# SPDX-License-Identifier: Apache-2.0
"""Accelerators that skip zeros: a sparse engine of simsparse.dataflow with its own DRAM and vector unit.

Level 0 and 1 take the engine's closed form, level 2 its cycle core on patterns drawn for each operand's sparsity.
Activations stay on the chip where the part has room for those of an operator (``buffers.activations``) and the engine
keeps them. Left out: a limit on what the host's descriptors allow, weights that stay on chip from one operator to the
next, larger batches cut into pieces that fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simsparse.config.quantity import Part
from simsparse.core import DENSE, Action, ActionCounts, DType, Op, OpCycles, OpKind, Unit
from simsparse.dataflow.sparse_engine import ENGINES, MOST, PeConfig, Resident, Work, pieces
from simsparse.devices.accelerator import CYCLES, FLOP, SRAM, Accelerator, mac_action
from simsparse.devices.base import DENSE_FORMAT, DEVICES, CostArrays, Mask, whole_counts
from simsparse.devices.gemm_list import check_walk, single_product
from simsparse.devices.memory import READ, WRITE
from simsparse.devices.roofline import dominant, require_supported, whole
from simsparse.errors import MappingError, SpecError
from simsparse.sparsity import USUAL
from simsparse.sparsity.drawn import Operand, drawn
from simsparse.sparsity.nonzeros import NonZeros


@dataclass(frozen=True)
class _Cost:
    """One operator: seconds by contributor, counts, the reference that checks it."""

    seconds: Mapping[str, float]
    counts: Mapping[Action, int]


@DEVICES.register("engine")
class SparseEngineDevice(Accelerator):
    """An accelerator round a sparse engine."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        try:
            self.engine = ENGINES.get(self.part.array.dataflow)
        except SpecError as error:
            raise SpecError(error.message, key=f"{part.name}.array.dataflow") from None
        given, named = set(self.part.engine or ()), set(self.engine.settings)
        if given != named:
            key = min(given ^ named)
            said = "is missing" if key in named else "is not a parameter"
            allowed = ", ".join(sorted(named)) or "no parameter"
            raise SpecError(f"{key} {said} of {self.engine.name}, which has {allowed}", key=f"{part.name}.engine")
        if self.part.buffers.activations is not None and not self.engine.keeps_activations:
            raise SpecError(f"{self.engine.name} keeps no activations", key=f"{part.name}.buffers.activations")
        for name, value in (self.part.engine or {}).items():
            least, most = self.engine.limits.get(name, (0, MOST))
            if not least <= value.si <= most:
                key = f"{part.name}.engine.{name}"
                raise SpecError(f"{value.text!r} must be from {least} to {most} on {self.engine.name}", key=key)

    def unsuited(self, op: Op) -> str | None:
        if op.definition.prunable and op.w_dtype.bits != op.dtype.bits and not self.engine.widens:
            return f"{self.engine.name} has no path for {op.w_dtype} weights with {op.dtype} inputs; expected one width"
        named = op.weight_format.split(":")[0]
        if not op.definition.prunable or named in (USUAL, *self.engine.weight_formats):
            return super().unsuited(op)
        if named == DENSE_FORMAT and op.weight_sparsity.density == 1:
            return super().unsuited(op)
        readable = " or ".join([USUAL, *self.engine.weight_formats])
        return f"{self.engine.name} reads weights in its own form, not {op.weight_format}; expected {readable}"

    def skips(self, op: Op) -> bool:
        sparsity = op.weight_sparsity
        return op.definition.prunable and not sparsity.is_factored and self.engine.applies(sparsity)

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        require_supported(self, ops)
        costs = [self._cost(op, level) for op in ops]
        names = ("launch", "compute", "vector", "memory")
        seconds = {name: np.array([cost.seconds[name] for cost in costs]) for name in names}
        latency = seconds["launch"] + np.maximum(seconds["compute"] + seconds["memory"], seconds["vector"])
        actions = sorted({action for cost in costs for action in cost.counts})
        counts = {
            action: whole_counts(action, np.array([cost.counts.get(action, 0) for cost in costs], np.float64))
            for action in actions
        }
        reached = CYCLES if level >= CYCLES else 0
        return CostArrays(latency, seconds, dominant(seconds), counts, [""] * len(ops), reached)

    def cycles(
        self, op: Op, weight_mask: Mask | None = None, input_mask: Mask | None = None, seed: int = 0
    ) -> OpCycles:
        """Level 2 of ``op``, which must be one product with a weight, DRAM included; see Device.cycles."""
        if reason := self.supports(op):
            raise MappingError(reason, key=op.name)
        m, n, k = single_product(op)
        for mask, shape in ((weight_mask, (n, k)), (input_mask, (m, k))):
            if mask is not None and mask.shape != shape:
                raise MappingError(f"a mask of shape {mask.shape} does not fit; expected {shape}", key=op.name)
        weights, inputs = (
            NonZeros.of(mask) if mask is not None else drawn(sparsity, rows, k, operand, seed)
            for mask, sparsity, rows, operand in ((weight_mask, op.weight_sparsity, n, Operand.WEIGHT),
                                                  (input_mask, op.input_sparsity, m, Operand.INPUT))
        )  # fmt: skip
        machine = self.machine(op.dtype, op.w_dtype, self._resident(op))
        work = self.engine.run(weights, inputs, machine)
        return OpCycles(work.cycles, work.utilization(machine), self.counts(op.dtype, work), work.causes)

    def machine(
        self, dtype: DType | str, weights: DType | None = None, resident: Resident = Resident.NOTHING
    ) -> PeConfig:
        """What the engine's core needs to know of the part, for inputs of ``dtype`` and weights of ``weights``."""
        array = self.part.array
        return PeConfig(
            whole(self.part, "array.rows", array.rows), whole(self.part, "array.cols", array.cols),
            whole(self.part, f"array.macs.{dtype}", array.macs[dtype]),
            self.buffers, self.bytes_per_cycle, DType(dtype).bits, DType(dtype).bits,
            {name: value.si for name, value in (self.part.engine or {}).items()}, weights.bits if weights else 0,
            resident,
        )  # fmt: skip

    def counts(self, dtype: DType | str, work: Work) -> ActionCounts:
        """The priced actions of ``work``."""
        return ActionCounts(
            {mac_action(dtype): work.macs, SRAM: work.sram, READ: work.dram_read, WRITE: work.dram_write}
        )

    def _resident(self, op: Op) -> Resident:
        """What of ``op`` stays on the chip: its activations where they fit, of a product of these both operands."""
        room = self.part.buffers.activations
        if room is None or op.input_bytes + op.output_bytes > room.si:
            return Resident.NOTHING
        return Resident.ACTIVATIONS if op.definition.prunable or op.unit is Unit.VECTOR else Resident.ALL

    def _inline(self, op: Op) -> _Cost | None:
        """An elementwise op that the unit behind the array does; None where it has none or the op does not fit."""
        inline = self.part.vector.inline
        if inline is None or op.kind != OpKind.ELEMENTWISE or self._resident(op) is Resident.NOTHING:
            return None
        results = op.output_bytes * 8 / op.dtype.bits
        seconds = {
            "launch": 0.0,
            "compute": 0.0,
            "memory": 0.0,
            "vector": results / inline.si / self.part.array.clock.si,
        }
        return _Cost(seconds, {FLOP: op.vector_flops, SRAM: op.output_bytes})

    def _cost(self, op: Op, level: int) -> _Cost:
        if (inline := self._inline(op)) is not None:
            return inline
        part, clock = self.part, self.part.array.clock.si
        seconds = {"launch": part.vector.launch.si, "vector": op.vector_flops / part.vector.rate.si}
        counts: dict[Action, int] = {FLOP: op.vector_flops}
        if op.unit is Unit.VECTOR and self._resident(op) is not Resident.NOTHING:
            weights = op.weight_bytes / (self.bytes_per_cycle * clock)
            return _Cost({**seconds, "compute": 0.0, "memory": weights}, {
                **counts, READ: op.weight_bytes, SRAM: 2 * op.min_bytes})  # fmt: skip
        if op.unit is Unit.VECTOR:
            moved = {READ: op.weight_bytes + op.input_bytes, WRITE: op.output_bytes, SRAM: 2 * op.min_bytes}
            memory = op.min_bytes / (self.bytes_per_cycle * clock)
            return _Cost({**seconds, "compute": 0.0, "memory": memory}, {**counts, **moved})
        busy = stalled = 0
        for count, work in self._works(op, level):
            waiting = work.causes.get("dram", 0)
            busy, stalled = busy + count * (work.cycles - waiting), stalled + count * waiting
            for action, times in self.counts(op.dtype, work).items():
                counts[action] = counts.get(action, 0) + count * times
        return _Cost({**seconds, "compute": busy / clock, "memory": stalled / clock}, counts)

    def _works(self, op: Op, level: int) -> list[tuple[int, Work]]:
        """(count, work) of each of the op's products, or of the op where the engine runs it as a whole."""
        machine, d = self.machine(op.dtype, op.w_dtype, self._resident(op)), op.dims
        if op.kind == OpKind.MOE_FFN:
            layer = self.engine.experts(op.expert_counts, d["d_model"], d["d_ff"], bool(d["gated"]), machine)
            if layer is not None:
                return [(1, layer)]
        prunable = op.definition.prunable
        weights = op.weight_sparsity if self.skips(op) else DENSE
        inputs = op.input_sparsity if prunable else DENSE
        works = []
        for count, m, n, k, *_ in op.products:
            if level >= CYCLES:
                check_walk(op, max(n * k, m * k))
                masks = drawn(weights, n, k, Operand.WEIGHT), drawn(inputs, m, k, Operand.INPUT)
                works.append((count, self.engine.run(*masks, machine)))
                continue
            for times, shape in pieces((m, n, k), self.engine.volume):
                works.append((count * times, self.engine.expect(shape, weights, inputs, machine)))
        return works
