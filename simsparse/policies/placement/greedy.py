"""Each op where it ends soonest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simsparse.core import Unit
from simsparse.errors import MappingError, SimulationError
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.policies.placement.base import PLACEMENTS, Placer
from simsparse.units import bytes_text


@PLACEMENTS.register("greedy")
@dataclass(frozen=True)
class Greedy(Placer):
    """Each op where it ends soonest, greedily in program order.

    The candidates are the system's processors that support the op and still have room for what it
    keeps; the cost is the op's latency plus the copies of its inputs from where they were made; the
    first of equals wins. Left out: what a choice means for later ops, and overlap between devices.
    """

    name = "greedy"

    def devices(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> tuple[str, ...]:
        if len(machine.processors) == 1:
            return _on_one(index, machine)
        free = {name: machine.devices[name].model.memory_bytes for name in machine.processors}
        chosen: list[str] = []
        for i, op in enumerate(index.trace.ops):
            if op.unit is Unit.LINK:
                chosen.append(op.dst or machine.processors[0])
                continue
            kept = index.kept[i]
            need = kept.kv + (0 if streamed[i] else kept.weights)
            able = _able(index, i, machine)
            room = [name for name in able if (left := free[name]) is None or left >= need]
            if not room:
                raise SimulationError(f"{', '.join(able)} full: {op.name} needs {bytes_text(need)}", key=op.name)
            best = min(room, key=lambda name: _arrival_s(index, i, name, chosen, machine))
            left = free[best]
            free[best] = None if left is None else left - need
            chosen.append(best)
        return tuple(chosen)


def _on_one(index: TraceIndex, machine: Machine) -> tuple[str, ...]:
    only = machine.processors[0]
    for op in index.unique:
        if op.unit is not Unit.LINK and (reason := machine.devices[only].model.supports(op)):
            raise MappingError(f"no device of {machine.system.name} runs it: {only}: {reason}", key=op.name)
    return (only,) * len(index.trace.ops)


def _able(index: TraceIndex, i: int, machine: Machine) -> list[str]:
    op = index.unique[index.slot[i]]
    reasons = {name: machine.devices[name].supports(op) for name in machine.processors}
    able = [name for name, reason in reasons.items() if reason is None]
    if not able:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise MappingError(f"no device of {machine.system.name} runs it: {why}", key=index.trace.ops[i].name)
    return able


def _arrival_s(index: TraceIndex, i: int, device: str, chosen: Sequence[str], machine: Machine) -> float:
    """Seconds of op ``i`` on ``device`` with the copies of its inputs."""
    op = index.unique[index.slot[i]]
    seconds = machine.devices[device].costs([op], 0)[0].latency_s
    for dep in index.deps[i]:
        if chosen[dep] != device:
            seconds += machine.copy_seconds(chosen[dep], device, index.facts(dep).output_bytes)
    return seconds
