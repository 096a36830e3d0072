# SPDX-License-Identifier: Apache-2.0
"""Command graphs: placements lowered to commands on lanes and links, in the order in which they are issued.

A command graph holds what does not depend on how fast the machine is; a costed graph adds the times.
Machines that differ in numbers alone share command graphs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import chain, pairwise
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simsparse.core import CacheUse, Op, OpCost, OpKind
from simsparse.errors import SimulationError
from simsparse.events import CopyPace
from simsparse.events.streaming import Streaming
from simsparse.lowering.machine import Ends, Machine
from simsparse.lowering.trace_index import OpFacts, TraceIndex, is_special
from simsparse.units import bytes_text, seconds_to_fs

Memory = Mapping[str, Mapping[str, int]]
CostKey = tuple[str, int]
"""A device and a distinct op (a slot of the trace index) that it runs."""


HOST_LANE = "host"
"""The lane on which a host calls the framework for a device."""


class Cause(StrEnum):
    """Why a command is there."""

    OP = "op"
    """The trace holds the operator."""
    INPUT = "input"
    """An operator reads what another device wrote."""
    WEIGHTS = "weights"
    """An operator reads weights that rest elsewhere."""
    UNPACK = "unpack"
    """Weights of an operator that have come, or are to go, are made dense."""
    CALL = "call"
    """A host calls the framework, which launches an operator."""
    CONTROL = "control"
    """A policy issued it during the run."""


class Command(NamedTuple):
    """One piece of work on a lane.

    ``op`` is the index of the trace's op that it runs, or, of any other ``cause`` than OP, that it moves data
    for; -1 of none. A collective is several commands of one op. A copy has ``src`` and ``dst``; ``beside`` are the
    ends of copies that are known to run at the same time, its own among them. ``after`` are indexes of earlier
    commands; those before it on the same lane may be left out. ``part``: which of the graph's parts of ops runs, -1 for
    the op as the trace has it. ``channel``: what moves a copy beside the links.
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
    cause: Cause = Cause.OP
    beside: tuple[Ends, ...] = ()
    part: int = -1
    channel: CopyPace | None = None


def copies_among(commands: Iterable[Command]) -> Counter[tuple[str, str, int]]:
    """How often each copy stands among ``commands``, by its ends and bytes."""
    return Counter([copy for copy in map(attrgetter("src", "dst", "bytes"), commands) if copy[0]])


class Allocation(NamedTuple):
    """Bytes that a device's memory took at ``time_fs`` for one purpose, below 0 where it gave them back."""

    time_fs: int
    device: str
    purpose: str
    bytes: int


class OpRows(NamedTuple):
    """What a report says of ops before they have times: fields of OpResult, one column each."""

    name: Sequence[str] = ()
    kind: Sequence[str] = ()
    label: Sequence[str] = ()
    module: Sequence[str] = ()
    device: Sequence[str] = ()
    weight_sparsity: Sequence[str] = ()
    flops: Sequence[int] = ()
    bytes: Sequence[int] = ()
    weight_format: Sequence[str] = ()


