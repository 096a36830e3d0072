# SPDX-License-Identifier: Apache-2.0
"""Tasks and the in-order lanes that run them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import simpy

from simsparse.core import Span

if TYPE_CHECKING:
    from simsparse.events.simulator import Simulator

END = 0
"""Priority of the ends of work: before all else of the same time."""


class Task(simpy.Event):  # type: ignore[misc]
    """One piece of work on a lane; a SimPy event that happens when the work is done.

    It is the only SimPy event that an operator costs: the lane schedules it at its end when it
    starts. ``start_fs`` is -1 until then. ``bytes`` is what a copy moves.
    """

    bytes = 0
    start_fs = -1
    end_fs = -1
    pending = 0
    least_gap_fs = 0
    begin: Callable[[Task], None] | None = None

    def __init__(self, lane: Lane, name: str, kind: str, duration_fs: int) -> None:
        self.env = lane.env
        self.callbacks = [lane.finish]
        self.lane, self.name, self.kind, self.duration_fs = lane, name, kind, duration_fs

    @property
    def device(self) -> str:
        """Name of the device whose lane runs the task."""
        return self.lane.device

    @property
    def span(self) -> Span:
        """The task as a stretch of a timeline."""
        return Span(self.start_fs, self.end_fs, self.lane.device, self.lane.name, self.name, self.kind, self.bytes)

    def depend(self, events: Iterable[simpy.Event]) -> None:
        """Hold the task back until all of ``events`` have happened."""
        for event in events:
            if event.callbacks is not None:
                event.callbacks.append(self._dependency_done)
                self.pending += 1

    def _dependency_done(self, _: simpy.Event) -> None:
        self.pending -= 1
        if not self.pending and self.lane.queue and self.lane.queue[0] is self:
            self.lane.start_next()


class Lane:
    """An in-order queue of a device: a compute stream or a copy engine.

    Work starts when all work before it on the lane is done and its own dependencies have happened.
    """

    __slots__ = ("_ready_fs", "_schedule", "_sim", "device", "env", "finish", "name", "queue")

    def __init__(self, sim: Simulator, device: str, name: str) -> None:
        self._sim, self.env, self.device, self.name = sim, sim.env, device, name
        self.queue: deque[Task] = deque()
        self.finish = self._finish
        self._schedule = sim.env.schedule
        self._ready_fs = 0

    def submit(self, task: Task) -> None:
        """Append ``task``; it starts at once when nothing holds it back."""
        self.queue.append(task)
        if len(self.queue) == 1 and not task.pending:
            self.start_next()

    def start_next(self, _: simpy.Event | None = None) -> None:
        """Start the head of the queue, or come back when the lane takes copies again."""
        task, now, sim = self.queue[0], self.env._now, self._sim  # as ``now``, faster
        if task.least_gap_fs:
            if now < self._ready_fs:
                sim.call_in(self._ready_fs - now, self.start_next)
                return
            self._ready_fs = now + task.least_gap_fs
        task.start_fs = now
        for hook in sim.on_start:
            hook(task)
        if task.begin is not None:
            task.begin(task)
            return
        sim.events += 1
        task._ok, task._value = True, None
        self._schedule(task, END, task.duration_fs)

    def _finish(self, task: Task) -> None:
        task.end_fs = self.env._now
        for hook in self._sim.on_span:
            hook(task)
        queue = self.queue
        queue.popleft()
        if queue and not queue[0].pending:
            self.start_next()
