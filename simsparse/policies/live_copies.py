# SPDX-License-Identifier: Apache-2.0
"""Copies of experts that are called for while a run goes on: a queue by priority, whose head may change at any gate.

The experts of a layer are known when the op before it on the device is done. Those that are missing go to the head of
the queue, behind the piece that is under way; guesses for later layers stand behind them, nearest layer first.
An op waits for its own experts, where copies that are issued before the run make it wait for wrong guesses too.
Left out: several devices that copy; weights on storage, and weights that are unpacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import simpy

from simsparse.core import CacheUse
from simsparse.errors import SimulationError, SpecError
from simsparse.events.simulator import Process
from simsparse.lowering.command_graph import CommandGraph
from simsparse.lowering.footprint import footprint
from simsparse.lowering.graph_builder import GraphBuilder
from simsparse.lowering.live_run import LiveRun
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.lowering.weights import Weight, WeightScope, streamed_ops, weights_read, weights_stored
from simsparse.policies.issue import BUFFERS
from simsparse.policies.part import SourceProgress, Space, View
from simsparse.policies.prefetch.queued import Queued
from simsparse.policies.residency.base import Cache, Residency, Room
from simsparse.policies.windows import windows

NOW = 0
"""Priority of weights that an op waits for; that of guesses is the number of layers until they are read."""


def live_graph(
    index: TraceIndex, devices: tuple[str, ...], machine: Machine, residency: Residency, home: str
) -> CommandGraph:
    """The commands of ops whose weights come from ``home`` during the run: those of the ops alone.

    Raises SpecError when several devices would copy.
    """
    streamed = [away and device != home for away, device in zip(residency.away(index), devices, strict=True)]
    kept = footprint(index, devices, streamed, machine)
    if len(owners := {device for device, away in zip(devices, streamed, strict=True) if away}) > 1:
        raise SpecError(f"{', '.join(sorted(owners))} copy experts; a queue serves one device", key="prefetch")
    builder = GraphBuilder(index, devices, machine)
    builder.ops(range(len(devices)))
    for device in owners:
        left = machine.devices[device].model.memory_bytes
        free = None if left is None else left - sum(kept.get(device, {}).values())
        kept[device][BUFFERS] = _size(residency, index, streamed, machine, device, free)
    at_home = kept.setdefault(home, {})
    rest = sum(own.weights for own, away in zip(index.kept, streamed, strict=True) if away)
    at_home["weights"] = at_home.get("weights", 0) + rest
    return builder.build(kept)


def _size(residency: Residency, index: TraceIndex, streamed: Sequence[bool], machine: Machine, device: str,
          free: int | None) -> int:  # fmt: skip
    """Bytes of the cache of ``device`` when an expert of each layer has come."""
    cache = _cache(residency, SourceProgress(index, (), machine, {device: free}, 0), streamed, device)
    for i in (i for i in index.steps[0] if streamed[i]):
        cache.bring(weights_stored(index, i)[0], ahead=False)
        cache.end_op()
    return cache.bytes


def _cache(residency: Residency, progress: SourceProgress, streamed: Sequence[bool], device: str) -> Cache:
    index = progress.index
    weights = dict.fromkeys(chain.from_iterable(weights_stored(index, i) for i in index.steps[0] if streamed[i]))
    return residency.cache(View(progress, residency, device=device,
                                space=Space(tuple(weights), progress.free_bytes[device])))  # fmt: skip


@dataclass(eq=False)
class _Wanted:
    """A weight in the queue: pieces to copy, the window that reads it, when it has come."""

    weight: Weight
    op: int
    window: int
    priority: int
    left: list[int]
    arrived: simpy.Event
    begun: bool = False


class LiveCopies:
    """The queue of one run."""

    def __init__(self, run: LiveRun, residency: Residency, prefetch: Queued, home: str) -> None:
        self._run, self._residency, self._prefetch, self._home = run, residency, prefetch, home
        index, devices = run.index, run.devices
        away = streamed_ops(index, residency.scope)
        self._streamed = [each and device != home for each, device in zip(away, devices, strict=True)]
        self._device = next((device for device, away in zip(devices, self._streamed, strict=True) if away), "")
        self._steps = windows(index, WeightScope.EXPERTS, self._streamed)
        free = {self._device: run.left_for(self._device, BUFFERS) if self._device else None}
        self._progress = SourceProgress(index, list(chain.from_iterable(self._steps)), run.machine, free, run.seed)
        self._progress.rng = run.rng
        self._queue: list[_Wanted] = []
        self._ahead: dict[Weight, int] = {}
        self._idle: simpy.Event | None = None
        self._counts = dict.fromkeys(CacheUse._fields, 0)

    def processes(self) -> Process | None:
        """The process that calls for copies, which starts the one that makes them; None where no op needs any."""
        if not self._device:
            return None
        self._cache = _cache(self._residency, self._progress, self._streamed, self._device)
        self._guess = self._prefetch.begin(View(self._progress, self._prefetch.guesses))
        self._holds = {i: self._run.event() for i, away in enumerate(self._streamed) if away}
        for i, until in self._holds.items():
            self._run.hold(self._run.index.names[i], until)
        self._run.process(self._engine())
        return self._gates()

    def _gates(self) -> Process:
        """Go through the layers as their gates run, and let each op start when its experts are there."""
        run, progress = self._run, self._progress
        for step in self._steps:
            progress.step_end, progress.begins = progress.window + 1 + len(step), True
            self._cache.begin_step()
            self._guess()
            progress.begins = False
            for window in step:
                progress.window += 1
                for i in window.streamed:
                    yield run.task(run.index.names[i - 1])
                    self._next_op()
                    wanted = self._call_for(i)
                    self._want_ahead()
                    self._wake()
                    for each in wanted:
                        yield each.arrived
                    self._holds[i].succeed()
                    run.waited(run.index.names[i], [each.arrived.value for each in wanted])
        run.cache[self._device] = CacheUse(**self._counts)

    def _next_op(self) -> None:
        """The op before is done; what came ahead and has not been read stays."""
        here = self._progress.window
        self._cache.end_op()
        self._cache.end_window()
        self._ahead = {weight: window for weight, window in self._ahead.items() if window >= here}
        for weight in self._ahead:
            if self._cache.holds(weight):
                self._cache.bring(weight, ahead=True)

    def _call_for(self, i: int) -> list[_Wanted]:
        """Put what op ``i`` misses at the head of the queue; returns all that it has to wait for."""
        reads, queued = weights_read(self._run.index, i), {each.weight: each for each in self._queue}
        self._progress.reads(reads)
        if self._prefetch.interrupts:
            self._drop([each for each in self._queue
                        if each.window <= self._progress.window and each.weight not in reads])  # fmt: skip
        awaited = list[_Wanted]()
        for weight in sorted(reads, key=lambda weight: not self._cache.holds(weight)):
            room, coming = self._cache.bring(weight, ahead=False), queued.get(weight)
            if room is Room.NONE:
                raise SimulationError(f"the cache of {self._device} has no room for all that the op reads at once",
                                      key=self._run.index.names[i])  # fmt: skip
            self._counts["misses" if room is Room.MADE else "hits"] += 1
            if room is Room.MADE:
                coming = coming or self._put(weight, i, NOW)
                coming.begun = True
            if coming is not None:
                coming.priority = NOW
                awaited.append(coming)
            self._cache.read(weight)
        return awaited

    def _want_ahead(self) -> None:
        waiting = {each.weight for each in self._queue}
        for weight in self._guess():
            if weight in waiting or self._cache.holds(weight):
                continue
            i, window = self._reader(weight)
            self._put(weight, i, window - self._progress.window)

    def _reader(self, weight: Weight) -> tuple[int, int]:
        """The op that can read ``weight`` next, and its window."""
        for place in range(self._progress.window + 1, len(self._progress.windows)):
            for i in self._progress.windows[place].streamed:
                stored = weights_stored(self._run.index, i)[0]
                if (stored.layer, stored.matrix) == (weight.layer, weight.matrix):
                    return i, place
        raise SimulationError(f"{self._prefetch.name} copies {weight.matrix} ahead, which no later op reads")

    def _put(self, weight: Weight, i: int, priority: int) -> _Wanted:
        due = self._residency.packing.packed(self._run.index.ops[i], weight.bytes)
        size = self._residency.chunk_bytes or due
        pieces = [min(size, due - start) for start in range(0, due, size)]
        wanted = _Wanted(weight, i, self._progress.window + priority, priority, pieces, self._run.event())
        self._queue.append(wanted)
        return wanted

    def _drop(self, given_up: Iterable[_Wanted]) -> None:
        for each in given_up:
            self._queue.remove(each)
            if each.begun:
                self._cache.drop(each.weight)
                self._ahead.pop(each.weight, None)

    def _wake(self) -> None:
        if self._idle is not None:
            self._idle.succeed()
            self._idle = None

    def _engine(self) -> Process:
        """Copy the head of the queue, piece by piece."""
        while True:
            head = self._head()
            if head is None:
                self._idle = self._run.event()
                yield self._idle
                continue
            name = f"{self._run.index.names[head.op]}.expert{head.weight.expert}"
            size = head.left.pop(0)
            self._counts["copied_bytes"] += size
            task = self._run.copy(self._home, self._device, size, name)
            yield task
            if not head.left and head in self._queue:
                self._queue.remove(head)
                head.arrived.succeed(task)

    def _head(self) -> _Wanted | None:
        """What is copied next. A guess that has no room, or is there by now, leaves the queue."""
        while self._queue:
            first = min(self._queue, key=lambda each: each.priority) if self._prefetch.interrupts else self._queue[0]
            if first.begun:
                return first
            if self._cache.bring(first.weight, ahead=True) is Room.MADE:
                first.begun, self._ahead[first.weight] = True, first.window
                self._counts["copied_ahead"] += 1
                return first
            self._queue.remove(first)
        return None
