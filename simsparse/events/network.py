"""Links: latency, bandwidth, fair sharing, full duplex with a limit; and routes over them.

A copy is a flow over the links of its route. On every link the flows of one direction share its
rate equally; when both directions are busy each gets at most ``duplex``/2 of the nominal rate. A
flow's rate is the least of its shares. Rates are whole bytes a second, so that progress is exact
integer arithmetic and the bytes that go in come out.

Left out: bandwidth that a flow held back elsewhere leaves on a link is not given to the others, so
contended routes of several links are bounded from below.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import simpy

from simsparse.errors import SimulationError
from simsparse.units import FS_PER_SECOND

if TYPE_CHECKING:
    from simsparse.events.simulator import Simulator
    from simsparse.events.task import Task

Hop = tuple["Link", int]


@dataclass(eq=False)
class Link:
    """A full-duplex link. Rates in bytes a second, times in femtoseconds.

    ``busy`` counts the flows of each direction (0: from the first end to the second), ``moved`` the
    bytes delivered.
    """

    name: str
    between: tuple[str, str]
    bytes_per_s: int
    latency_fs: int = 0
    issue_fs: int = 0
    duplex: float = 2.0
    busy: list[int] = field(default_factory=lambda: [0, 0])
    moved: list[int] = field(default_factory=lambda: [0, 0])

    def share(self, direction: int) -> int:
        """Bytes a second of one flow of ``direction``, as many as there are now."""
        rate = self.bytes_per_s
        if self.busy[1 - direction]:
            rate = min(rate, int(rate * self.duplex / 2))
        return max(1, rate // self.busy[direction])


def route(links: Iterable[Link], src: str, dst: str) -> tuple[Hop, ...]:
    """The links from ``src`` to ``dst`` with their directions, fewest hops first.

    Raises SimulationError when the devices are not connected.
    """
    links = tuple(links)
    came: dict[str, tuple[Hop, ...]] = {src: ()}
    queue = deque([src])
    while queue:
        here = queue.popleft()
        if here == dst:
            return came[here]
        for link in links:
            if here in link.between:
                direction = link.between.index(here)
                there = link.between[1 - direction]
                if there not in came:
                    came[there] = (*came[here], (link, direction))
                    queue.append(there)
    raise SimulationError(f"no link leads from {src!r} to {dst!r}")


def alone_fs(hops: tuple[Hop, ...], bytes: int) -> int:
    """Femtoseconds of a copy that shares its links with nobody: latency, then bytes at the least rate."""
    rate = min(link.bytes_per_s for link, _ in hops)
    return sum(link.latency_fs for link, _ in hops) + -(-bytes * FS_PER_SECOND // rate)


@dataclass(eq=False, slots=True)
class _Flow:
    task: Task
    hops: tuple[Hop, ...]
    left: int
    rate: int = 0


class Network:
    """All flows under way; rates are set anew whenever one begins or ends."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._flows: list[_Flow] = []
        self._since_fs = 0
        self._wake: simpy.Event | None = None

    def join(self, task: Task, hops: tuple[Hop, ...]) -> None:
        """Begin to move ``task.bytes`` over ``hops``."""
        self._advance()
        for link, direction in hops:
            link.busy[direction] += 1
        self._flows.append(_Flow(task, hops, task.bytes * FS_PER_SECOND))
        self._replan()

    def _advance(self) -> None:
        elapsed = self._sim.env.now - self._since_fs
        self._since_fs = self._sim.env.now
        for flow in self._flows:
            flow.left -= elapsed * flow.rate

    def _replan(self) -> None:
        if not self._flows:
            self._wake = None
            return
        for flow in self._flows:
            flow.rate = min(link.share(direction) for link, direction in flow.hops)
        soonest = min(-(-flow.left // flow.rate) for flow in self._flows)
        self._wake = self._sim.call_in(max(0, soonest), self._arrive)

    def _arrive(self, event: simpy.Event) -> None:
        if event is not self._wake:
            return
        self._advance()
        done = [flow for flow in self._flows if flow.left <= 0]
        self._flows = [flow for flow in self._flows if flow.left > 0]
        for flow in done:
            for link, direction in flow.hops:
                link.busy[direction] -= 1
                link.moved[direction] += flow.task.bytes
            self._sim.complete_in(flow.task, 0)
        self._replan()