@dataclass(frozen=True)
class CommandGraph:
    """Commands in issue order, where each op runs, and memory by device.

    ``footprint[device][what]`` are bytes that are taken for the whole run; ``cache`` is what each device did with
    weights that rest elsewhere. ``parts`` are ops with some of the experts of an op that
    devices share.
    """

    index: TraceIndex
    devices: tuple[str, ...]
    commands: tuple[Command, ...]
    footprint: Memory
    cache: Mapping[str, CacheUse] = field(default_factory=dict)
    parts: tuple[Op, ...] = ()

    @cached_property
    def distinct(self) -> tuple[Op, ...]:
        """What commands may run, by the second number of their keys: the trace's distinct ops, then the parts."""
        return (*self.index.unique, *self.parts)

    def op_of(self, command: Command) -> Op:
        """What a command runs."""
        return self.index.ops[command.op] if command.part < 0 else self.parts[command.part]

    @cached_property
    def allocations(self) -> tuple[Allocation, ...]:
        """The footprint as allocations at the start of the run."""
        return tuple(Allocation(0, device, purpose, size) for device, own in self.footprint.items()
                     for purpose, size in own.items())  # fmt: skip

    @cached_property
    def keys(self) -> tuple[CostKey | None, ...]:
        """The cost of each command, None of a copy and of a host's call."""
        slot, first = self.index.slot, len(self.index.unique)
        run = map(attrgetter("src", "cause", "device", "op", "part"), self.commands)
        return tuple([None if src or cause is Cause.CALL else (device, slot[op] if part < 0 else first + part)
                      for src, cause, device, op, part in run])  # fmt: skip

    @cached_property
    def moves(self) -> tuple[int, ...]:
        """Indexes of the copies."""
        return tuple([i for i, key in enumerate(self.keys) if key is None and self.commands[i].src])

    @cached_property
    def copies_by_op(self) -> dict[int, list[int]]:
        """The commands that copy data of an op, by the op."""
        found: dict[int, list[int]] = {}
        for i in self.moves:
            if self.commands[i].cause is not Cause.OP:
                found.setdefault(self.commands[i].op, []).append(i)
        return found

    @cached_property
    def lanes(self) -> tuple[tuple[str, str], ...]:
        """Device and lane of each command."""
        return tuple(map(attrgetter("device", "lane"), self.commands))

    @cached_property
    def is_queue(self) -> bool:
        """Whether there are commands, all on one lane, and none of them is a copy."""
        return self.on_one_lane and None not in self.keys

    @cached_property
    def on_one_lane(self) -> bool:
        """Whether there are commands, all on one lane."""
        return len(set(self.lanes)) == 1

    @cached_property
    def first(self) -> tuple[int, ...]:
        """The index of the first command that runs each distinct op of ``runs``."""
        found: dict[CostKey | None, int] = {}
        for i, key in enumerate(self.keys):
            found.setdefault(key, i)
        return tuple(found[key] for key in self.runs)

    @cached_property
    def chains(self) -> tuple[range, ...]:
        """The commands in groups that run without a pause: on one lane, and nothing else waits between them."""
        awaited = set(chain.from_iterable(map(attrgetter("after"), self.commands)))
        lanes, commands = self.lanes, self.commands
        starts = [
            i for i, command in enumerate(commands)
            if command.after or command.src or not i or i - 1 in awaited or lanes[i - 1] != lanes[i]
            or commands[i - 1].src
        ]  # fmt: skip
        return tuple(map(range, starts, [*starts[1:], len(commands)]))

    @cached_property
    def copies(self) -> Counter[tuple[str, str, int]]:
        """How often each copy is to run, by its ends and bytes."""
        return copies_among(self.commands)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """The place of each command's cost among the distinct ops of ``runs``, that after the last for a copy."""
        place = {key: i for i, key in enumerate(self.runs)}
        return tuple([len(place) if key is None else place[key] for key in self.keys])

    @cached_property
    def place_array(self) -> NDArray[np.intp]:
        """``places`` as an array."""
        return np.array(self.places, np.intp)

    @cached_property
    def op_places(self) -> tuple[int, ...]:
        """The same for the commands of ``op_commands`` alone."""
        return tuple(self.places[i] for i in self.op_commands)

    @cached_property
    def op_copies(self) -> dict[int, Sequence[int]]:
        """The commands of each op that runs as copies, by its place among ``op_commands``."""
        single = {place: (i,) for place, i in enumerate(self.op_commands) if self.keys[i] is None}
        return {**single, **self.collectives}

    @cached_property
    def span_columns(self) -> tuple[tuple[Any, ...], ...]:
        """What a timeline says of the commands besides their times: fields of Span, one column each."""
        fields = attrgetter("device", "lane", "name", "kind", "bytes")
        return tuple(zip(*map(fields, self.commands), strict=True)) or ((),) * 5

    @cached_property
    def runs(self) -> dict[CostKey, int]:
        """How often each distinct op is to run on a device."""
        return Counter(key for key in self.keys if key)

    @cached_property
    def ops_by_device(self) -> dict[str, tuple[tuple[int, ...], tuple[Op, ...]]]:
        """The distinct ops of each device: slots of the trace index, and one op of each."""
        owners = dict.fromkeys(device for device, _ in self.runs)
        slots = {device: tuple(slot for owner, slot in self.runs if owner == device) for device in owners}
        return {device: (own, tuple(self.distinct[slot] for slot in own)) for device, own in slots.items()}

    @cached_property
    def special_by_device(self) -> dict[str, tuple[Op, ...]]:
        """The ops of ``ops_by_device`` whose weights are sparse or in a format of their own."""
        first = len(self.index.unique)
        special = self.index.special_weights | {first + i: op for i, op in enumerate(self.parts) if is_special(op)}
        return {device: tuple(special[slot] for slot in slots if slot in special)
                for device, (slots, _) in self.ops_by_device.items()}  # fmt: skip

    @cached_property
    def op_commands(self) -> tuple[int, ...]:
        """Index of the first command of each op of the trace."""
        causes, parts = map(attrgetter("cause"), self.commands), self._parts
        return tuple([i for i, cause in enumerate(causes) if cause is Cause.OP and i not in parts])

    @cached_property
    def calls(self) -> tuple[int, ...]:
        """Indexes of the calls of the framework."""
        return tuple([i for i, key in enumerate(self.keys) if key is None and self.commands[i].cause is Cause.CALL])

    @cached_property
    def collectives(self) -> dict[int, range]:
        """The commands of each collective, by its place among ``op_commands``."""
        if not self._parts:
            return {}
        owner = {self.commands[i].op: place for place, i in enumerate(self.op_commands)}
        last = {self.commands[i].op: i for i in sorted(self._parts)}
        return {owner[op]: range(self.op_commands[owner[op]], end + 1) for op, end in last.items()}

    @cached_property
    def _parts(self) -> frozenset[int]:
        """Commands of collectives that follow the first."""
        if not self.has_collectives:
            return frozenset()
        return frozenset(
            i for i, (one, following) in enumerate(pairwise(self.commands), start=1)
            if following.cause is Cause.OP and following.op == one.op and one.cause is Cause.OP and one.part < 0
        )  # fmt: skip

    @cached_property
    def op_rows(self) -> OpRows:
        """The ops of ``op_commands`` for a report."""
        texts = [str(op.weight_sparsity) for op in self.index.unique]
        rows = []
        for command in map(self.commands.__getitem__, self.op_commands):
            op, slot = self.op_of(command), self.index.slot[command.op]
            facts = self.index.facts(command.op) if command.part < 0 else OpFacts.of(op)
            rows.append((command.name, command.kind, op.label, op.module, command.device, texts[slot],
                         facts.flops, facts.min_bytes, op.weight_format))  # fmt: skip
        return OpRows(*zip(*rows, strict=True))

    @cached_property
    def has_collectives(self) -> bool:
        """Whether an op of the trace is a collective."""
        return any(op.kind == OpKind.COLLECTIVE for op in self.index.unique)


