# SPDX-License-Identifier: Apache-2.0
"""Links and the memories at the ends of copies: latency, bandwidth, fair sharing; and routes over them.

A copy is a flow that reads a memory, crosses the links of its route and writes a memory. What flows
share, they share max-min fairly: no flow can have more without taking from one that has less. A link
has a rate in each direction; when both directions are busy each has at most ``duplex``/2 of it. Rates
are whole bytes per second, so that progress is exact integer arithmetic and the bytes that go in come
out.

Work that streams a memory runs beside the copies of that memory (simsparse.events.streaming).

Left out: both directions of a link get equal parts of what they share, however uneven the load; a
device that a route only passes through takes no part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import simpy

from simsparse.errors import SimulationError
from simsparse.events.streaming import PACE, Streaming, left_for_copies, pace_beside
from simsparse.units import FS_PER_SECOND

if TYPE_CHECKING:
    from simsparse.events.simulator import Simulator
    from simsparse.events.task import Task

READ, WRITE = 0, 1
"""Directions of a CopyEnd."""
Hop = tuple["Link | CopyEnd", int]


@dataclass(eq=False)
class Link:
    """A full-duplex link. Rates in bytes per second, times in femtoseconds.

    ``moved`` counts the bytes delivered in each direction (0: from the first end to the second).
    """

    unit_bytes = 1

    name: str
    between: tuple[str, str]
    bytes_per_s: int
    latency_fs: int = 0
    issue_fs: int = 0
    duplex: float = 2.0
    moved: list[int] = field(default_factory=lambda: [0, 0])

    def rate(self, direction: int, both: bool = False) -> int:
        """Bytes per second of ``direction``, with the other one at rest or ``both`` busy."""
        del direction
        return min(self.bytes_per_s, int(self.bytes_per_s * self.duplex / 2)) if both else self.bytes_per_s

    def share_key(self, direction: int) -> int:
        """What the flows of ``direction`` share; equal where both directions share one rate."""
        return direction


class CopyPace(NamedTuple):
    """What moves the bytes of a copy where the links alone do not set its pace, such as the kernel of a collective.

    The copy takes ``latency_fs`` in place of the latencies of its route, and has ``bytes_per_s`` at most.
    """

    latency_fs: int
    bytes_per_s: int


@dataclass(eq=False)
class CopyEnd:
    """The memory at one end of copies: bytes per second that it reads and writes.

    ``shared``: reads and writes share one rate; else they do not slow each other. A copy waits
    ``latency_fs`` for it and moves whole units of ``unit_bytes``. ``channels_per_s``: what copies and the work of the
    device share, 0 where they do not meet.
    """

    device: str
    bytes_per_s: tuple[int, int]
    shared: bool = True
    latency_fs: int = 0
    unit_bytes: int = 1
    issue_fs = 0
    moved: list[int] = field(default_factory=lambda: [0, 0])
    channels_per_s: int = 0

    def rate(self, direction: int, both: bool = False) -> int:
        """Bytes per second of ``direction``; with ``both`` busy, what they share or each of them has."""
        return min(self.bytes_per_s) if both and self.shared else self.bytes_per_s[direction]

    def share_key(self, direction: int) -> int:
        """What the flows of ``direction`` share; equal where both directions share one rate."""
        return READ if self.shared else direction


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


def path(links: Iterable[Link], ends: Mapping[str, CopyEnd], src: str, dst: str) -> tuple[Hop, ...]:
    """What a copy takes up: the memory that it reads, the links of its route, the memory that it writes.

    A copy in place reads and writes one memory. Raises SimulationError when the devices are not connected.
    """
    crossed = route(links, src, dst)
    found = ((ends.get(src), READ), (ends.get(dst), WRITE))
    return (*crossed, *((end, direction) for end, direction in found if end is not None))


def whole_bytes(hops: Iterable[Hop], bytes: int) -> int:
    """``bytes`` as the ends of a copy move them, in whole units."""
    return max((-(-bytes // each.unit_bytes) * each.unit_bytes for each, _ in hops), default=bytes)


def alone_fs(hops: tuple[Hop, ...], bytes: int) -> int:
    """Femtoseconds of a copy that shares its route with no other: latency, then bytes at the least rate.

    A copy in place, whose reads and writes share a rate, has half of it.
    """
    in_place = len(hops) == 2 and hops[0][0] is hops[1][0]
    return at_rate_fs(hops, bytes, fair_rates([hops])[0] if in_place else min(each.rate(way) for each, way in hops))


def at_rate_fs(hops: tuple[Hop, ...], bytes: int, rate: int) -> int:
    """Femtoseconds of a copy that has ``rate`` bytes per second all the while."""
    return sum(each.latency_fs for each, _ in hops) + -(-whole_bytes(hops, bytes) * FS_PER_SECOND // rate)


def channel_fs(hops: tuple[Hop, ...], bytes: int, rate: int, channel: CopyPace) -> int:
    """Femtoseconds of a copy by a channel, whose route leaves it ``rate`` bytes per second all the while."""
    return channel.latency_fs + -(-whole_bytes(hops, bytes) * FS_PER_SECOND // min(rate, channel.bytes_per_s))


def fair_rates(flows: Sequence[tuple[Hop, ...]], limits: Mapping[CopyEnd, int] | None = None) -> list[int]:
    """Max-min fair bytes per second of flows that are under way, at least 1 each.

    What leaves its flows least is shared first; these keep their rate, and the others share what is left
    elsewhere. ``limits``: what other work leaves the copies of a memory. Source: Bertsekas and Gallager, Data Networks
    (1992), 6.5.2.
    """
    left: dict[tuple[Link | CopyEnd, int], int] = {}
    users: dict[tuple[Link | CopyEnd, int], list[int]] = {}
    used = {hop for hops in flows for hop in hops}
    for i, hops in enumerate(flows):
        for each, direction in hops:
            key = each, each.share_key(direction)
            left[key] = each.rate(direction, (each, 1 - direction) in used)
            if limits and isinstance(each, CopyEnd) and each in limits:
                left[key] = min(left[key], limits[each])
            users.setdefault(key, []).append(i)
    rates = [0] * len(flows)
    while users:
        tightest = min(users, key=lambda key: left[key] // len(users[key]))
        share, settled = max(1, left[tightest] // len(users[tightest])), set(users[tightest])
        for i in settled:
            rates[i] = share
        for key, own in list(users.items()):
            users[key] = [i for i in own if i not in settled]
            left[key] -= share * (len(own) - len(users[key]))
            if not users[key]:
                del users[key]
    return rates


@dataclass(eq=False, slots=True)
class _Flow:
    task: Task
    hops: tuple[Hop, ...]
    bytes: int
    left: int
    rate: int = 0


@dataclass(eq=False, slots=True)
class _Work:
    """Work under way that streams the memory ``end``; ``left`` femtoseconds alone, times PACE."""

    task: Task
    end: CopyEnd
    streaming: Streaming
    left: int
    rate: int = PACE


class Network:
    """All flows under way, and the work beside them; rates are computed anew whenever one begins or ends."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._flows: list[_Flow] = []
        self._works: list[_Work] = []
        self._since_fs = 0
        self._wake: simpy.Event | None = None
        self._rates: dict[tuple[tuple[Hop, ...], ...], list[int]] = {}

    def join(self, task: Task, hops: tuple[Hop, ...]) -> None:
        """Begin to move ``task.bytes`` over ``hops``."""
        self._advance()
        bytes_ = whole_bytes(hops, task.bytes)
        self._flows.append(_Flow(task, hops, bytes_, bytes_ * FS_PER_SECOND))
        self._replan()

    def work(self, task: Task, end: CopyEnd, streaming: Streaming) -> None:
        """Begin work of ``task.duration_fs`` that streams the memory ``end``."""
        self._advance()
        self._works.append(_Work(task, end, streaming, task.duration_fs * PACE))
        self._replan()

    def _advance(self) -> None:
        elapsed = self._sim.env.now - self._since_fs
        self._since_fs = self._sim.env.now
        for flow in self._flows:
            flow.left -= elapsed * flow.rate
        for work in self._works:
            work.left -= elapsed * work.rate

    def _replan(self) -> None:
        if not self._flows and not self._works:
            self._wake = None
            return
        for flow, rate in zip(self._flows, self._flow_rates(), strict=True):
            flow.rate = rate
        for work in self._works:
            moved = sum(flow.rate for flow in self._flows for each, _ in flow.hops if each is work.end)
            work.rate = pace_beside(work.task.duration_fs, work.streaming, moved, work.end.channels_per_s)
        soonest = min([-(-flow.left // flow.rate) for flow in self._flows]
                      + [-(-work.left // work.rate) for work in self._works])  # fmt: skip
        self._wake = self._sim.call_in(max(0, soonest), self._arrive)

    def _flow_rates(self) -> list[int]:
        under_way = tuple([flow.hops for flow in self._flows])
        if self._works:
            taken: dict[CopyEnd, int] = {}
            for work in self._works:
                taken[work.end] = taken.get(work.end, 0) + work.streaming.bytes_per_s
            return fair_rates(under_way, {end: left_for_copies(end.channels_per_s, own) for end, own in taken.items()})
        if under_way not in self._rates:
            self._rates[under_way] = fair_rates(under_way)
        return self._rates[under_way]

    def _arrive(self, event: simpy.Event) -> None:
        if event is not self._wake:
            return
        self._advance()
        done = [flow for flow in self._flows if flow.left <= 0]
        finished = [work for work in self._works if work.left <= 0]
        self._flows = [flow for flow in self._flows if flow.left > 0]
        self._works = [work for work in self._works if work.left > 0]
        for flow in done:
            for link, direction in flow.hops:
                link.moved[direction] += flow.bytes
            self._sim.complete_in(flow.task, 0)
        for work in finished:
            self._sim.complete_in(work.task, 0)
        self._replan()
