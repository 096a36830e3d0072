# SPDX-License-Identifier: Apache-2.0
"""A mixture's experts on two devices: the parts of an op, and what each way to share them takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from simsparse.core import Op, Routing
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.lowering.weights import Weight
from simsparse.policies.site import AbsentExperts, Site


class SharedExperts:
    """What the host computes of ops whose other experts run on their device."""

    def __init__(self, index: TraceIndex, machine: Machine, site: Site, home: str) -> None:
        self._index, self._machine, self._site, self._home = index, machine, site, home

    def on_host(self, i: int, absent: Sequence[Weight], device: str) -> Sequence[Weight]:
        """Those of the experts ``absent`` from ``device`` that the host computes."""
        counts = _routing(self._index.ops[i]).counts
        experts = sorted(absent, key=lambda weight: -counts[_number(weight)])
        return self._site.on_host(AbsentExperts(
            experts, [counts[_number(weight)] for weight in experts],
            lambda some: sum(self._machine.copy_seconds(self._home, device, weight.bytes) for weight in some),
            lambda some: self._host_seconds(i, some, device),
            lambda some: self._seconds(self.part(i, some, inside=False), device),
        ))  # fmt: skip

    def part(self, i: int, experts: Collection[Weight], *, inside: bool) -> Op | None:
        """Op ``i`` with only ``experts``, or with all but these; None where none is left."""
        op, chosen = self._index.ops[i], {_number(weight) for weight in experts}
        routing = _routing(op)
        counts = tuple(count if (expert in chosen) == inside else 0 for expert, count in enumerate(routing.counts))
        return op.with_(routing=Routing(counts, (), routing.origin)) if any(counts) else None

    def part_on_host(self, i: int, experts: Collection[Weight]) -> Op:
        """Op ``i`` with only ``experts``, which are not none."""
        part = self.part(i, experts, inside=True)
        assert part is not None
        return part

    def _host_seconds(self, i: int, experts: Sequence[Weight], device: str) -> float:
        facts, copy = self._index.facts(i), self._machine.copy_seconds
        moved = copy(device, self._home, facts.input_bytes) + copy(self._home, device, facts.output_bytes)
        return moved + self._seconds(self.part(i, experts, inside=True), self._home)

    def _seconds(self, op: Op | None, device: str) -> float:
        return self._machine.devices[device].costs([op], 0)[0].latency_s if op is not None else 0.0


def _routing(op: Op) -> Routing:
    assert op.routing is not None
    return op.routing


def _number(weight: Weight) -> int:
    assert weight.expert is not None
    return weight.expert
