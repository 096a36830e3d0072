# SPDX-License-Identifier: Apache-2.0
"""Each op where it ends soonest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simsparse.errors import SpecError
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.policies.placement.base import PLACEMENTS, Placer
from simsparse.policies.placement.search import search


@PLACEMENTS.register("greedy")
@dataclass(frozen=True)
class Greedy(Placer):
    """Each op where it ends soonest, in program order, with several placements of the ops before it in view.

    The candidates are the processors, and with ``hosts`` the hosts too.
    """

    name = "greedy"
    hosts: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.hosts, bool):
            raise SpecError(f"{self.hosts!r} is not true or false", key="hosts")

    def devices(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> tuple[str, ...]:
        candidates = (*machine.processors, *machine.hosts) if self.hosts else machine.processors
        return search(index, machine, streamed, [candidates] * len(index.deps))
