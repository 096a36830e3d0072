# SPDX-License-Identifier: Apache-2.0
"""The double-buffered scratchpads of SCALE-Sim 3.0.0, line by line, so that differences from ours can be told apart.

Its read buffers are windows that slide round a stream of the whole operand, in sets of a hundredth of the buffer; a
miss slides the window by half a buffer until the element is in it. Its results are all written out, partial sums
included. ``Changes`` undo, one by one, what sets this apart from a double buffer as it is built.
Source: read off the released package's memory/ and compute/ folders; equal to its runs, see tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, ceil_div

START, LAST, ACTIVE, AHEAD, SETS, REQUEST, WORDS, READS, STAYS, BEHIND = range(10)
FREE, DRAINED, HEAD, TAIL, FILLED, WRITTEN = range(6)


@dataclass(frozen=True)
class ScaleSimRun:
    """What its reports say of a layer, in their terms: cycles are indexes of last cycles, reads include padding."""

    cycles_with_prefetch: int
    cycles: int
    stalls: int
    dram_input_reads: int
    dram_weight_reads: int
    dram_output_writes: int


@dataclass(frozen=True)
class ScaleSimSetup:
    """A GEMM on an array: words (of a byte) in each buffer, and words a cycle of each buffer's own channel."""

    dataflow: str
    rows: int
    cols: int
    m: int
    n: int
    k: int
    buffer_words: tuple[int, int, int]
    words_a_cycle: tuple[int, int, int]


@dataclass(frozen=True)
class Changes:
    """What to do otherwise than the release.

    ``counted_once``: a wait counts once, and none is negative (the release adds it twice, and takes off the time by
    which an earlier prefetch was early). ``halves_stay``: the half before the active one can still be read (in the
    release an element just behind the window costs a way round the whole operand). ``results_once``: finished
    results are written, not the partial sums of every fold of k.
    """

    counted_once: bool = False
    halves_stay: bool = False
    results_once: bool = False


RELEASE = Changes()


def scalesim_run(setup: ScaleSimSetup, changes: Changes = RELEASE) -> ScaleSimRun:
    """What SCALE-Sim 3.0.0 reports in its USER bandwidth mode for a GEMM; with ``changes``, what it then would."""
    still, moving = _streams(setup)
    read, write = setup.words_a_cycle[:2], setup.words_a_cycle[2]
    order = (1, 0) if setup.dataflow == "ws" else (0, 1)
    buffers = np.zeros((2, 10), np.int64)
    prefetched = [0, 0]
    for slot, (sets, padded) in enumerate((still, moving)):
        operand = order[slot]
        prefetched[slot] = _open(buffers[slot], sets, padded, setup.buffer_words[operand], read[operand])
        buffers[slot, STAYS] = buffers[slot, AHEAD] * changes.halves_stay
    flow = {"ws": setup.m, "is": setup.n, "os": setup.k}[setup.dataflow]
    shape = (setup.rows, setup.cols, flow, setup.dataflow == "os", changes.counted_once)
    total, stalls, stop, written = _run_cycles(
        buffers, still[0], moving[0], shape, changes.results_once, setup.buffer_words[2], write
    )
    reads = {order[slot]: int(buffers[slot, READS]) for slot in range(2)}
    return ScaleSimRun(int(stop) + max(prefetched), int(total), int(stalls), reads[0], reads[1], int(written))


def _streams(setup: ScaleSimSetup) -> tuple[tuple[Ints, int], tuple[Ints, int]]:
    """(set of each element, padded elements) of the stationary or first and of the moving or second operand."""
    m, n, k, rows, cols = setup.m, setup.n, setup.k, setup.rows, setup.cols
    words = setup.buffer_words
    if setup.dataflow == "ws":
        return _sets(k, n, cols, words[1], False), _sets(m, k, rows, words[0], True)
    if setup.dataflow == "is":
        return _sets(k, m, cols, words[0], False), _sets(n, k, rows, words[1], True)
    return _sets(k, m, rows, words[0], True), _sets(k, n, cols, words[1], True)


