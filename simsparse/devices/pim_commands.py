# SPDX-License-Identifier: Apache-2.0
"""Level 2 of PIM stacks: the commands of a channel on the DRAM core.

Channels work in lock step, so that the one with the most work is simulated. Programs run without refresh; refreshes are
added for the whole of an operator, as at level 0. Of a product or an attention with more than ``MOST`` commands a part
runs, with fewer outputs, tokens or heads, and is scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from simsparse.config.parts.pim import PimPart
from simsparse.core import Op, OpKind
from simsparse.dataflow.base import Wholes
from simsparse.devices.base import Floats
from simsparse.devices.gemm_list import GemmList
from simsparse.devices.pim_aim import AimProgram
from simsparse.devices.pim_attention import AttentionProgram, AttentionShape
from simsparse.devices.pim_layout import SUMS_MOVED, UnitLayout
from simsparse.devices.pim_pairs import PairProgram
from simsparse.devices.pim_products import dense_columns, product_steps
from simsparse.dram.layout import Ints
from simsparse.dram.parts import pim_device
from simsparse.dram.program import run_steps

MOST = 1 << 16
"""Column commands of one program that are sent one by one."""


_Sent = tuple[float, float, float]
"""Ticks, rows opened and column commands."""


@dataclass(frozen=True)
class CommandTotals:
    """Of each op: ``cycles`` of one channel without refresh, rows ``opened`` and columns ``read`` in banks of all."""

    cycles: Floats
    opened: Floats
    read: Floats


class PimChannel:
    """Runs of one channel of a part, each remembered."""

    def __init__(self, part: PimPart, channels: int) -> None:
        self._part, self._channels = part, channels
        self._device = pim_device(part)
        self._unit = part.dram.unit if part.dram is not None else ""
        self._order = part.dram.program if part.dram is not None else ""
        self._sums = part.dram.sums.whole if part.dram is not None and part.dram.sums is not None else 0
        self._runs: dict[tuple[float, ...], _Sent] = {}

    def totals(
        self, ops: Sequence[Op], gemms: GemmList, sharing: Wholes, waves: Wholes, reads: Wholes
    ) -> CommandTotals:
        """Of ``ops``, whose products ``gemms`` share ``sharing`` channels each and go in ``waves``; ``reads`` of a
        column serve all tokens."""
        found = np.zeros((3, len(ops)))
        banks = self._part.commands.banks.whole
        for i, owner in enumerate(gemms.owner):
            if self._by_head(ops[owner]):
                continue
            ran = self._product(gemms, i, sharing[i], int(reads[i]))
            used = banks * min(float(sharing[i]), float(gemms.n[i]))
            found[:, owner] += [waves[i] * ran[0], gemms.count[i] * used * ran[1], gemms.count[i] * used * ran[2]]
        for owner, op in enumerate(ops):
            if self._by_head(op):
                ran = self._attention(op, int(reads[gemms.owner == owner].max()))
                found[:, owner] = [ran[0], banks * ran[1], banks * ran[2]]
        return CommandTotals(*found)

    def _by_head(self, op: Op) -> bool:
        """Whether ``op`` goes by AttAcc's program; several queries of a sequence are products of their own."""
        return self._order == "attacc" and op.kind == OpKind.ATTENTION and op.dims["q_len"] == 1

    def _product(self, gemms: GemmList, i: int, sharing: float, reads: int) -> _Sent:
        outputs, inputs, tokens = ceil(gemms.n[i] / sharing), int(gemms.k[i]), int(gemms.m[i])
        element = float(gemms.weight_bytes[i] / (gemms.n[i] * gemms.k[i]))
        if self._order == "pairs":
            return self._paired(outputs, inputs, max(1, int(self._device.access_bytes / element)), tokens)
        if self._order == "aim":
            return self._buffered(outputs, inputs, max(1, int(self._device.access_bytes / element)), tokens)
        layout = UnitLayout(self._device, self._unit, element)
        of_output = layout.columns(inputs) / layout.places
        least = layout.places * SUMS_MOVED
        part = _part(outputs, of_output * reads, least)
        read = _part(reads, part * of_output, 1)
        key = (0, part, inputs, element, tokens * read // reads, read)
        if key not in self._runs:
            columns = dense_columns(layout, part, inputs)
            steps = product_steps(
                self._device, self._unit, columns, inputs, element, max(1, tokens * read // reads), read
            )
            self._runs[key] = self._run(steps)
        ran = self._runs[key]
        scale = outputs / part * reads / read
        return ran[0] * scale, ran[1] * outputs / part, ran[2] * scale

    def _paired(self, outputs: int, inputs: int, lanes: int, tokens: int) -> _Sent:
        """A product of HBM-PIM, one token after another; of many outputs a part runs."""
        part = _part(outputs, inputs / lanes / (self._part.commands.banks.whole * 2), 64)
        key = (2, part, inputs, lanes)
        if key not in self._runs:
            self._runs[key] = self._run(PairProgram(self._device).product(part, inputs, lanes))
        scale = tokens * outputs / part
        return self._runs[key][0] * scale, self._runs[key][1] * scale, self._runs[key][2] * scale

    def _buffered(self, outputs: int, inputs: int, lanes: int, tokens: int) -> _Sent:
        """A product of GDDR6-AiM, one token after another; of many outputs a part runs."""
        of_bank = ceil(outputs / self._device.banks)
        part = _part(of_bank, inputs / lanes, self._sums)
        key = (3, part, inputs, lanes)
        if key not in self._runs:
            program = AimProgram(self._device, self._sums, lanes)
            program.product(part, inputs)
            self._runs[key] = self._run(program.steps())
        scale = tokens * of_bank / part
        return self._runs[key][0] * scale, self._runs[key][1] * scale, self._runs[key][2] * scale

    def _attention(self, op: Op, reads: int) -> _Sent:
        d, element = op.dims, max(1, op.dtype.bits // 8)
        heads, layout = d["batch"] * d["kv_heads"], UnitLayout(self._device, self._unit, element)
        of_head = 2 * ceil(d["kv_len"] / layout.places) * layout.columns(d["head_dim"]) * reads
        waves = ceil(heads / self._channels)
        part = heads if waves * of_head <= MOST else min(heads, 2 * self._channels)
        key = (1, part, d["kv_len"], d["head_dim"], element, reads)
        if key not in self._runs:
            shape = AttentionShape(part, d["kv_len"], d["head_dim"], element, self._channels, reads)
            program = AttentionProgram(self._device, self._unit, shape)
            ticks, opened, read = self._run(program.steps())
            of_all = program.counts[self._unit]
            self._runs[key] = ticks, opened * of_all / read, of_all
        ran, scale = self._runs[key], waves / ceil(part / self._channels)
        return ran[0] * scale, ran[1] * scale, ran[2] * scale

    def _run(self, steps: Ints) -> _Sent:
        """Ticks, rows opened and column commands."""
        ran = run_steps(self._device, steps, refresh=False)
        opens = self._device.lockstep[self._unit].opens
        return ran.ticks, ran.commands.get(opens, 0), ran.commands.get(self._unit, 0)


def _part(whole: int, each: float, least: int) -> int:
    """How many of ``whole`` items of ``each`` commands run, at least ``least``."""
    return whole if whole * each <= MOST else min(whole, max(least, int(MOST / each)))
