# SPDX-License-Identifier: Apache-2.0
"""Cycle core of systolic arrays with scratchpads: walks the folds of a plan, piece by piece of what streams."""

from __future__ import annotations

from typing import Any

from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.folds.dma import OUTPUT, fetch, release, transfer

LOAD, STREAM, OPENS, TURN, STILL_BITS, FIRST_BITS, SECOND_BITS, WRITE_BITS = range(8)
"""Columns of a plan. ``LOAD``: cycles of a stationary load; ``STREAM``: steps of the stream; ``OPENS``: a new tile of
results begins; ``TURN``: the outer loop goes on; then the bits to be read of the stationary operand and of the
streamed ones (0: they are on chip), and those of finished results."""
START, END, STALL = range(3)
"""Columns of the walked folds: first cycle (of the load, if any), cycle past the last, cycles the array waited."""
STREAMED, WHOLE, TURNS = range(3)
"""How an operand lies in its buffer: block by block, all of it, or that of one turn of the outer loop."""


@njit(cache=True)  # type: ignore[untyped-decorator]
def run_plan(
    state: Any, ticks: int, plan: Ints, operands: Ints, held: Ints, shape: tuple[int, int, int, float, int], folds: Ints
) -> tuple[int, int, int]:
    """Walk ``plan`` (folds, 8) with the DMA engine ``state`` of ``ticks`` a cycle.

    ``operands``: which one is stationary, streamed first, streamed second; ``held``: how each lies in its buffer.
    ``shape``: (steps loaded at once, cycles a step, fill cycles a fold, share of a load that hides, first cycle in
    which the array may start). Reads go out in the order of use; a tile's results are written behind the reads of the
    tile after it, and the tile after that one waits for them. Fills ``folds`` (folds, 3); returns (cycle past the
    last of the array, cycles waited, tick of the last write).
    """
    piece, interval, fill, overlap, now = shape
    previous = stalls = room = turn_before = turn_last = 0
    bits_before = end_before = bits_last = end_last = 0
    for fold in range(plan.shape[0]):
        row = plan[fold]
        if row[TURN]:
            turn_before, turn_last = turn_last, now
        if row[OPENS]:
            room = transfer(state, OUTPUT, bits_before, end_before * ticks) if bits_before else 0
            bits_before, end_before, bits_last = bits_last, end_last, 0
        turn = turn_before * ticks
        arrived = _read(state, operands[0], row[STILL_BITS], held[0], turn)
        hidden = min(int(overlap * row[LOAD]), previous)
        begin = max(now - hidden, -(-arrived // ticks))
        at = max(begin + row[LOAD], now)
        _used(state, operands[0], row[STILL_BITS], held[0], at * ticks)
        if row[OPENS]:
            at = max(at, -(-room // ticks))
        for first in range(0, row[STREAM], piece):
            size = min(piece, row[STREAM] - first)
            one = _share(row[FIRST_BITS], row[STREAM], first, size)
            two = _share(row[SECOND_BITS], row[STREAM], first, size)
            arrived = max(_read(state, operands[1], one, held[1], turn), _read(state, operands[2], two, held[2], turn))
            at = max(at, -(-arrived // ticks))
            begin = at if row[LOAD] + first == 0 else begin
            at += size * interval
            _used(state, operands[1], one, held[1], at * ticks)
            _used(state, operands[2], two, held[2], at * ticks)
        previous = row[STREAM] * interval + fill
        at += fill
        waited = at - now - (row[LOAD] - hidden + previous)
        folds[fold, START], folds[fold, END], folds[fold, STALL] = begin, at, waited
        now, stalls = at, stalls + waited
        if row[WRITE_BITS]:
            bits_last, end_last = bits_last + row[WRITE_BITS], now
    written = transfer(state, OUTPUT, bits_before, end_before * ticks) if bits_before else 0
    return now, stalls, max(written, transfer(state, OUTPUT, bits_last, end_last * ticks))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _share(total: int, whole: int, first: int, size: int) -> int:
    """Bits of ``size`` of ``whole`` steps; those of all steps add up to ``total``."""
    return total * (first + size) // whole - total * first // whole


@njit(cache=True)  # type: ignore[untyped-decorator]
def _read(state: Any, operand: int, bits: int, held: int, turn: int) -> int:
    """Tick at which ``bits`` are on chip; those that stay take the half that the turn before the last one freed."""
    if bits == 0:
        return 0
    if held == STREAMED:
        return int(fetch(state, operand, bits, 0))
    return int(transfer(state, operand, bits, turn if held == TURNS else 0))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _used(state: Any, operand: int, bits: int, held: int, tick: int) -> None:
    if bits and held == STREAMED:
        release(state, operand, tick)
