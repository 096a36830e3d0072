# SPDX-License-Identifier: Apache-2.0
"""Which pattern each row of a grouped n:m tile takes: bipartite matchings of all tiles at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]
_NONE = -1
_CELLS = 1 << 24  # of the largest temporary array


@dataclass(frozen=True)
class Unmatched:
    """``row`` of ``tile`` fits no pattern that its tile has left, however the others move."""

    tile: int
    row: int


def assigned(mask: Mask, sets: Mask, copies: int) -> NDArray[np.int16] | Unmatched:
    """Patterns (tiles, rows) of rows ``mask`` (tiles, rows, m), one of ``sets`` (patterns, m), ``copies`` rows each.

    A row fits a pattern that covers its non-zeros. Rows as full as a pattern have no choice, and rows of zeros take
    what is left. Those between choose the pattern with the most room, one row of every tile at a time; where there is
    none, others move along a shortest chain (augmenting paths, Kuhn 1955), so that a matching is found if there is one.
    """
    held, kinds = _bits(mask), _bits(sets)
    full = _counts(mask) == int(sets[0].sum())
    pattern = np.full(held.shape, _NONE, np.int16)
    order = np.argsort(kinds)
    pattern[full] = order[np.minimum(np.searchsorted(kinds[order], held[full]), len(kinds) - 1)]
    taken = np.nonzero(full)[0] * len(sets) + pattern[full]
    room = copies - np.bincount(taken, minlength=len(mask) * len(sets)).reshape(len(mask), len(sets))
    if (over := np.argwhere(room < 0)).size:
        tile, kind = (int(number) for number in over[0])
        return Unmatched(tile, int(np.flatnonzero(pattern[tile] == kind)[copies]))
    tiles, rows = np.nonzero(~full & (held != 0))
    if (found := _placed(held, kinds, (tiles, rows), pattern, room)) is not None:
        return found
    pattern[pattern == _NONE] = np.repeat(np.tile(np.arange(len(sets)), len(mask)), room.reshape(-1))
    return pattern


def _placed(held: Numbers, kinds: Numbers, loose: tuple[Numbers, Numbers], pattern: NDArray[np.int16],
            room: Numbers) -> Unmatched | None:  # fmt: skip
    """Gives the ``loose`` rows, by tile and row, a pattern, or tells one that has none."""
    tile, row = loose
    turn = np.arange(tile.size) - np.searchsorted(tile, tile)
    for step in range(int(turn.max(initial=-1)) + 1):
        tiles, rows = tile[turn == step], row[turn == step]
        left = np.where(_fits(held[tiles, rows], kinds), room[tiles], 0)
        choice = np.argmax(left, axis=1)
        free = left[np.arange(len(tiles)), choice] > 0
        pattern[tiles[free], rows[free]] = choice[free]
        room[tiles[free], choice[free]] -= 1
        blocked = np.flatnonzero(~free)
        for begin in range(0, blocked.size, piece := max(1, _CELLS // len(kinds) ** 2)):
            some = blocked[begin : begin + piece]
            if (found := _moved(held, kinds, (tiles[some], rows[some]), pattern, room)) is not None:
                return found
    return None


def _moved(held: Numbers, kinds: Numbers, blocked: tuple[Numbers, Numbers], pattern: NDArray[np.int16],
           room: Numbers) -> Unmatched | None:  # fmt: skip
    """Gives each of ``blocked``, one a tile, a pattern by moving others on; or tells one that can't have one."""
    tiles, rows = blocked
    mover = _movers(held[tiles], kinds, pattern[tiles])
    source = _sources(_fits(held[tiles, rows], kinds), mover)
    ends = (source != _NONE) & (room[tiles] > 0)
    if (stuck := np.flatnonzero(~ends.any(axis=1))).size:
        return Unmatched(int(tiles[stuck[0]]), int(rows[stuck[0]]))
    kind = np.argmax(ends, axis=1)
    room[tiles, kind] -= 1
    active = np.arange(len(tiles))
    while active.size:
        before = source[active, kind[active]]
        begins = before == len(kinds)
        who = np.where(begins, rows[active], mover[active, before % len(kinds), kind[active]])
        pattern[tiles[active], who] = kind[active]
        kind[active] = before
        active = active[~begins]
    return None


def _movers(held: Numbers, kinds: Numbers, pattern: NDArray[np.int16]) -> NDArray[np.int16]:
    """(tiles, from, to): a row that has pattern ``from`` and fits pattern ``to`` too, or -1."""
    movers = np.full((len(held), len(kinds), len(kinds)), _NONE, np.int16)
    for row in np.flatnonzero((held != 0).any(axis=0)):
        tile = np.flatnonzero((held[:, row] != 0) & (pattern[:, row] != _NONE))
        fits = _fits(held[tile, row], kinds)
        now = pattern[tile, row]
        movers[tile, now] = np.where(fits, np.int16(row), movers[tile, now])
    return movers


def _sources(begin: Mask, movers: NDArray[np.int16]) -> Numbers:
    """(tiles, patterns): the pattern from which a shortest chain comes, their number where it begins, -1 if none."""
    count = begin.shape[1]
    source = np.where(begin, count, _NONE)
    edge = begin
    while edge.any():
        steps = edge[:, :, None] & (movers != _NONE)
        edge = steps.any(axis=1) & (source == _NONE)
        source = np.where(edge, np.argmax(steps, axis=1), source)
    return source


def _fits(held: Numbers, kinds: Numbers) -> Mask:
    """(rows, patterns): whether the pattern covers the row."""
    return np.asarray((held[:, None] & ~kinds) == 0)


def _bits(mask: Mask) -> NDArray[np.int64]:
    """Masks along the last axis as numbers."""
    numbers = np.zeros(mask.shape[:-1], np.int64)
    for position in range(mask.shape[-1]):
        numbers |= mask[..., position].astype(np.int64) << position
    return numbers


def _counts(mask: Mask) -> NDArray[np.int16]:
    counts = np.zeros(mask.shape[:-1], np.int16)
    for position in range(mask.shape[-1]):
        counts += mask[..., position]
    return counts
