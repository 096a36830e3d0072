"""Programs: a schedule lowered to commands on lanes and links, in the order in which they are issued.

A layout holds what does not depend on how fast the machine is; a program adds the times. Machines
that differ in numbers alone share layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

from simsparse.core import Op, OpCost, OpKind
from simsparse.errors import MappingError, SimulationError
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import LINK_KINDS, TraceIndex
from simsparse.units import bytes_text, seconds_to_fs

Memory = Mapping[str, Mapping[str, int]]


class Command(NamedTuple):
    """One piece of work on a lane.

    ``op`` is the index of the trace's op that it runs, or that it moves data for (``moves``). A copy
    has ``src`` and ``dst`` and takes their links' latency 1 + ``steps`` times. ``after`` are indexes
    of earlier commands; those before it on the same lane may be left out.
    """

    name: str
    kind: str
    device: str
    lane: str
    op: int
    after: tuple[int, ...] = ()
    src: str = ""
    dst: str = ""
    bytes: int = 0
    moves: bool = False
    steps: int = 0


class OpRows(NamedTuple):
    """What a report says of ops before they have times: fields of OpResult, a column each."""

    name: Sequence[str] = ()
    kind: Sequence[str] = ()
    label: Sequence[str] = ()
    module: Sequence[str] = ()
    device: Sequence[str] = ()
    weight_sparsity: Sequence[str] = ()
    flops: Sequence[int] = ()
    bytes: Sequence[int] = ()


@dataclass(frozen=True)
class CommandGraph:
    """Commands in issue order, where each op runs, and memory by device.

    ``footprint[device][what]`` are bytes that are taken for the whole run.
    """

    workload: TraceIndex
    devices: tuple[str, ...]
    commands: tuple[Command, ...]
    footprint: Memory

    @cached_property
    def keys(self) -> tuple[tuple[str, int] | None, ...]:
        """Device and distinct op (a slot of the workload) of each command, None of a copy."""
        slot = self.workload.slot
        return tuple(None if command.src else (command.device, slot[command.op]) for command in self.commands)

    @cached_property
    def lanes(self) -> tuple[tuple[str, str], ...]:
        """Device and lane of each command."""
        return tuple((command.device, command.lane) for command in self.commands)

    @cached_property
    def span_columns(self) -> tuple[tuple[Any, ...], ...]:
        """What a timeline says of the commands besides their times: fields of Span, a column each."""
        fields = attrgetter("device", "lane", "name", "kind", "bytes")
        return tuple(zip(*map(fields, self.commands), strict=True))

    @cached_property
    def ran(self) -> dict[tuple[str, int], int]:
        """How often each distinct op runs on a device."""
        return Counter(key for key in self.keys if key)

    @cached_property
    def ran_on(self) -> dict[str, tuple[tuple[int, ...], tuple[Op, ...]]]:
        """The distinct ops that each device runs: slots of the workload, and an op of each."""
        owners = dict.fromkeys(device for device, _ in self.ran)
        slots = {device: tuple(slot for owner, slot in self.ran if owner == device) for device in owners}
        return {device: (own, tuple(self.workload.unique[slot] for slot in own)) for device, own in slots.items()}

    @cached_property
    def copied(self) -> dict[tuple[str, str], int]:
        """Bytes that go from one device to another."""
        total: dict[tuple[str, str], int] = {}
        for command in self.commands:
            if command.src:
                total[command.src, command.dst] = total.get((command.src, command.dst), 0) + command.bytes
        return total

    @cached_property
    def op_commands(self) -> tuple[int, ...]:
        """Indexes of the commands that run ops of the trace."""
        return tuple(i for i, command in enumerate(self.commands) if not command.moves)

    @cached_property
    def op_rows(self) -> OpRows:
        """The ops of ``op_commands`` for a report."""
        texts = [str(op.weight_sparsity) for op in self.workload.unique]
        rows = []
        for command in map(self.commands.__getitem__, self.op_commands):
            op, slot = self.workload.trace.ops[command.op], self.workload.slot[command.op]
            facts = self.workload.facts(command.op)
            rows.append((op.name, command.kind, op.label, op.module, command.device, texts[slot],
                         facts.flops, facts.min_bytes))  # fmt: skip
        return OpRows(*zip(*rows, strict=True))

    @cached_property
    def moves(self) -> dict[int, list[int]]:
        """Indexes of the copies that the policy makes, by the op whose data they move."""
        found: dict[int, list[int]] = {}
        for i, command in enumerate(self.commands):
            if command.moves:
                found.setdefault(command.op, []).append(i)
        return found

    @cached_property
    def has_collectives(self) -> bool:
        """Whether an op of the trace is a collective."""
        return any(op.kind is OpKind.COLLECTIVE for op in self.workload.unique)


@dataclass(frozen=True)
class CostedGraph:
    """A layout with times: the cost of each distinct op where it runs, on a machine."""

    layout: CommandGraph
    costs: Mapping[tuple[str, int], OpCost]
    machine: Machine

    @property
    def commands(self) -> tuple[Command, ...]:
        """Commands in issue order."""
        return self.layout.commands

    @classmethod
    def of(cls, layout: CommandGraph, machine: Machine, level: int) -> CostedGraph:
        """Price a layout on a machine. Raises MappingError for an op that its device does not support."""
        costs: dict[tuple[str, int], OpCost] = {}
        for device, (slots, ops) in layout.ran_on.items():
            found = machine.devices[device].costs(ops, level)
            costs.update({(device, slot): cost for slot, cost in zip(slots, found, strict=True)})
        return cls(layout, costs, machine)

    @cached_property
    def fs(self) -> Sequence[int]:
        """Femtoseconds of each command: the time of an op, or what a copy takes beyond one latency and its bytes."""
        times = {key: seconds_to_fs(cost.latency_s) for key, cost in self.costs.items()}
        return [
            times[key] if key else command.steps and command.steps * self.machine.latency_fs(command.src, command.dst)
            for key, command in zip(self.layout.keys, self.layout.commands, strict=True)
        ]

    def check_memory(self, machine: Machine) -> None:
        """Raises SimulationError when a device's memory can't hold what the program keeps there."""
        for device, parts in self.layout.footprint.items():
            capacity = machine.devices[device].model.memory_bytes
            need = sum(parts.values())
            if capacity is not None and need > capacity:
                shares = ", ".join(f"{what} {bytes_text(size)}" for what, size in parts.items() if size)
                raise SimulationError(
                    f"{device} is full: {bytes_text(need)} needed ({shares}), capacity {bytes_text(capacity)}"
                )


@dataclass
class GraphBuilder:
    """Lays out ops one by one: inserts the copies of activations between devices, keeps indexes."""

    workload: TraceIndex
    devices: tuple[str, ...]
    machine: Machine
    commands: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._done = [-1] * len(self.devices)
        self._moved: dict[tuple[int, str], int] = {}
        self._last: dict[tuple[str, str], int] = {}
        self._lane = {name: self.machine.compute_lane(name) for name in self.machine.devices}

    def last_on(self, device: str) -> tuple[int, ...]:
        """The command issued last on a device's compute lane, if there is one."""
        index = self._last.get((device, self._lane[device]))
        return () if index is None else (index,)

    def op(self, index: int, after: Iterable[int] = ()) -> int:
        """Issue op ``index`` of the trace; returns its command's index."""
        op = self.workload.trace.ops[index]
        if op.kind in LINK_KINDS:
            command = self._on_link(index, op)
        else:
            device = self.devices[index]
            lane = self._lane[device]
            needs = self._needs(index, device, lane, after)
            command = Command(op.name, op.kind.value, device, lane, index, needs)
        done = self._done[index] = self._issue(command)
        return done

    def load(
        self, index: int, name: str, bytes: int, *, on_compute_lane: bool, after: Iterable[int] = (), src: str
    ) -> int:
        """Issue a copy of weights of op ``index`` to the op's device; returns its command's index."""
        device = self.devices[index]
        owner, lane = (device, self._lane[device]) if on_compute_lane else self.machine.copy_lane(src, device)
        return self._issue(Command(name, "copy", owner, lane, index, tuple(after), src, device, bytes, moves=True))

    def build(self, footprint: Memory) -> CommandGraph:
        """The finished layout."""
        return CommandGraph(self.workload, self.devices, tuple(self.commands), footprint)

    def _issue(self, command: Command) -> int:
        self.commands.append(command)
        index = len(self.commands) - 1
        self._last[command.device, command.lane] = index
        return index

    def _needs(self, index: int, device: str, lane: str, after: Iterable[int]) -> tuple[int, ...]:
        needs = list(after)
        for dep in self.workload.deps[index]:
            if self.devices[dep] != device:
                needs.append(self._move(dep, device))
            elif self.commands[self._done[dep]].lane != lane:
                needs.append(self._done[dep])
        return tuple(needs)

    def _move(self, dep: int, device: str) -> int:
        """Bring what op ``dep`` wrote to ``device``, once."""
        if (dep, device) not in self._moved:
            src, op = self.devices[dep], self.workload.trace.ops[dep]
            owner, lane = self.machine.copy_lane(src, device)
            self._moved[dep, device] = self._issue(Command(
                f"{op.name} to {device}", "copy", owner, lane, dep, (self._done[dep],), src, device,
                self.workload.facts(dep).output_bytes, moves=True,
            ))  # fmt: skip
        return self._moved[dep, device]

    def _on_link(self, index: int, op: Op) -> Command:
        src, dst, bytes, steps = _link_work(op, self.machine)
        device, lane = self.machine.copy_lane(src, dst)
        needs = tuple(self._done[dep] for dep in self.workload.deps[index])
        return Command(op.name, op.kind.value, device, lane, index, needs, src, dst, bytes, steps=steps)


