# SPDX-License-Identifier: Apache-2.0
"""Level 2 of a CPU's sparse kernels: the walk of real CSR weights through sets and ways of three levels of cache."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
LEVELS = 4
"""First, second and last cache, and the memory behind them."""
WEIGHTS_AT, OUTPUTS_AT = 1 << 40, 1 << 41
"""Byte addresses of the weights and of the outputs; the inputs begin at 0."""


class CacheShape(NamedTuple):
    """Sets of the three levels, 0 where a level is missing; ``ways`` of all, bytes of a ``line``."""

    first: int
    second: int
    last: int
    ways: int
    line: int


class LoopAccess(NamedTuple):
    """What a pass touches per non-zero, in bytes.

    ``input_bytes`` at ``input_stride`` times its column; ``shift``: how far a pass moves the inputs on.
    ``weight_bytes`` of a non-zero's value and index, in order. ``output_bytes`` of a row, once; per non-zero where
    ``adds``. ``passes`` over all weights.
    """

    input_bytes: int
    input_stride: int
    shift: int
    weight_bytes: int
    output_bytes: int
    adds: bool
    passes: int


@njit(cache=True)  # type: ignore[untyped-decorator]
def _touch(tags: Any, sets: int, ways: int, line: int) -> bool:
    """Whether a set holds ``line``, which becomes its youngest; the oldest leaves."""
    base = line % sets * ways
    place = 0
    while place < ways - 1 and tags[base + place] != line:
        place += 1
    found: bool = tags[base + place] == line
    while place > 0:
        tags[base + place] = tags[base + place - 1]
        place -= 1
    tags[base] = line
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def _level(first: Any, second: Any, last: Any, sets: Any, ways: int, line: int) -> int:
    """The level that ``line`` is found in; it is then in all levels above too."""
    found = 3
    hit = _touch(first, sets[0], ways, line)
    if hit:
        return 0
    if sets[1] and _touch(second, sets[1], ways, line):
        found = 1
    elif sets[2] and _touch(last, sets[2], ways, line):
        found = 2
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def _walk(pointers: Any, columns: Any, threads: int, shape: Any, access: Any, passes: int, counts: Any) -> None:
    """Lines by pass, kind (inputs, weights, outputs) and level, of all threads one after another.

    A thread has an equal share of the rows and private first and second levels.
    """
    sets, ways, line_bytes = shape[:3], shape[3], shape[4]
    last = np.full(max(1, sets[2]) * ways, -1, np.int64)
    rows = pointers.size - 1
    for thread in range(threads):
        first = np.full(max(1, sets[0]) * ways, -1, np.int64)
        second = np.full(max(1, sets[1]) * ways, -1, np.int64)
        for number in range(passes):
            shift = number * access[2]
            begin, end = thread * rows // threads, (thread + 1) * rows // threads
            newest = np.int64(-1)
            for row in range(begin, end):
                for i in range(pointers[row], pointers[row + 1]):
                    at = WEIGHTS_AT + i * access[3]
                    stop = (at + access[3] - 1) // line_bytes
                    for line in range(at // line_bytes, stop + 1):
                        if line != newest:
                            counts[number, 1, _level(first, second, last, sets, ways, line)] += 1
                            newest = np.int64(line)
                    at = columns[i] * access[1] + shift
                    stop = (at + access[0] - 1) // line_bytes
                    for line in range(at // line_bytes, stop + 1):
                        counts[number, 0, _level(first, second, last, sets, ways, line)] += 1
                    if access[5]:
                        _touch_outputs(row, access, first, second, last, sets, ways, line_bytes, counts[number, 2])
                if not access[5]:
                    _touch_outputs(row, access, first, second, last, sets, ways, line_bytes, counts[number, 2])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _touch_outputs(
    row: int, access: Any, first: Any, second: Any, last: Any, sets: Any, ways: int, line_bytes: int, counts: Any
) -> None:
    at = OUTPUTS_AT + row * access[4]
    for line in range(at // line_bytes, (at + access[4] - 1) // line_bytes + 1):
        counts[_level(first, second, last, sets, ways, line)] += 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def _row_ends(pointers: Any, lanes: int, predicted: int) -> tuple[int, int, int]:
    """Vector steps and scalar rest of all rows, and loop exits that the lengths of the rows do not foretell.

    An exit is foretold when the loop has as many steps as that of the row before, and at most ``predicted``.
    """
    steps = rest = missed = 0
    before = np.int64(-1)
    for row in range(pointers.size - 1):
        length = pointers[row + 1] - pointers[row]
        trips = length // lanes
        steps += trips
        rest += length % lanes
        if trips != before or trips > predicted:
            missed += 1
        before = np.int64(trips)
    return steps, rest, missed


def cache_walk(
    pointers: Ints, columns: NDArray[Any], threads: int, shape: CacheShape, access: LoopAccess, warm: bool = False
) -> Ints:
    """Lines (kind, level) that ``access.passes`` passes over CSR weights touch.

    Kinds: inputs, weights, outputs. Levels: the three caches and the memory. At most two passes are walked, the first
    with cold caches; further ones count as the second, of which all are alike but for where their inputs lie. ``warm``:
    so does the first, as after an earlier call.
    """
    walked = 2 if warm else min(2, access.passes)
    counts = np.zeros((walked, 3, LEVELS), np.int64)
    _walk(pointers, columns, threads, np.array(shape, np.int64), np.array(access, np.int64), walked, counts)
    first: Ints = counts[-1] if warm else counts[0]
    return np.asarray(first + (access.passes - 1) * counts[-1])


def row_ends(pointers: Ints, lanes: int, predicted: int) -> tuple[int, int, int]:
    """Vector steps and scalar rest of the rows of CSR weights, and exits of their loops that are not foretold."""
    return tuple(map(int, _row_ends(pointers, lanes, predicted)))  # type: ignore[return-value]
