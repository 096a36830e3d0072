# SPDX-License-Identifier: Apache-2.0
"""A run while it goes on, as a policy's process sees it: the clock, the machine, and commands to issue."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np
import simpy

from simsparse.core import ActionCounts, CacheUse, Op, OpCost
from simsparse.errors import MappingError, SimulationError, nearest
from simsparse.events import Simulator, Task
from simsparse.events.simulator import Process
from simsparse.events.streaming import Streaming
from simsparse.lowering.command_graph import Allocation, Cause, Command, CostedGraph, CostKey
from simsparse.lowering.records import Issued, Records
from simsparse.units import fs_to_seconds, seconds_to_fs

CONTROL = "control"
"""Kind and bound of a kernel that is no operator."""


class LiveRun:
    """What a policy may do during the run.

    ``copy``, ``run`` and ``kernel`` issue commands that cost time, link bytes and energy as the
    trace's own do; ``hold`` keeps an operator of the trace back. They return SimPy events, which a
    process yields to wait. ``index`` is the trace as far as it has been lowered, ``devices`` where its ops run, ``rng``
    a generator seeded by the run's ``seed``; ``cache`` what a policy's caches did, which it fills in.
    """

    def __init__(self, sim: Simulator, costed: CostedGraph, level: int, seed: int = 0) -> None:
        self.machine, self.index = costed.machine, costed.graph.index
        self.rng = np.random.default_rng(seed)
        self.seed, self.devices, self.cache = seed, costed.graph.devices, dict[str, CacheUse]()
        self._sim, self._costed, self._level = sim, costed, level
        self._tasks: list[Task] = []
        self._issued: list[Issued] = []
        self._costs: dict[CostKey, OpCost] = {}
        self._allocations: list[Allocation] = []
        self._last_ended: Task | None = None
        self._places: dict[Task, int] = {}
        self._waited: dict[int, tuple[int, ...]] = {}

    @property
    def now_fs(self) -> int:
        """The time, in femtoseconds."""
        return self._sim.now_fs

    def free_bytes(self, device: str) -> int | None:
        """Bytes that the memory of ``device`` has left, None where it is not limited."""
        pool = self._sim.memories[device]
        return None if pool.capacity is None else pool.capacity - pool.used

    def left_for(self, device: str, purpose: str) -> int | None:
        """Bytes that ``device`` has left beside all that the run keeps there for other purposes, None without limit."""
        free = self.free_bytes(device)
        return None if free is None else free + self._costed.graph.footprint.get(device, {}).get(purpose, 0)

    def waited(self, op: str, tasks: Sequence[Task]) -> None:
        """Note what a held operator of the trace waited for."""
        if tasks:
            self._waited[self._by_op[op].start] = tuple(map(self._place, tasks))

    def task(self, op: str) -> Task:
        """The task of an operator of the trace, an event that happens at its end; of a collective, its last copy.

        Raises SimulationError.
        """
        return self._tasks_of(op)[-1]

    def hold(self, op: str, until: simpy.Event) -> None:
        """Keep an operator of the trace back until an event. Raises SimulationError when it has started."""
        tasks = self._tasks_of(op)
        if any(task.start_fs >= 0 for task in tasks):
            raise SimulationError(f"{op} has started; it can't be held back any more")
        for task in tasks:
            task.depend([until])

    def copy(self, src: str, dst: str, bytes: int, name: str, after: Sequence[Task] = ()) -> Task:
        """Copy ``bytes`` from one device to another on the copy engine that lies between them."""
        device, lane = self.machine.copy_lane(src, dst)
        command = Command(name, "copy", device, lane, -1, (), src, dst, bytes, Cause.CONTROL)
        return self._issue(Issued(command), 0, after)

    def run(self, op: Op, device: str, after: Sequence[Task] = ()) -> Task:
        """Run an operator on a device. Raises MappingError when there is no such device or it does not support it."""
        if device not in self.machine.devices:
            raise MappingError(f"{device!r} is no device of {self.machine.system.name}; "
                               f"{nearest(device, self.machine.devices)}", key=op.name)  # fmt: skip
        if reason := self.machine.devices[device].supports(op):
            raise MappingError(f"can't run on {device}: {reason}", key=op.name)
        cost = self.machine.devices[device].costs([op], self._level)[0]
        lane = self.machine.compute_lane(device)
        command = Command(op.name, op.kind, device, lane, -1, (), cause=Cause.CONTROL)
        return self._issue(Issued(command, self._key(device, cost), op), seconds_to_fs(cost.latency_s), after)

    def kernel(
        self, device: str, duration_fs: int, name: str, counts: ActionCounts, after: Sequence[Task] = ()
    ) -> Task:
        """Run a kernel that takes ``duration_fs`` and does what ``counts`` say, priced as the device's own actions."""
        seconds = fs_to_seconds(duration_fs)
        key = self._key(device, OpCost(seconds, CONTROL, {CONTROL: seconds}, counts))
        command = Command(name, CONTROL, device, self.machine.compute_lane(device), -1, (), cause=Cause.CONTROL)
        return self._issue(Issued(command, key), duration_fs, after)

    def alloc(self, device: str, bytes: int, purpose: str, wait: bool = False) -> simpy.Event:
        """Take memory of a device; the event happens when it is there. See Pool.alloc for errors."""
        event = self._sim.alloc(device, bytes, purpose, wait)

        def taken(_: simpy.Event) -> None:
            self._allocations.append(Allocation(self.now_fs, device, purpose, bytes))

        event.callbacks.append(taken)
        return event

    def free(self, device: str, bytes: int, purpose: str) -> None:
        """Give memory of a device back. Raises SimulationError when more is freed than was taken."""
        self._sim.free(device, bytes)
        self._allocations.append(Allocation(self.now_fs, device, purpose, -bytes))

    def event(self) -> simpy.Event:
        """An event that a process triggers with ``succeed``."""
        return self._sim.event()

    def timeout(self, delay_fs: int) -> simpy.Event:
        """An event ``delay_fs`` from now."""
        return self._sim.timeout(delay_fs)

    def process(self, generator: Process) -> simpy.Event:
        """Run a generator that yields events; the event happens when it returns."""
        return self._sim.process(generator)

    def _issue(self, issued: Issued, fs: int, after: Sequence[Task]) -> Task:
        """Issue a policy's command; it is recorded as one that waited for ``after`` and for what has just ended."""
        causes = list(map(self._place, after))
        if self._last_ended is not None and self._last_ended.end_fs == self.now_fs:
            causes.append(self._place(self._last_ended))
        self._issued.append(issued._replace(command=issued.command._replace(after=tuple(causes))))
        task = start(self._sim, issued.command, fs, after)
        self._tasks.append(task)
        return task

    def _place(self, task: Task) -> int:
        """The place of a task among those issued so far."""
        first = len(self._places)
        self._places.update(zip(self._tasks[first:], range(first, len(self._tasks)), strict=True))
        return self._places[task]

    def _key(self, device: str, cost: OpCost) -> CostKey:
        key = device, len(self._costed.graph.distinct) + len(self._costs)
        self._costs[key] = cost
        return key

    @cached_property
    def _by_op(self) -> dict[str, range]:
        """Indexes of each operator's tasks."""
        graph = self._costed.graph
        own = {graph.commands[i].name: range(i, i + 1) for i in graph.op_commands}
        return own | {graph.commands[copies.start].name: copies for copies in graph.collectives.values()}

    def _tasks_of(self, op: str) -> list[Task]:
        found = self._by_op.get(op)
        if found is None:
            raise SimulationError(f"{op!r} is no operator of the trace; {nearest(op, self._by_op)}")
        return [self._tasks[i] for i in found]


