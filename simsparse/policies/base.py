"""What every policy is: placements of ops, their command graph, and what it does during the run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import ClassVar

from simsparse.config.hardware import System
from simsparse.core import Placement, Placements, Trace, Unit
from simsparse.errors import MappingError, SimulationError
from simsparse.events.simulator import Process
from simsparse.lowering.command_graph import CommandGraph, CostedGraph
from simsparse.lowering.live_run import LiveRun
from simsparse.lowering.machine import Machine, machine_of
from simsparse.lowering.trace_index import TraceIndex, trace_index_of
from simsparse.registry import Registry
from simsparse.units import bytes_text

MAX_GRAPHS = 64


class Policy(ABC):
    """Decides what goes where and when.

    A subclass names itself in ``name`` and registers with ``@POLICIES.register(name)``; its
    constructor takes the policy's options by keyword. ``place`` decides ahead where each op runs and
    where its weights rest; ``lower`` turns that into commands. A policy that decides at run time
    overrides ``control``; level 0 refuses it. ``validated`` names the reference that the policy's
    timing was checked against, None when nothing checks it.
    """

    name: ClassVar[str]
    validated: ClassVar[str | None] = None

    @abstractmethod
    def place(self, trace: Trace, system: System) -> Placements:
        """A placement for every op. Raises MappingError or SimulationError when there is none."""

    @abstractmethod
    def graph(self, placements: Placements, machine: Machine) -> CommandGraph:
        """The commands of placed ops; they may depend on the machine's topology, not on its numbers."""

    @property
    def options(self) -> Hashable:
        """What the constructor was given, as far as command graphs depend on it."""
        return None

    def lower(self, placements: Placements, system: System, level: int) -> CostedGraph:
        """The commands of placed ops, with op costs of fidelity ``level``. Command graphs are remembered."""
        machine, index = machine_of(system), trace_index_of(placements.trace)
        devices = devices_of(placements)
        key = (type(self), self.options, devices, machine.topology)
        if key not in index.graphs:
            if len(index.graphs) >= MAX_GRAPHS:
                index.graphs.clear()
            index.graphs[key] = self.graph(placements, machine)
        return CostedGraph.of(index.graphs[key], machine, level)

    def control(self, run: LiveRun) -> Process | None:
        """A process that issues further commands during the run; None when the command graph is all."""
        del run
        return None

    @property
    def needs_events(self) -> bool:
        """Whether the policy decides during the run, which takes the event engine."""
        return type(self).control is not Policy.control


def devices_of(placements: Placements) -> tuple[str, ...]:
    """The device of each op, in program order."""
    known = placements.placements
    return tuple([known[op.name].device for op in placements.trace.ops])


POLICIES: Registry[type[Policy]] = Registry(
    "policy",
    tuple(f"simsparse.policies.{module}" for module in ("resident", "on_demand", "prefetch_all", "pregated")),
)


def place(trace: Trace, system: System, streamed: Sequence[bool], home: str | None = None) -> dict[str, Placement]:
    """Each op where it ends soonest, greedily in program order.

    The candidates are the system's processors that support the op and still have room for what it
    keeps; the cost is the op's latency plus the copies of its inputs from where they were made; the
    first of equals wins. Weights of ``streamed`` ops rest at ``home``. Left out: what a choice
    means for later ops, and overlap between devices. Raises MappingError when no device supports an
    op, SimulationError when none that does has room.
    """
    machine, workload = machine_of(system), trace_index_of(trace)
    if len(machine.processors) == 1:
        return _place_on_one(workload, machine, streamed, home)
    free = {name: machine.devices[name].model.memory_bytes for name in machine.processors}
    chosen: list[str] = []
    for i, op in enumerate(trace.ops):
        if op.unit is Unit.LINK:
            chosen.append(op.dst or machine.processors[0])
            continue
        kept = workload.kept[i]
        need = kept.kv + (0 if streamed[i] else kept.weights)
        able = _able(workload, i, machine)
        room = [name for name in able if (left := free[name]) is None or left >= need]
        if not room:
            raise SimulationError(f"{', '.join(able)} full: {op.name} needs {bytes_text(need)}", key=op.name)
        best = min(room, key=lambda name: _arrival_s(workload, i, name, chosen, machine))
        left = free[best]
        free[best] = None if left is None else left - need
        chosen.append(best)
    return _placements(workload, chosen, streamed, home)


def _place_on_one(
    workload: TraceIndex, machine: Machine, streamed: Sequence[bool], home: str | None
) -> dict[str, Placement]:
    only = machine.processors[0]
    for op in workload.unique:
        if op.unit is not Unit.LINK and (reason := machine.devices[only].supports(op)):
            raise MappingError(f"no device of {machine.system.name} runs it: {only}: {reason}", key=op.name)
    here, elsewhere = Placement(only, only), Placement(only, home or only)
    return {op.name: elsewhere if away else here for op, away in zip(workload.trace.ops, streamed, strict=True)}


def _placements(
    workload: TraceIndex, devices: Sequence[str], streamed: Sequence[bool], home: str | None
) -> dict[str, Placement]:
    known: dict[tuple[str, bool], Placement] = {}
    result = {}
    for op, device, away in zip(workload.trace.ops, devices, streamed, strict=True):
        if (device, away) not in known:
            known[device, away] = Placement(device, home if away and home else device)
        result[op.name] = known[device, away]
    return result


def _able(workload: TraceIndex, index: int, machine: Machine) -> list[str]:
    op = workload.unique[workload.slot[index]]
    reasons = {name: machine.devices[name].supports(op) for name in machine.processors}
    able = [name for name, reason in reasons.items() if reason is None]
    if not able:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise MappingError(f"no device of {machine.system.name} runs it: {why}", key=workload.trace.ops[index].name)
    return able


def _arrival_s(workload: TraceIndex, index: int, device: str, chosen: Sequence[str], machine: Machine) -> float:
    """Seconds of op ``index`` on ``device`` with the copies of its inputs."""
    op = workload.unique[workload.slot[index]]
    seconds = machine.devices[device].costs([op], 0)[0].latency_s
    for dep in workload.deps[index]:
        if chosen[dep] != device:
            seconds += machine.copy_seconds(chosen[dep], device, workload.facts(dep).output_bytes)
    return seconds


def resident_footprint(
    workload: TraceIndex, devices: Sequence[str], streamed: Sequence[bool]
) -> dict[str, dict[str, int]]:
    """Bytes of weights, KV cache and activations by device.

    Activations are the largest inputs and outputs of any one op.
    """
    result: dict[str, dict[str, int]] = {}
    for op, device, kept, away in zip(workload.trace.ops, devices, workload.kept, streamed, strict=True):
        if op.unit is Unit.LINK:
            continue
        own = result.setdefault(device, {"weights": 0, "KV cache": 0, "activations": 0})
        own["weights"] += 0 if away else kept.weights
        own["KV cache"] += kept.kv
        own["activations"] = max(own["activations"], kept.activations)
    return result
