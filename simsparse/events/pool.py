# SPDX-License-Identifier: Apache-2.0
"""Memories of limited capacity."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import simpy

from simsparse.errors import SimulationError
from simsparse.units import bytes_text

if TYPE_CHECKING:
    from simsparse.events.simulator import Simulator


class Pool:
    """A device's memory: allocations fail, or wait in order, when they do not fit.

    ``capacity`` in bytes, None when it is not limited; ``peak`` is the most ever in use.
    """

    def __init__(self, sim: Simulator, device: str, capacity: int | None) -> None:
        self._sim, self.device, self.capacity = sim, device, capacity
        self.used = self.peak = 0
        self._waiting: deque[tuple[int, str, simpy.Event]] = deque()

    def alloc(self, bytes: int, what: str, wait: bool = False) -> simpy.Event:
        """Take ``bytes``; the event happens when they are there.

        Raises SimulationError when they can never fit, or do not fit now and ``wait`` is False.
        """
        event: simpy.Event = self._sim.env.event()
        room = self._fits(bytes) and not self._waiting
        if not room and (not wait or (self.capacity is not None and bytes > self.capacity)):
            raise SimulationError(
                f"{self.device} is full: {what} needs {bytes_text(bytes)}, "
                f"{bytes_text(self.used)} of {bytes_text(self.capacity or 0)} are in use"
            )
        if room:
            self._take(bytes, event)
        else:
            self._waiting.append((bytes, what, event))
        return event

    def free(self, bytes: int) -> None:
        """Give ``bytes`` back. Raises SimulationError when more is freed than was taken."""
        if bytes > self.used:
            raise SimulationError(f"{self.device}: {bytes} bytes freed, {self.used} in use")
        self.used -= bytes
        self._sim.memory_changed(self, -bytes)
        while self._waiting and self._fits(self._waiting[0][0]):
            size, _, event = self._waiting.popleft()
            self._take(size, event)

    @property
    def blocked(self) -> tuple[str, ...]:
        """What waits for room."""
        return tuple(f"{what} waits for {size} bytes of {self.device}" for size, what, _ in self._waiting)

    def _fits(self, bytes: int) -> bool:
        return self.capacity is None or self.used + bytes <= self.capacity

    def _take(self, bytes: int, event: simpy.Event) -> None:
        self.used += bytes
        self.peak = max(self.peak, self.used)
        self._sim.memory_changed(self, bytes)
        event.succeed()
