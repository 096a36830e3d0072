# SPDX-License-Identifier: Apache-2.0
"""A cache of whole rows of different lengths, the least recently used out first."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints


@njit(cache=True)  # type: ignore[untyped-decorator]
def empty(rows: int) -> Ints:
    """Links of a cache that holds none of ``rows`` rows."""
    links = np.full((3, rows + 1), -1, np.int64)
    links[:2, rows] = rows
    return links


@njit(cache=True)  # type: ignore[untyped-decorator]
def touch(row: int, size: int, links: Ints, room: Ints) -> bool:
    """Use ``row`` of ``size`` bytes; returns whether it was there, else it is brought in if it fits at all.

    ``links`` (3, rows + 1) are next, previous and the size held (-1: absent), the last column being the list's head;
    it starts as ``empty(rows)``. ``room`` is [bytes of rows held, bytes reserved, capacity].
    """
    head = links.shape[1] - 1
    found: bool = links[2, row] >= 0
    if found:
        links[0, links[1, row]], links[1, links[0, row]] = links[0, row], links[1, row]
    elif size > room[2] - room[1]:
        return False
    else:
        shrink(room[2] - room[1] - size, links, room)
        links[2, row] = size
        room[0] += size
    last = links[1, head]
    links[0, last], links[1, row], links[0, row], links[1, head] = row, last, head, row
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def shrink(limit: int, links: Ints, room: Ints) -> None:
    """Throw out the rows used longest ago until those held take ``limit`` bytes at most."""
    head = links.shape[1] - 1
    while room[0] > max(limit, 0):
        oldest = links[0, head]
        room[0] -= links[2, oldest]
        links[2, oldest] = -1
        links[0, head], links[1, links[0, oldest]] = links[0, oldest], head


@njit(cache=True)  # type: ignore[untyped-decorator]
def reserve(size: int, links: Ints, room: Ints) -> int:
    """Keep ``size`` bytes for something else; rows make way. Returns the bytes that got a place."""
    placed: int = min(size, room[2] - room[1])
    room[1] += placed
    shrink(room[2] - room[1], links, room)
    return placed


@njit(cache=True)  # type: ignore[untyped-decorator]
def held_by(rows: int, density: float, row_bytes: float, capacity: float) -> float:
    """Expected share of uses that find their row, when each of ``rows`` is used with ``density`` in every round.

    A row last used g rounds ago has seen 1 - (1 - density)^g of the others since. Source: derived.
    """
    whole = rows * row_bytes
    if whole <= capacity or density >= 1:
        return 1.0 if whole <= capacity else 0.0
    rounds = math.floor(math.log1p(-capacity / whole) / math.log1p(-density)) if density > 0 else 0
    return 1.0 - (1.0 - density) ** rounds
