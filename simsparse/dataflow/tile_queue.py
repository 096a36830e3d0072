# SPDX-License-Identifier: Apache-2.0
"""Tiles of work handed out in order to the team of multipliers that has room first, as on a GPU."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints


@njit(cache=True)  # type: ignore[untyped-decorator]
def last_end(
    steps: Ints, arrive: Ints, teams: int, resident: int, step: int, delay: int, wait: int, drain: int
) -> int:  # fmt: skip
    """The cycle in which the last tile is done.

    A tile of ``steps[i]`` steps goes, in order, to the place that is free first; each of ``teams`` has ``resident``
    places. It waits ``delay`` cycles, and until ``arrive[i]``, for its first operands (no time without steps), and
    ``wait`` cycles between its steps. Its team takes ``step`` cycles for a step, of whichever of its tiles has waited
    longest, and ``drain`` for the results of a tile. Source: derived.
    """
    places = min(teams * resident, steps.size)
    left, free, last = np.zeros(max(1, places), np.int64), np.zeros(teams, np.int64), np.int64(0)
    queue = [(np.int64(0), np.int64(place)) for place in range(places)]
    heapify(queue)
    ahead = 0
    while queue:
        ready, place = heappop(queue)
        team = place % teams
        if left[place] == 0:
            last = max(last, ready)
            if ahead == steps.size:
                continue
            left[place], ahead = steps[ahead], ahead + 1
            if left[place]:
                heappush(queue, (max(ready + delay, arrive[ahead - 1]), place))
                continue
            end = max(ready, free[team]) + drain
        else:
            taken = left[place] if places <= teams else np.int64(1)
            end = max(ready, free[team]) + taken * step + (taken - 1) * wait
            left[place] -= taken
            if left[place]:
                free[team] = end
                heappush(queue, (end + wait, place))
                continue
            end += drain
        free[team] = end
        heappush(queue, (end, place))
    return int(last)
