# SPDX-License-Identifier: Apache-2.0
"""The event engine: a Simulator round SimPy, in integer femtoseconds; it knows no concrete device."""

from simsparse.events.network import CopyEnd, CopyPace, Link, alone_fs, route
from simsparse.events.observers import Progress, TimelineRecorder
from simsparse.events.pool import Pool
from simsparse.events.simulator import Observer, Priority, Simulator
from simsparse.events.task import Lane, Task

__all__ = [
    "CopyPace", "CopyEnd", "Lane", "Link", "Pool", "Observer", "Priority", "Progress", "Simulator", "Task",
    "TimelineRecorder", "alone_fs", "route",
]  # fmt: skip
