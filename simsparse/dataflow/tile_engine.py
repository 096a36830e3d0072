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
from simsparse.dataflow.pattern import Columns, Pattern

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


def slabs(weights: Pattern) -> Ints:
    """Instructions (1, 2 or 4; 0 where all are zeros) of each tile of 16 rows and 128 columns: (row tiles, slabs).

    The fullest group of 4 of the tile decides.
    """
    n, k = weights.shape
    fullest = _fullest_groups(weights.pointers, weights.columns, TILE, SLAB, ceil_div(n, TILE), ceil_div(k, SLAB))
    return _as_instructions(fullest)


def row_windows(weights: Pattern, window: int) -> Ints:
    """N of 4 (1, 2 or 4; 0 where all are zeros) that covers each row in each ``window`` of k: (rows, windows)."""
    n, k = weights.shape
    fullest = _fullest_groups(weights.pointers, weights.columns, 1, window, n, ceil_div(k, window))
    return _as_instructions(fullest)


def run_tiles(counts: Ints, tokens: int, k: int, engine: TileEngine, indexed: bool) -> TileRun:
    """Run tiles of ``counts`` (row tiles, slabs) instructions on ``tokens`` inputs.

    A last slab that is shorter takes a share of its instructions. ``indexed``: each tile of weights brings its indexes.
    """
    last = ceil_div((k - 1) % SLAB + 1, VALUES // TILE)
    short = counts.copy()
    short[:, -1] = ceil_div(counts[:, -1] * last, SLAB * TILE // VALUES)
    smallest = int(counts[counts > 0].min(initial=4))
    width = 4 // smallest
    rows, cols = engine.blocking(width)
    weight_load = math.ceil((REGISTER_BYTES + (INDEX_BYTES if indexed else 0)) / engine.load_bytes)
    input_load = math.ceil(REGISTER_BYTES / engine.load_bytes)
    found = _walk(
        short, ceil_div(tokens, TILE), last, rows, cols, engine.rows, TILE, engine.ready,
        engine.first_result + TILE + engine.cols - 1, weight_load, input_load,
    )  # fmt: skip
    cycles, instructions, loads, for_loads, for_results, for_weights = (int(value) for value in found)
    waited = {"load": for_loads, "latency": for_results, "fill": for_weights}
    return TileRun(cycles, instructions, loads * REGISTER_BYTES + instructions * INDEX_BYTES * indexed, waited)


def _as_instructions(fullest: Ints) -> Ints:
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


@njit(cache=True)  # type: ignore[untyped-decorator]
def _walk(
    counts: Ints, token_tiles: int, last: int, block_rows: int, block_cols: int, pe_rows: int, feed: int, ready: int,
    drained: int, weight_load: int, input_load: int,
) -> tuple[int, int, int, int, int, int]:  # fmt: skip
    """Instruction by instruction, in order; loads run ahead of the engine by at most one slab.

    An instruction feeds ``feed`` cycles once its operands are there, its outputs' last instruction is ``ready``, its
    weights are in (``pe_rows`` cycles beside the feed before, none where they are in already) and the one before has
    fed. Results are stored ``drained`` cycles after the first token.
    """
    row_tiles, slab_count = counts.shape
    load_free = fed = 0
    instructions = loads = for_loads = for_results = for_weights = 0
    weights_in = weights_free = fed_before = 0
    for top in range(0, row_tiles, block_rows):
        for left in range(0, token_tiles, block_cols):
            rows, cols = min(block_rows, row_tiles - top), min(block_cols, token_tiles - left)
            usable = np.zeros((rows, cols), np.int64)
            for i in range(rows):
                for j in range(cols):
                    load_free += input_load
                    loads += 1
                    usable[i, j] = load_free
            for slab in range(slab_count):
                most = 0
                for i in range(rows):
                    most = max(most, counts[top + i, slab])
                if most == 0:
                    continue
                load_free = max(load_free, fed_before)
                fed_before = fed
                pieces = last if slab == slab_count - 1 else 4
                load_free += pieces * cols * input_load
                loads += pieces * cols
                inputs_in = load_free
                for piece in range(most):
                    for i in range(rows):
                        if piece >= counts[top + i, slab]:
                            continue
                        load_free += weight_load
                        loads += 1
                        weights_in = max(load_free, weights_free) + pe_rows
                        for j in range(cols):
                            arrived = max(inputs_in, load_free)
                            start = max(fed, arrived, usable[i, j], weights_in)
                            late = start - fed
                            by_load = min(late, max(0, arrived - fed))
                            by_result = min(late - by_load, max(0, usable[i, j] - max(fed, arrived)))
                            for_loads, for_results = for_loads + by_load, for_results + by_result
                            for_weights += late - by_load - by_result
                            if j == 0:
                                weights_free = start
                            fed = start + feed
                            usable[i, j] = start + ready
                            instructions += 1
            load_free += rows * cols * input_load
            loads += rows * cols
    end = fed - feed + drained if instructions else load_free
    for_weights += end - fed if instructions else end
    return end, instructions, loads, for_loads, for_results, for_weights