def _link_work(op: Op, machine: Machine) -> tuple[str, str, int, int]:
    """Ends, bytes and further latencies of an op that runs on a link. Raises MappingError."""
    if op.kind is OpKind.TRANSFER:
        for end in (op.src, op.dst):
            if end not in machine.system.devices:
                raise MappingError(f"{end!r} is no device of {machine.system.name}", key=op.name)
        return str(op.src), str(op.dst), op.dims["bytes"], 0
    ranks = op.dims["ranks"]
    if not 2 <= ranks <= len(machine.processors):
        raise MappingError(
            f"{op.label} over {ranks} ranks; {machine.system.name} has {len(machine.processors)} processors",
            key=op.name,
        )
    bytes, steps = collective_work(op.label, op.dims["bytes"], ranks)
    return machine.processors[0], machine.processors[1], bytes, steps - 1


def collective_work(label: str, bytes: int, ranks: int) -> tuple[int, int]:
    """Bytes that each rank sends and steps of a collective of ``bytes`` input a rank.

    Ring algorithms: an all_reduce is a reduce_scatter and an all_gather of the shares. Source:
    Thakur, Rabenseifner and Gropp, Optimization of Collective Communication Operations in MPICH
    (2005). Left out: other algorithms for small inputs, and the arithmetic of reductions.
    """
    others = ranks - 1
    share = -(-bytes * others // ranks)
    return {
        "all_reduce": (2 * share, 2 * others), "all_gather": (bytes * others, others),
        "reduce_scatter": (share, others), "all_to_all": (share, others), "send_recv": (bytes, 1),
    }[label]  # fmt: skip
