# SPDX-License-Identifier: Apache-2.0
"""Observers: what watches a run."""

from __future__ import annotations

from collections.abc import Callable

from simsparse.core import Timeline
from simsparse.events.simulator import Observer
from simsparse.events.task import Task


class TimelineRecorder(Observer):
    """Keeps every task that ran."""

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def on_span(self, task: Task) -> None:
        self._tasks.append(task)

    def timeline(self, end_fs: int) -> Timeline:
        """What ran, in order of start; waits are left out."""
        return Timeline.of((task.span for task in self._tasks if task.kind != "wait"), end_fs)


class Progress(Observer):
    """Calls ``report(tasks done, time in femtoseconds)`` at every ``every``-th task."""

    def __init__(self, report: Callable[[int, int], None], every: int = 1000) -> None:
        self._report, self._every, self._done = report, every, 0

    def on_span(self, task: Task) -> None:
        self._done += 1
        if self._done % self._every == 0:
            self._report(self._done, task.end_fs)
