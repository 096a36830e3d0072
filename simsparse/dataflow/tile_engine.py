# SPDX-License-Identifier: Apache-2.0
"""Cycles of a CPU's matrix engine that runs tile instructions on a few tile registers, dense or N:4.

A tile instruction multiplies 16 rows of weights by 16 tokens. A register holds 512 weights: 32 of each row dense, and
64 or 128 columns of k where 2 or 1 of 4 are kept, so a slab of 128 columns takes 4, 2 or 1 instructions (its N).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.sparsity.nonzeros import Columns, NonZeros

TILE, GROUP, SLAB, VALUES = 16, 4, 128, 512
"""Rows and tokens of a tile; M; columns of k of four dense registers; weights a register holds."""
REGISTER_BYTES, INDEX_BYTES = 1024, 128
"""A tile register, and the 2-bit indexes of its weights."""


@dataclass(frozen=True)
class TileEngine:
    """``rows`` x ``cols`` PEs; ``lanes`` products are added in a PE's tree; ``registers`` tiles.

    ``forwarding``: results of an instruction go straight back in at the top for the next one on the same outputs.
    ``load_bytes`` come from the cache a cycle.
    """

    rows: int
    cols: int
    lanes: int
    registers: int
    forwarding: bool
    load_bytes: float

    @property
    def first_result(self) -> int:
        """Cycles from the first token in to its result out: down the rows and through the adder tree."""
        return self.rows - 1 + max(1, math.ceil(math.log2(self.lanes)) if self.lanes > 1 else 1)

    @property
    def ready(self) -> int:
        """Cycles from the first token in until the next instruction on the same outputs may start."""
        return self.first_result if self.forwarding else self.first_result + TILE + self.cols - 1

    def blocking(self, width: int) -> tuple[int, int]:
        """(row tiles, token tiles) whose outputs stay in registers, inputs ``width`` registers wide: fewest loads."""
        fits = [
            (i, j)
            for i in range(1, self.registers) for j in range(1, self.registers)
            if i * j + j * width + 1 <= self.registers
        ]  # fmt: skip
        return min(
            fits, key=lambda block: ((block[1] * width + block[0]) / (block[0] * block[1]), -block[0] * block[1])
        )


@dataclass(frozen=True)
class TileRun:
    """Cycles of all instructions, their number, bytes loaded and stored, cycles that each cause held up the engine."""

    cycles: int
    instructions: int
    moved: int
    waited: dict[str, int]


def slabs(weights: NonZeros) -> Ints:
    """Instructions (1, 2 or 4; 0 where all are zeros) of each tile of 16 rows and 128 columns: (row tiles, slabs).

    The fullest group of 4 of the tile decides.
    """
    n, k = weights.shape
    fullest = _fullest_groups(weights.pointers, weights.columns, TILE, SLAB, ceil_div(n, TILE), ceil_div(k, SLAB))
    return as_instructions(fullest)


def row_windows(weights: NonZeros, window: int) -> Ints:
    """N of 4 (1, 2 or 4; 0 where all are zeros) that covers each row in each ``window`` of k: (rows, windows)."""
    n, k = weights.shape
    fullest = _fullest_groups(weights.pointers, weights.columns, 1, window, n, ceil_div(k, window))
    return as_instructions(fullest)


def run_tiles(counts: Ints, tokens: int, k: int, engine: TileEngine, indexed: bool) -> TileRun:
    """Run tiles of ``counts`` (row tiles, slabs) instructions on ``tokens`` inputs.

    A last slab that is shorter takes a share of its instructions. ``indexed``: each tile of weights brings its indexes.
    """
    last = ceil_div((k - 1) % SLAB + 1, VALUES // TILE)
    short = counts.copy()
    short[:, -1] = ceil_div(counts[:, -1] * last, SLAB * TILE // VALUES)
    smallest = int(counts[counts > 0].min(initial=4))
    width = 4 // smallest
    weight_load = math.ceil((REGISTER_BYTES + (INDEX_BYTES if indexed else 0)) / engine.load_bytes)
    input_load = math.ceil(REGISTER_BYTES / engine.load_bytes)
    state = _slab_cycles(
        short, ceil_div(tokens, TILE), last, engine.blocking(width), engine.rows, engine.ready,
        engine.first_result + TILE + engine.cols - 1, (weight_load, input_load),
    )  # fmt: skip
    instructions, loads = int(state[INSTRUCTIONS]), int(state[LOADS])
    waited = {"load": state[FOR_LOADS], "latency": state[FOR_RESULTS], "fill": state[FOR_WEIGHTS]}
    moved = loads * REGISTER_BYTES + instructions * INDEX_BYTES * indexed
    return TileRun(int(state[FED]), instructions, moved, {cause: int(cycles) for cause, cycles in waited.items()})


def as_instructions(fullest: Ints) -> Ints:
    """Instructions of tiles by the weights of their fullest group of 4."""
    return np.asarray(np.array([0, 1, 2, 4, 4], np.int64)[fullest])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _fullest_groups(pointers: Ints, columns: Columns, rows: int, span: int, blocks: int, spans: int) -> Ints:
    """Weights of the fullest group of 4 in each tile of ``rows`` x ``span``."""
    found = np.zeros((blocks, spans), np.int64)
    for row in range(pointers.size - 1):
        block, at = row // rows, pointers[row]
        while at < pointers[row + 1]:
            where, count = columns[at] // 4, 0
            while at < pointers[row + 1] and columns[at] // 4 == where:
                count, at = count + 1, at + 1
            slab = where * 4 // span
            found[block, slab] = max(found[block, slab], count)
    return found


LOADED, FED, SLAB_FED, SWAPPED, INSTRUCTIONS, LOADS, FOR_LOADS, FOR_RESULTS, FOR_WEIGHTS = range(9)
"""State of a walk: cycles until the loads and the engine are busy, until which it was when the slab before began and
when its weights were last swapped; counts; cycles that each cause held the engine up."""


@njit(cache=True)  # type: ignore[untyped-decorator]
def _slab_cycles(
    counts: Ints, token_tiles: int, last: int, block: tuple[int, int], pe_rows: int, ready: int, drained: int,
    loads: tuple[int, int],
) -> Ints:  # fmt: skip
    """Instruction by instruction, in order; ``loads`` (cycles of a tile of weights, of inputs) run ahead of the engine
    by at most one slab. Results are stored ``drained`` cycles after their first token.
    """
    row_tiles, slab_count = counts.shape
    state = np.zeros(9, np.int64)
    for top in range(0, row_tiles, block[0]):
        for left in range(0, token_tiles, block[1]):
            rows, cols = min(block[0], row_tiles - top), min(block[1], token_tiles - left)
            usable = state[LOADED] + loads[1] * (1 + np.arange(rows * cols)).reshape(rows, cols)
            _load(state, rows * cols, loads[1])
            for slab in range(slab_count):
                pieces = last if slab == slab_count - 1 else SLAB * TILE // VALUES
                _run_slab(state, usable, counts[top : top + rows, slab], pieces, pe_rows, ready, loads)
            _load(state, rows * cols, loads[1])
    end = state[FED] - TILE + drained if state[INSTRUCTIONS] else state[LOADED]
    state[FOR_WEIGHTS] += end - state[FED]
    state[FED] = end
    return state


@njit(cache=True)  # type: ignore[untyped-decorator]
def _load(state: Ints, tiles: int, cycles: int) -> None:
    state[LOADED] += tiles * cycles
    state[LOADS] += tiles


@njit(cache=True)  # type: ignore[untyped-decorator]
def _run_slab(
    state: Ints, usable: Ints, counts: Ints, pieces: int, pe_rows: int, ready: int, loads: tuple[int, int]
) -> None:
    """The instructions of one slab on the tiles (rows, cols) whose outputs may be used again from ``usable`` on."""
    rows, cols = usable.shape
    if counts.max() == 0:
        return
    state[LOADED] = max(state[LOADED], state[SLAB_FED])
    state[SLAB_FED] = state[FED]
    _load(state, pieces * cols, loads[1])
    for piece in range(counts.max()):
        for i in range(rows):
            if piece < counts[i]:
                _load(state, 1, loads[0])
                weights_in = max(state[LOADED], state[SWAPPED]) + pe_rows
                for j in range(cols):
                    start = _issue(state, usable[i, j], weights_in)
                    usable[i, j] = start + ready
                    if j == 0:
                        state[SWAPPED] = start


@njit(cache=True)  # type: ignore[untyped-decorator]
def _issue(state: Ints, usable: int, weights_in: int) -> int:
    """Cycle in which an instruction starts to feed: once its operands are there, its outputs are usable, its weights
    are in and the one before has fed."""
    start: int = max(state[FED], state[LOADED], usable, weights_in)
    by_load = max(0, state[LOADED] - state[FED])
    by_result = max(0, usable - max(state[FED], state[LOADED]))
    state[FOR_LOADS] += by_load
    state[FOR_RESULTS] += by_result
    state[FOR_WEIGHTS] += start - state[FED] - by_load - by_result
    state[FED] = start + TILE
    state[INSTRUCTIONS] += 1
    return start