def _sets(height: int, width: int, tile: int, words: int, diagonal: bool) -> tuple[Ints, int]:
    """Set of each element of a (height, width) operand fetched in tiles of columns, one below the other."""
    r, c = np.divmod(np.arange(height * width), width)
    row, col = c // tile * height + r, c % tile
    order = np.lexsort((-row, row + col)) if diagonal else np.lexsort((col, row))
    sets = np.empty(height * width, np.int64)
    sets[order] = np.arange(height * width) // -(-words // 100)
    return sets.reshape(height, width), int(ceil_div(width, tile)) * tile * height


def _open(buffer: Ints, sets: Ints, padded: int, words: int, rate: int) -> int:
    """Fill the active half; returns the cycles that it takes."""
    each, active = -(-words // 100), -(-words // 2)
    count = sets.size // each + 1
    lines = min(-(-active // rate), -(-padded // rate))
    buffer[ACTIVE] = min(-(-active // each), count)
    buffer[AHEAD] = min(-(-(words - active) // each), count - buffer[ACTIVE])
    buffer[LAST], buffer[SETS], buffer[REQUEST] = -1, count, -(-(words - active) // rate)
    buffer[READS], buffer[WORDS] = lines * rate, buffer[REQUEST] * rate
    return lines


@njit(cache=True)  # type: ignore[untyped-decorator]
def _run_cycles(
    buffers: Ints, still: Ints, moving: Ints, shape: tuple[int, int, int, bool, bool], once: bool, words: int, rate: int
) -> tuple[int, int, int, int]:
    """(last cycle, stalls, last cycle of a write, words written)."""
    rows, cols, flow, both_move, wait_once = shape
    row_tiles = -(-still.shape[1 if both_move else 0] // rows)
    col_tiles = -(-(moving if both_move else still).shape[1] // cols)
    lines = flow + rows + cols - 2 + (0 if both_move else rows)
    drain = np.zeros(6, np.int64)
    drain[FREE] = words
    counts = np.zeros(col_tiles * row_tiles * lines * cols + 1, np.int64)
    stalls = total = at = 0
    for line in range(col_tiles * row_tiles * lines):
        fold, i = divmod(line, lines)
        place = (fold % row_tiles * rows, fold // row_tiles * cols, i)
        cycle = line + stalls
        if both_move:
            waits, writes = _streaming_line(buffers, still, moving, place, rows, cols, flow, cycle, wait_once)
        else:
            waits, writes = _stationary_line(buffers, still, moving, place, rows, cols, flow, cycle, wait_once)
            writes = 0 if once and fold % row_tiles < row_tiles - 1 else writes
        at = cycle + _write(drain, counts, writes, cycle, words, rate)
        stalls += max(waits, at - cycle)
        total = max(total, at)
    _flush(drain, counts)
    stop = 0
    while drain[HEAD] < drain[TAIL]:
        stop = _drain(drain, counts, at, words, rate)
        at = stop + 1
    return total, stalls, max(stop, int(drain[DRAINED])), int(drain[WRITTEN])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _stationary_line(
    buffers: Ints, still: Ints, moving: Ints, place: tuple[int, int, int], rows: int, cols: int, flow: int,
    cycle: int, once: bool,
) -> tuple[int, int]:  # fmt: skip
    """(cycles that reads wait, results) of line i of a fold: a load from the last row up, then a skewed stream."""
    top, left, i = place
    first, writes = 1, 0
    width = min(cols, still.shape[1] - left)
    if i < rows and top + rows - 1 - i < still.shape[0]:
        for c in range(width):
            first = _hit(buffers[0], still[top + rows - 1 - i, left + c], cycle, first, once)
    second = _skewed(buffers[1], moving, i - rows, top, min(rows, still.shape[0] - top), flow, cycle, once)
    for c in range(width):
        writes += 0 <= i - c - 2 * rows + 1 < flow
    return max(first, second) - 1, writes


@njit(cache=True)  # type: ignore[untyped-decorator]
def _streaming_line(
    buffers: Ints, still: Ints, moving: Ints, place: tuple[int, int, int], rows: int, cols: int, flow: int,
    cycle: int, once: bool,
) -> tuple[int, int]:  # fmt: skip
    """(cycles that reads wait, results) of line i of an output-stationary fold: two skewed streams, then results."""
    top, left, i = place
    height, width = min(rows, still.shape[1] - top), min(cols, moving.shape[1] - left)
    first = _skewed(buffers[0], still, i, top, height, flow, cycle, once)
    second = _skewed(buffers[1], moving, i, left, width, flow, cycle, once)
    writes = 0
    for c in range(width):
        writes += 0 <= rows - 1 - (i - c - flow + 1) < height
    return max(first, second) - 1, writes


@njit(cache=True)  # type: ignore[untyped-decorator]
def _skewed(
    buffer: Ints, operand: Ints, line: int, first: int, lanes: int, flow: int, cycle: int, once: bool
) -> int:  # fmt: skip
    """Cycles that a line's requests take: lane j reads column ``first + j`` of ``operand``, j lines after lane 0."""
    taken = 1
    for lane in range(lanes):
        if 0 <= line - lane < flow:
            taken = _hit(buffer, operand[line - lane, first + lane], cycle, taken, once)
    return taken


@njit(cache=True)  # type: ignore[untyped-decorator]
def _hit(buffer: Ints, wanted: int, cycle: int, offset: int, once: bool) -> int:
    """Slide the window until ``wanted`` is in it; returns the cycles that the request has taken so far."""
    while (wanted - buffer[START] + buffer[BEHIND]) % buffer[SETS] >= buffer[ACTIVE] + buffer[BEHIND]:
        buffer[BEHIND] = buffer[STAYS]
        buffer[START] = (buffer[START] + buffer[AHEAD]) % buffer[SETS]
        buffer[LAST] += buffer[REQUEST] + 1
        buffer[READS] += buffer[WORDS]
        wait = buffer[LAST] - (cycle + offset)
        if once:
            offset += max(0, wait)
        else:
            offset += wait + max(0, wait)
    return offset


@njit(cache=True)  # type: ignore[untyped-decorator]
def _write(drain: Ints, counts: Ints, writes: int, cycle: int, words: int, rate: int) -> int:
    """Take ``writes`` results of a line; returns the cycles waited for room."""
    now = cycle
    for _ in range(writes):
        drain[FREE] -= 1
        drain[FILLED] += 1
        if drain[FILLED] == rate:
            _flush(drain, counts)
        if now < drain[DRAINED]:
            if drain[FREE] <= 0:
                now = drain[DRAINED]
        elif drain[FREE] < -(-words // 2):
            _flush(drain, counts)
            drain[DRAINED] = _drain(drain, counts, now, words, rate)
    return now - cycle


@njit(cache=True)  # type: ignore[untyped-decorator]
def _flush(drain: Ints, counts: Ints) -> None:
    """Close the line being filled."""
    if drain[FILLED]:
        counts[drain[TAIL]] = drain[FILLED]
        drain[TAIL] += 1
        drain[FILLED] = 0


@njit(cache=True)  # type: ignore[untyped-decorator]
def _drain(drain: Ints, counts: Ints, cycle: int, words: int, rate: int) -> int:
    """Write out half a buffer of lines; all but the last of them are taken for full. Returns the last cycle."""
    end = min(drain[HEAD] + -(-(words // 2) // rate), drain[TAIL])
    lines = end - drain[HEAD]
    moved = lines * rate - (rate - counts[end - 1])
    drain[WRITTEN] += moved
    drain[FREE] += moved
    drain[HEAD] = end
    return int(cycle + lines - 1)
