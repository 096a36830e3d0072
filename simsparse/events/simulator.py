# SPDX-License-Identifier: Apache-2.0
"""The simulator: lanes, links and memories round a SimPy environment.

Time is an integer number of femtoseconds. Simultaneous events happen in the order of their
priority, then of the sequence in which they were scheduled. What watches a run subscribes as an
observer; without observers nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from enum import IntEnum
from typing import Any

import simpy

from simsparse.errors import SimsparseError, SimulationError
from simsparse.events.network import CopyEnd, CopyPace, Hop, Link, Network, path
from simsparse.events.pool import Pool
from simsparse.events.streaming import Streaming
from simsparse.events.task import END, Lane, Task

Process = Generator[simpy.Event, Any, Any]


class Priority(IntEnum):
    """Order of events of the same time: ends of work, then what is called on them, then timers."""

    END = END
    NORMAL = 1
    LATE = 2


class Observer:
    """What can watch a run: override the hooks that are wanted; the others cost nothing."""

    def on_start(self, task: Task) -> None:
        """``task`` starts."""

    def on_span(self, task: Task) -> None:
        """``task`` is done; ``task.span`` says when and where it ran."""

    def on_memory(self, memory: Pool, change: int) -> None:
        """``memory`` took (or, when negative, gave back) ``change`` bytes."""


class Simulator:
    """A machine in time. It knows lanes, links and memories by name, and no concrete device.

    Commands (launch, copy, wait, alloc, free) return SimPy events, which other commands take in
    ``after`` and processes may yield.
    """

    def __init__(self) -> None:
        self.env = simpy.Environment(initial_time=0)
        self.links: dict[str, Link] = {}
        self.memories: dict[str, Pool] = {}
        self.events = 0
        self.on_start: list[Callable[[Task], None]] = []
        self.on_span: list[Callable[[Task], None]] = []
        self._on_memory: list[Callable[[Pool, int], None]] = []
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._ends: dict[str, CopyEnd] = {}
        self._paths: dict[tuple[str, str], tuple[Hop, ...]] = {}
        self._limits: dict[tuple[str, str, int], Link] = {}
        self._network = Network(self)

    @property
    def now_fs(self) -> int:
        """The time, in femtoseconds."""
        now: int = self.env.now
        return now

    def add_device(self, name: str, memory_bytes: int | None = None, end: CopyEnd | None = None) -> None:
        """A device with a memory of ``memory_bytes`` (None: not limited); lanes come as they are used.

        ``end`` limits the copies that read or write the memory; None limits none.
        """
        self.memories[name] = Pool(self, name, memory_bytes)
        if end is not None:
            self._ends[name] = end

    def add_link(self, link: Link) -> None:
        """A link between two devices. Raises SimulationError when an end is unknown or a name is taken."""
        for end in link.between:
            self._memory(end)
        if link.name in self.links:
            raise SimulationError(f"link {link.name!r} is there already")
        self.links[link.name] = link
        self._paths.clear()

    def subscribe(self, observer: Observer) -> None:
        """Call the hooks that ``observer`` overrides."""
        for hook, calls in (("on_start", self.on_start), ("on_span", self.on_span), ("on_memory", self._on_memory)):
            if getattr(type(observer), hook) is not getattr(Observer, hook):
                calls.append(getattr(observer, hook))

    def launch(
        self, device: str, lane: str, duration_fs: int, name: str, after: Iterable[simpy.Event] = (), kind: str = "op",
        streaming: Streaming | None = None,
    ) -> Task:  # fmt: skip
        """Work of ``duration_fs`` on a lane, after all before it on the lane and after ``after``.

        Work that is ``streaming`` the device's memory takes longer while copies read or write that.
        """
        if duration_fs < 0:
            raise SimulationError(f"{name} would take {duration_fs} fs; time can't go back")
        target = self._lanes.get((device, lane)) or self._lane(device, lane)
        task = Task(target, name, kind, duration_fs)
        if streaming is not None and duration_fs and (end := self._ends.get(device)) and end.channels_per_s:
            task.begin = lambda task: self._network.work(task, end, streaming)
        if after:
            task.depend(after)
        target.submit(task)
        return task

    def copy(
        self, src: str, dst: str, bytes: int, name: str, after: Iterable[simpy.Event] = (), *,
        device: str | None = None, lane: str = "copy", kind: str = "copy", channel: CopyPace | None = None,
    ) -> Task:  # fmt: skip
        """Move ``bytes`` from ``src`` to ``dst``, holding a lane of ``device`` (``dst``) meanwhile.

        The copy takes the latency of its route, then its share of the bandwidth of links and memories; one by a
        ``channel`` the latency of that, and no more than its rate.
        Raises SimulationError when no links lead there.
        """
        hops = self._path(src, dst)
        target = self._lane(device or dst, lane)
        task = Task(target, name, kind, 0)
        task.bytes = bytes
        task.least_gap_fs = max((each.issue_fs for each, _ in hops), default=0)
        latency = sum(each.latency_fs for each, _ in hops)
        if channel is not None and hops:
            task.least_gap_fs, latency = 0, channel.latency_fs
            hops = (*hops, (self._limit(src, dst, channel.bytes_per_s), 0))

        def begin(task: Task) -> None:
            self.call_in(latency, lambda _: self._network.join(task, hops))

        task.begin = begin if hops else None
        task.depend(after)
        target.submit(task)
        return task

    def wait(self, device: str, lane: str, after: Iterable[simpy.Event]) -> Task:
        """Hold a lane until ``after`` have happened."""
        return self.launch(device, lane, 0, "wait", after, kind="wait")

    def alloc(self, device: str, bytes: int, what: str, wait: bool = False) -> simpy.Event:
        """Take memory of a device; see Pool.alloc."""
        return self._memory(device).alloc(bytes, what, wait)

    def free(self, device: str, bytes: int) -> None:
        """Give memory of a device back; see Pool.free."""
        self._memory(device).free(bytes)

    def event(self) -> simpy.Event:
        """An event that a process triggers with ``succeed``."""
        return self.env.event()

    def timeout(self, delay_fs: int) -> simpy.Event:
        """An event ``delay_fs`` from now."""
        self.events += 1
        return self.env.timeout(delay_fs)

    def process(self, generator: Process) -> simpy.Event:
        """Run a generator that yields events; the event happens when it returns."""
        return self.env.process(generator)

    def run(self) -> int:
        """Run until nothing is left to do; the end in femtoseconds.

        Raises SimulationError when work is left that waits for what never happens, and the error that ended a
        process as it was raised there: SimPy's copy has lost its place.
        """
        try:
            self.env.run()
        except SimsparseError as error:
            raise error.__cause__ or error from None
        stuck = [
            f"{lane.queue[0].name} on {lane.device}.{lane.name}" for lane in self._lanes.values() if lane.queue
        ] + [text for memory in self.memories.values() for text in memory.blocked]
        if stuck:
            raise SimulationError(f"deadlock: nothing can happen any more, but {'; '.join(stuck[:4])} did not run")
        return self.now_fs

    def complete_in(self, task: Task, delay_fs: int, priority: Priority = Priority.END) -> None:
        """Make ``task`` happen ``delay_fs`` from now."""
        self.events += 1
        task._ok, task._value = True, None
        self.env.schedule(task, priority, delay_fs)

    def call_in(
        self, delay_fs: int, call: Callable[[simpy.Event], None], priority: Priority = Priority.NORMAL
    ) -> simpy.Event:
        """Call ``call`` ``delay_fs`` from now, after events of the same time and of lower priority."""
        self.events += 1
        event: simpy.Event = simpy.Event(self.env)
        event._ok, event._value = True, None
        event.callbacks.append(call)
        self.env.schedule(event, priority, delay_fs)
        return event

    def memory_changed(self, memory: Pool, change: int) -> None:
        """Tell the observers of an allocation."""
        for hook in self._on_memory:
            hook(memory, change)

    def _path(self, src: str, dst: str) -> tuple[Hop, ...]:
        found = self._paths.get((src, dst))
        if found is None:
            found = self._paths[src, dst] = path(self.links.values(), self._ends, src, dst)
        return found

    def _limit(self, src: str, dst: str, bytes_per_s: int) -> Link:
        """A link of their own for copies by a channel; those of equal ends and rate share it."""
        return self._limits.setdefault((src, dst, bytes_per_s), Link(f"{src} to {dst}", (src, dst), bytes_per_s))

    def _memory(self, device: str) -> Pool:
        try:
            return self.memories[device]
        except KeyError:
            raise SimulationError(f"{device!r} is no device here; there are {', '.join(self.memories)}") from None

    def _lane(self, device: str, name: str) -> Lane:
        lane = self._lanes.get((device, name))
        if lane is None:
            self._memory(device)
            lane = self._lanes[device, name] = Lane(self, device, name)
        return lane
