"""The event engine: a Simulator round SimPy, in integer femtoseconds; it knows no concrete device."""

from simsparse.engine.memory import Memory
from simsparse.engine.network import Link, alone_fs, route
from simsparse.engine.observers import Progress, TimelineRecorder
from simsparse.engine.simulator import Observer, Priority, Simulator
from simsparse.engine.task import Lane, Task

__all__ = [
    "Lane", "Link", "Memory", "Observer", "Priority", "Progress", "Simulator", "Task", "TimelineRecorder",
    "alone_fs", "route",
]  # fmt: skip
