# SPDX-License-Identifier: Apache-2.0
"""Requests that wait for a place: by priority, then in the order in which they came."""

from __future__ import annotations

import heapq
import math

from simsparse.sources.requests import Ints


class Waiting:
    """A queue of requests. ``planned``: when the next step was planned, which those that came later can't join."""

    def __init__(self, priority: Ints | None = None) -> None:
        """``priority``: of each request, lower ones first; None: as they come."""
        self._priority = priority
        self._heap: list[tuple[int, int, int]] = []
        self._came: dict[int, float] = {}
        self._count = 0
        self.planned = math.inf

    def __len__(self) -> int:
        return len(self._heap)

    def came(self, request: int, time: float) -> None:
        """A request comes."""
        self._came[request] = time
        self._push(request, 1)

    def put_first(self, request: int) -> None:
        """A request that lost its place is before all others of its priority."""
        self._push(request, -1)

    def _push(self, request: int, sign: int) -> None:
        self._count += 1
        priority = 0 if self._priority is None else int(self._priority[request])
        heapq.heappush(self._heap, (priority, sign * self._count, request))

    @property
    def first(self) -> int:
        """The request whose turn it is."""
        return self._heap[0][2]

    @property
    def in_time(self) -> bool:
        """Whether the first one had come when the next step was planned."""
        return self._came[self.first] <= self.planned

    def leave(self) -> None:
        """The first one gets its place."""
        heapq.heappop(self._heap)