class Recorder(LiveRun):
    """The same run as the pipeline sees it: it issues the commands of the graph and collects the records."""

    _chains: Sequence[range] | None = None

    def issue_graph(self) -> None:
        """Issue every command of the graph, in order."""
        tasks, streaming, graph = self._tasks, self._costed.streaming, self._costed.graph
        for i, (command, fs) in enumerate(zip(graph.commands, self._costed.fs, strict=True)):
            after = [tasks[index] for index in command.after] if command.after else []
            beside = streaming.get(key) if streaming and (key := graph.keys[i]) else None
            tasks.append(start(self._sim, command, fs, after, beside))

    def issue_chains(self) -> None:
        """Issue every command of the graph, those of a chain as one task: for a run that nothing watches."""
        commands, fs, tasks = self._costed.graph.commands, self._costed.fs, self._tasks
        self._chains = self._costed.graph.chains
        for own in self._chains:
            command = commands[own.start]
            after = [tasks[index] for index in command.after] if command.after else []
            task = start(self._sim, command, sum(fs[own.start : own.stop]), after)
            tasks += [task] * len(own)

    def watch(self, process: Process) -> None:
        """Let a policy's process act in the run."""
        self._sim.on_span.append(self._ended)
        self._sim.process(process)

    def _ended(self, task: Task) -> None:
        self._last_ended = task

    def records(self) -> Records:
        """What ran. Call it when the run is over."""
        graph, tasks = self._costed.graph, self._tasks
        costs = {**self._costed.costs, **self._costs} if self._costs else self._costed.costs
        allocations = [*graph.allocations, *self._allocations]
        starts = [task.start_fs for task in tasks]
        ends = [task.end_fs for task in tasks] if self._chains is None else self._part_chains(starts)
        return Records(graph, costs, starts, ends, allocations, self._issued, self._waited, self.cache or graph.cache)

    def _part_chains(self, starts: list[int]) -> list[int]:
        """The ends of all commands; ``starts``, which have those of chains, get their own."""
        fs, ends = self._costed.fs, list[int]()
        for own in self._chains or ():
            first, stop = own.start, own.stop
            if stop - first == 1:
                ends.append(self._tasks[first].end_fs)
                continue
            ends += list(accumulate(fs[first:stop], initial=starts[first]))[1:]
            starts[first + 1 : stop] = ends[first : stop - 1]
        return ends


def start(sim: Simulator, command: Command, fs: int, after: Sequence[Task], streaming: Streaming | None = None) -> Task:
    """Give a command to the event engine; ``fs`` as in CostedGraph.fs, ``streaming`` as Simulator.launch takes it."""
    if command.src:
        return sim.copy(
            command.src, command.dst, command.bytes, command.name, after, device=command.device,
            lane=command.lane, kind=command.kind, channel=command.channel,
        )  # fmt: skip
    return sim.launch(command.device, command.lane, fs, command.name, after, command.kind, streaming)
