# SPDX-License-Identifier: Apache-2.0
"""Processing in memory: multipliers at the banks or on the logic die of DRAM stacks, by closed form or by commands.

A matrix lies in whole rows of all banks of a channel. All-bank commands open a row, read its
columns one ``interval`` apart into the multipliers, and close it; refresh takes its share. A
column is read again for every so many tokens as the multipliers can serve in one interval. Weights
of one product spread over all channels; the heads of an attention and the matrices of a batched
product go to a channel each, several channels sharing one when there are more channels than heads.

Left out: command bus contention, the reduction of partial sums between channels, softmax that does
not overlap (it is taken to hide behind other heads), host accesses to the same banks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.pim import PimPart
from simsparse.core import Action, Op, OpCycles, OpKind, Unit
from simsparse.dataflow.base import Wholes
from simsparse.devices.base import DEVICES, CopyRates, CostArrays, Device, Floats, Mask, whole_counts
from simsparse.devices.gemm_list import GemmList, applied_sparsity, gemm_list_of
from simsparse.devices.pim_commands import CommandTotals, PimChannel
from simsparse.devices.pim_cycles import ACTIVATE, INTERNAL, MAC, stream_cycles, with_refresh
from simsparse.devices.pim_masked import MaskedProduct
from simsparse.devices.roofline import dominant, require_supported
from simsparse.errors import MappingError

EXTERNAL: Action = ("pins", "external_byte")
FLOP: Action = ("vector", "flop")
COMMANDS = 2
"""Level at which commands are sent one by one."""
ATTACC_RUNS = "AttAcc's simulator, 18 decode attentions"


@dataclass(frozen=True)
class _Layout:
    """Where products lie: ``waves`` in turn, each in ``columns`` of every bank of its ``channels``,
    which are read ``repeats`` times."""

    waves: Wholes
    columns: Wholes
    channels: Wholes
    repeats: Wholes


@DEVICES.register("pim")
class Pim(Device):
    """A set of PIM stacks, all running one operator; at level 2 by commands where the part describes them."""

    kind: ClassVar[str] = "pim"
    op_kinds = frozenset(
        {"linear", "matmul", "attention", "moe_ffn", "elementwise", "other", "norm", "softmax", "reduce"}
    )
    refusals: ClassVar[Mapping[str, str]] = {
        "conv2d": "its units multiply rows as they lie in the banks; a convolution needs its input lowered first",
        "block_sparse_attention": "all banks of a channel open the same row; blocks that are kept here and there need "
        "commands of their own",
        "selected_attention": "all banks of a channel open the same row; tokens that are selected here and there need "
        "commands of their own",
        "key_index": "its units multiply and add; they do not keep the best",
        "gather": "its units compute on rows in place; copying rows by index is the host's work",
        "topk": "its units multiply and add; they do not sort",
        "scan": "its units multiply and add rows in place, without a state from step to step",
    }
    part: PimPart

    def unsuited(self, op: Op) -> str | None:
        if op.unit is Unit.MATRIX and op.dtype not in self.part.compute.macs:
            return f"its units have no {op.dtype} multipliers; they have {', '.join(self.part.compute.macs)}"
        if self.decodes(op):
            return f"its units multiply weights as they lie in the banks; they do not read {op.weight_format} weights"
        return None

    def skips(self, op: Op) -> bool:
        return not applied_sparsity(op, frozenset(self.part.compute.patterns)).is_dense

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        require_supported(self, ops)
        gemms = gemm_list_of(ops, frozenset(self.part.compute.patterns))
        layout = self._layout(ops, gemms)
        external = self._external_bytes(ops, gemms)
        vector = np.array([op.vector_flops for op in ops], np.float64)
        memory = self.part.memory
        sent = self._sent(ops, gemms, layout) if level >= COMMANDS and self.part.dram is not None else None
        if sent is None:
            compute = self._compute_seconds(ops, gemms, layout)
            once = replace(layout, repeats=np.ones_like(layout.repeats))
            internal = self._command_seconds(gemms, once, len(ops))
        else:
            compute = self._peak_seconds(ops, gemms, layout)
            internal = with_refresh(self.part.commands, sent.cycles) / self.part.commands.clock.si
        contributors = {
            "launch": np.full(len(ops), self.part.compute.launch.si),
            "compute": compute,
            "internal": internal,
            "external": external / (memory.stacks.si * memory.bandwidth.si * memory.efficiency.si),
            "vector": vector / (memory.stacks.si * self.part.compute.vector.si),
        }
        busy = np.stack([seconds for name, seconds in contributors.items() if name != "launch"])
        latency = contributors["launch"] + busy.max(axis=0)
        counts = {
            **self._bank_counts(gemms, layout, len(ops), sent),
            EXTERNAL: whole_counts(EXTERNAL, np.ceil(external)),
            FLOP: whole_counts(FLOP, vector),
        }
        return CostArrays(latency, contributors, dominant(contributors), counts, [self._reference(op) for op in ops],
                          0 if sent is None else COMMANDS)  # fmt: skip

    def cycles(
        self, op: Op, weight_mask: Mask | None = None, input_mask: Mask | None = None, seed: int = 0
    ) -> OpCycles:
        """Level 2 of a product whose weights have a mask, refreshes included; see Device.cycles."""
        if reason := self.supports(op):
            raise MappingError(reason, key=op.name)
        return MaskedProduct(self.part, self._channels).cycles(op, weight_mask, input_mask, seed)

    @property
    def prices(self) -> Mapping[Action, float]:
        energy = self.part.energy
        return {ACTIVATE: energy.activate.si, INTERNAL: energy.internal_byte.si, EXTERNAL: energy.external_byte.si,
                MAC: energy.mac.si, FLOP: energy.flop.si}  # fmt: skip

    @property
    def static_watts(self) -> float:
        return self.part.energy.static.si

    @property
    def copy_rates(self) -> CopyRates:
        rate = self.part.memory.stacks.si * self.part.memory.bandwidth.si * self.part.memory.efficiency.si
        return CopyRates(rate, rate)

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.memory.stacks.si * self.part.memory.capacity.si)

    @cached_property
    def _channels(self) -> int:
        return round(self.part.memory.stacks.si * self.part.commands.channels.si)

    def _layout(self, ops: Sequence[Op], gemms: GemmList) -> _Layout:
        beside = np.array([not ops[i].definition.prunable for i in gemms.owner], np.bool_)
        sharing = np.where(beside, np.maximum(1, self._channels // gemms.count), self._channels)
        waves = np.where(beside, -(-gemms.count // self._channels), gemms.count)
        command_bytes = self.part.commands.banks.si * self.part.commands.column.si
        columns = np.ceil(gemms.weight_bytes / sharing / command_bytes)
        return _Layout(waves, columns, sharing, -(-gemms.m // self._tokens_per_read(ops, gemms)))

    def _tokens_per_read(self, ops: Sequence[Op], gemms: GemmList) -> Wholes:
        """Tokens that the multipliers of a channel serve with one column command."""
        commands = self.part.commands
        bits = np.array([ops[i].dtype.bits for i in gemms.owner], np.int64)
        elements = commands.banks.si * commands.column.si * 8 / bits
        served = self._macs_per_second(ops, gemms) * commands.interval.si / commands.clock.si / elements
        return np.maximum(1.0, np.round(served))

    def _macs_per_second(self, ops: Sequence[Op], gemms: GemmList) -> Floats:
        """Peak rate of the units of one channel for each job."""
        compute = self.part.compute
        lanes = np.array([compute.macs[ops[i].dtype].si for i in gemms.owner], np.float64)
        rate: Floats = compute.units.si / self.part.commands.channels.si * lanes * compute.clock.si
        return rate

    def _command_seconds(self, gemms: GemmList, layout: _Layout, ops: int) -> Floats:
        cycles = np.zeros(ops)
        np.add.at(cycles, gemms.owner, layout.waves * stream_cycles(self.part.commands, layout.columns, layout.repeats))
        return with_refresh(self.part.commands, cycles) / self.part.commands.clock.si

    def _compute_seconds(self, ops: Sequence[Op], gemms: GemmList, layout: _Layout) -> Floats:
        """Multipliers at peak, or the commands when they are repeated to feed them."""
        peak = self._peak_seconds(ops, gemms, layout)
        repeated = np.zeros(len(ops), np.bool_)
        np.logical_or.at(repeated, gemms.owner, layout.repeats > 1)
        return np.where(repeated, np.maximum(peak, self._command_seconds(gemms, layout, len(ops))), peak)

    def _peak_seconds(self, ops: Sequence[Op], gemms: GemmList, layout: _Layout) -> Floats:
        """Multipliers at peak."""
        peak = np.zeros(len(ops))
        np.add.at(peak, gemms.owner, layout.waves * gemms.macs / layout.channels / self._macs_per_second(ops, gemms))
        return peak

    @cached_property
    def _channel(self) -> PimChannel:
        return PimChannel(self.part, self._channels)

    def _sent(self, ops: Sequence[Op], gemms: GemmList, layout: _Layout) -> CommandTotals:
        """Level 2: what the commands of a channel take."""
        return self._channel.totals(ops, gemms, layout.channels, layout.waves, layout.repeats)

    def _external_bytes(self, ops: Sequence[Op], gemms: GemmList) -> Floats:
        """Bytes over the stacks' own data path: vectors in and out, all of an element-wise op."""
        moved = gemms.per_op(gemms.input_bytes + gemms.output_bytes, len(ops))
        return moved + np.array([op.min_bytes if op.unit is Unit.VECTOR else 0 for op in ops], np.float64)

    def _bank_counts(
        self, gemms: GemmList, layout: _Layout, ops: int, sent: CommandTotals | None
    ) -> dict[Action, NDArray[np.int64]]:
        commands = self.part.commands
        if sent is not None:
            counted = {ACTIVATE: sent.opened, INTERNAL: sent.read * commands.column.si,
                       MAC: gemms.per_op(gemms.macs, ops)}  # fmt: skip
            return {action: whole_counts(action, np.ceil(each)) for action, each in counted.items()}
        banks = layout.channels * round(commands.banks.si)
        rows = -(-layout.columns // round(commands.row.si / commands.column.si))
        read = layout.columns * layout.repeats
        per_product = {ACTIVATE: rows * banks, INTERNAL: read * banks * commands.column.si, MAC: gemms.macs}
        return {action: whole_counts(action, np.ceil(gemms.per_op(each, ops))) for action, each in per_product.items()}

    def _reference(self, op: Op) -> str:
        """Decode attention without grouped queries at bank level is what has been compared."""
        d = op.dims
        compared = op.kind == OpKind.ATTENTION and d["q_len"] == 1 and d["heads"] == d["kv_heads"]
        return ATTACC_RUNS if compared and self.part.level == "bank" else ""