@dataclass(frozen=True)
class CostedGraph:
    """A command graph with times: the cost of each distinct op where it runs, on a machine.

    ``clock`` is the rate of operators that a power limit holds down over that under a steady load, by device.
    """

    graph: CommandGraph
    costs: Mapping[CostKey, OpCost]
    machine: Machine
    clock: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: CommandGraph, machine: Machine, level: int) -> CostedGraph:
        """Cost a command graph on a machine. Raises MappingError for an op that its device does not support."""
        costs: dict[CostKey, OpCost] = {}
        for device, (slots, ops) in graph.ops_by_device.items():
            found = machine.devices[device].costs(ops, level)
            costs.update({(device, slot): cost for slot, cost in zip(slots, found, strict=True)})
        return cls(graph, costs, machine)

    @cached_property
    def fs(self) -> Sequence[int]:
        """Femtoseconds of each command: of an op or a call; 0 of a copy, whose time is that of its route."""
        times = [seconds_to_fs(self.costs[key].latency_s) for key in self.graph.runs]
        result = list(map([*times, 0].__getitem__, self.graph.places))
        for i in self.graph.calls:
            command = self.graph.commands[i]
            result[i] = self.machine.call_fs(command.device, self.graph.index.ops[command.op])
        return result

    @cached_property
    def streaming(self) -> Mapping[CostKey, Streaming]:
        """How operators stream a memory that copies read or write, by cost."""
        if not self.graph.copies:
            return {}
        found = {}
        for key, cost in self.costs.items():
            times = self.machine.devices[key[0]].model.streaming(cost)
            if times is not None and times.stream_s > 0:
                found[key] = Streaming(seconds_to_fs(times.stream_s), seconds_to_fs(times.hidden_s),
                                       int(times.bytes_per_s))  # fmt: skip
        return found

    def check_memory(self) -> None:
        """Raises SimulationError when a device's memory can't hold what the commands keep there."""
        for device, parts in self.graph.footprint.items():
            capacity = self.machine.devices[device].model.memory_bytes
            need = sum(parts.values())
            if capacity is not None and need > capacity:
                shares = ", ".join(f"{what} {bytes_text(size)}" for what, size in parts.items() if size)
                raise SimulationError(
                    f"{device} is full: {bytes_text(need)} needed ({shares}), capacity {bytes_text(capacity)}"
                )
