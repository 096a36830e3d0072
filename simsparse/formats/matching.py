"""Which pattern each row of a grouped n:m tile takes: a bipartite matching, found in bulk where it is plain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Assignment:
    """``pattern`` (tiles, rows), each pattern in equally many rows of a tile."""

    pattern: NDArray[np.int16]


@dataclass(frozen=True)
class Unmatched:
    """``row`` of ``tile`` fits no pattern that its tile has left."""

    tile: int
    row: int


def assigned(mask: Mask, sets: Mask, copies: int) -> Assignment | Unmatched:
    """Rows ``mask`` (tiles, rows, m) to patterns ``sets`` (patterns, m), ``copies`` rows each, rows in all.

    A row fits a pattern that covers its non-zeros. Rows as full as a pattern have no choice, rows of zeros take what
    is left, and those between choose the pattern with the most room; tiles where that fails are matched exactly.
    """
    held = _bits(mask)
    kinds = _bits(sets)
    full = _counts(mask) == int(sets[0].sum())
    pattern = np.full(held.shape, -1, np.int16)
    order = np.argsort(kinds)
    near = np.minimum(np.searchsorted(kinds[order], held), len(kinds) - 1)
    pattern[full] = order[near][full]
    taken = np.nonzero(full)[0] * len(sets) + pattern[full]
    room = copies - np.bincount(taken, minlength=len(mask) * len(sets)).reshape(len(mask), len(sets))
    failed = set(np.flatnonzero((room < 0).any(axis=1)).tolist())
    failed |= _roomiest(held, kinds, full, pattern, room)
    for broken in sorted(failed):
        if isinstance(found := _matched(held[broken], kinds, copies), int):
            return Unmatched(broken, found)
        pattern[broken] = found
        room[broken] = copies - np.bincount(found[found >= 0], minlength=len(sets))
    return Assignment(_filled(pattern, room))


def _bits(mask: Mask) -> NDArray[np.int64]:
    """Masks of the last axis as numbers."""
    numbers = np.zeros(mask.shape[:-1], np.int64)
    for position in range(mask.shape[-1]):
        numbers |= mask[..., position].astype(np.int64) << position
    return numbers


def _counts(mask: Mask) -> NDArray[np.int16]:
    counts = np.zeros(mask.shape[:-1], np.int16)
    for position in range(mask.shape[-1]):
        counts += mask[..., position]
    return counts


def _roomiest(held: NDArray[np.int64], kinds: NDArray[np.int64], full: Mask, pattern: NDArray[np.int16],
              room: NDArray[np.int64]) -> set[int]:  # fmt: skip
    """Gives rows with a choice the pattern with the most room, a row of every tile at a time; tiles that failed."""
    tile, row = np.nonzero(~full & (held != 0))
    turn = np.arange(tile.size) - np.searchsorted(tile, tile)
    failed: set[int] = set()
    for step in range(int(turn.max(initial=-1)) + 1):
        tiles, rows = tile[turn == step], row[turn == step]
        fits = (held[tiles, rows][:, None] & ~kinds) == 0
        left = np.where(fits, room[tiles], 0)
        choice = np.argmax(left, axis=1)
        works = left[np.arange(len(tiles)), choice] > 0
        pattern[tiles[works], rows[works]] = choice[works]
        room[tiles[works], choice[works]] -= 1
        failed.update(tiles[~works].tolist())
    return failed


def _matched(held: NDArray[np.int64], kinds: NDArray[np.int64], copies: int) -> NDArray[np.int16] | int:
    """Patterns of one tile's rows, -1 for rows of zeros, or a row that has none: augmenting paths (Kuhn 1955)."""
    rows = np.flatnonzero(held).tolist()
    fits = {row: np.flatnonzero((held[row] & ~kinds) == 0).tolist() for row in rows}
    taken: list[list[int]] = [[] for _ in range(len(kinds))]
    for row in rows:
        if not _placed(row, fits, taken, copies):
            return int(row)
    pattern = np.full(len(held), -1, np.int16)
    for number, of in enumerate(taken):
        pattern[of] = number
    return pattern


def _placed(row: int, fits: dict[int, list[int]], taken: list[list[int]], copies: int) -> bool:
    """Makes room for ``row`` along a shortest chain of moves; whether there is one."""
    came: dict[int, int] = {}
    queue = [row]
    for mover in queue:
        for kind in fits[mover]:
            if kind in came:
                continue
            came[kind] = mover
            if len(taken[kind]) < copies:
                _moved(kind, row, came, taken)
                return True
            queue.extend(taken[kind])
    return False


def _moved(kind: int, row: int, came: dict[int, int], taken: list[list[int]]) -> None:
    """Moves the rows of a chain that ends at ``kind``, each to where the search saw it go."""
    holder = {other: number for number, of in enumerate(taken) for other in of}
    while (mover := came[kind]) != row:
        taken[holder[mover]].remove(mover)
        taken[kind].append(mover)
        kind = holder[mover]
    taken[kind].append(row)


def _filled(pattern: NDArray[np.int16], room: NDArray[np.int64]) -> NDArray[np.int16]:
    """Rows without a pattern get what is left, in order."""
    spare = np.repeat(np.tile(np.arange(room.shape[1], dtype=np.int16), len(room)), room.reshape(-1))
    pattern[pattern < 0] = spare
    return pattern
