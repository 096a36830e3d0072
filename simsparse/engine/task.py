"""Tasks and the in-order lanes that run them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import simpy

from simsparse.core import Span

if TYPE_CHECKING:
    from simsparse.engine.simulator import Simulator


class Task(simpy.Event):  # type: ignore[misc]
    """One piece of work on a lane; a SimPy event that happens when the work is done.

    It is the only SimPy event that an operator costs: the lane schedules it at its end when it
    starts. ``start_fs`` is -1 until then. ``bytes`` is what a copy moves.
    """

    def __init__(self, sim: Simulator, lane: Lane, name: str, kind: str, duration_fs: int) -> None:
        super().__init__(sim.env)
        self.lane, self.name, self.kind, self.duration_fs = lane, name, kind, duration_fs
        self.bytes = 0
        self.start_fs = self.end_fs = -1
        self.pending = 0
        self.begin: Callable[[Task], None] | None = None
        self.least_gap_fs = 0

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

    __slots__ = ("_ready_fs", "_sim", "device", "name", "queue")

    def __init__(self, sim: Simulator, device: str, name: str) -> None:
        self._sim, self.device, self.name = sim, device, name
        self.queue: deque[Task] = deque()
        self._ready_fs = 0

    def submit(self, task: Task) -> None:
        """Append ``task``; it starts at once when nothing holds it back."""
        task.callbacks.append(self._finish)
        self.queue.append(task)
        if len(self.queue) == 1 and not task.pending:
            self.start_next()

    def start_next(self, _: simpy.Event | None = None) -> None:
        """Start the head of the queue, or come back when the lane takes work again."""
        task, now = self.queue[0], self._sim.env.now
        if task.least_gap_fs and now < self._ready_fs:
            self._sim.call_in(self._ready_fs - now, self.start_next)
            return
        task.start_fs = now
        if task.least_gap_fs:
            self._ready_fs = now + task.least_gap_fs
        for hook in self._sim.on_start:
            hook(task)
        if task.begin is not None:
            task.begin(task)
        else:
            self._sim.complete_in(task, task.duration_fs)

    def _finish(self, task: Task) -> None:
        task.end_fs = self._sim.env.now
        for hook in self._sim.on_span:
            hook(task)
        self.queue.popleft()
        if self.queue and not self.queue[0].pending:
            self.start_next()
