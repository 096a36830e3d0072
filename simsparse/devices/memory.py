# SPDX-License-Identifier: Apache-2.0
"""DRAM on its own: what moving bytes in or out takes and costs.

Rates are shares of peak as a command-level simulator gives them; the queueing of one access is
left out, so small transfers come out too fast. Left out too: refresh apart from the shares,
turnaround between reads and writes, power-down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from simsparse.config.parts.memory import MemoryPart
from simsparse.core import Action, ActionCounts, Op
from simsparse.devices.base import DEVICES, CopyRates, CostArrays, Device
from simsparse.devices.roofline import require_supported

ACTIVATE: Action = ("dram", "activate")
READ: Action = ("dram", "read_byte")
WRITE: Action = ("dram", "write_byte")


@DEVICES.register("memory")
class MemoryDevice(Device):
    """A memory that computes nothing: copies read and write it in order, whole bursts at a time.

    Alone it runs a transfer as a read.
    """

    kind: ClassVar[str] = "memory"
    op_kinds = frozenset({"transfer"})
    lanes: ClassVar[tuple[str, ...]] = ("h2d", "d2h")
    part: MemoryPart

    def refusal(self, op: Op) -> str:
        return f"memory computes nothing; {op.kind} needs a processor"

    def seconds(self, bytes: int, random: bool = False) -> float:
        """Seconds to move ``bytes``, in order or as ``random`` accesses of one burst each."""
        share = self.part.random if random else self.part.sequential
        return self._bursts(bytes) * self.part.burst.si / (self.part.bandwidth.si * share.si)

    def counts(self, bytes: int, random: bool = False) -> ActionCounts:
        """Activations and bytes read: one row after the other in order, one row per access at random."""
        bursts = self._bursts(bytes)
        rows = bursts if random else -(-bytes // round(self.part.row.si))
        return ActionCounts({ACTIVATE: rows, READ: bursts * round(self.part.burst.si)})

    def copy_counts(self, direction: str, bytes: int) -> Mapping[Action, int]:
        rows = -(-bytes // round(self.part.row.si))
        return {ACTIVATE: rows, READ if direction == "read" else WRITE: bytes}

    @property
    def copy_rates(self) -> CopyRates:
        rate = self.part.bandwidth.si * self.part.sequential.si
        return CopyRates(rate, rate, unit_bytes=round(self.part.burst.si))

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        del level
        require_supported(self, ops)
        counts = [self.counts(op.dims["bytes"]) for op in ops]
        latency = np.array([self.seconds(op.dims["bytes"]) for op in ops], np.float64)
        actions = {action: np.array([count.of(*action) for count in counts], np.int64) for action in (ACTIVATE, READ)}
        return CostArrays(latency, {"memory": latency}, np.zeros(len(ops), np.intp), actions, [""] * len(ops))

    @property
    def prices(self) -> Mapping[Action, float]:
        energy = self.part.energy
        return {ACTIVATE: energy.activate.si, READ: energy.read_byte.si, WRITE: energy.write_byte.si}

    @property
    def static_watts(self) -> float:
        return self.part.energy.static.si

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.capacity.si)

    def _bursts(self, bytes: int) -> int:
        return -(-bytes // round(self.part.burst.si))
