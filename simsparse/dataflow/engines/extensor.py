# SPDX-License-Identifier: Apache-2.0
"""ExTensor: intersection of sorted coordinates that skips ahead, tile by tile and then element by element."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.dealt import finish
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.typical import DRAWS, draws_of, mean_work, typical_part
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity

FEW, STEPS, JOBS = 24, 1 << 18, 1 << 12
"""Rows of a typical part, elements of all its pairs, and outputs whose order on the PEs is followed."""


class ExTensor(SparseEngine):
    """``rows`` x ``cols`` PEs, each of which intersects a row of inputs with a row of weights, an output at a time.

    Both rows are sorted coordinates, in tiles of ``tile``. The tiles that both rows have are found ahead of the PE;
    a tile that one row lacks costs nothing. Within a tile the unit compares the two heads each cycle: equal ones
    leave as a pair, which takes a multiplier for a cycle; else the smaller side jumps over up to ``skip`` coordinates
    that lie below the other's head. Outputs go in order to the PE that is free first. Operands are read again for
    every ``group`` rows of the other unless half their buffer holds all of them; results leave as they are made.

    The closed form intersects a few typical rows.

    A denser operand may be faster, when a coordinate more ends a jump where two heads meet sooner.
    Source: Hegde et al., ExTensor, MICRO 2019 (hierarchical intersection, skipping by the other side's head); the
    width of a jump is assumed. Left out: the network between PEs and buffers, partial outputs of tiled k.
    """

    name: ClassVar[str] = "extensor"
    settings: ClassVar[dict[str, str]] = {
        "tile": "elements of k in a tile of the upper level",
        "skip": "coordinates that a side passes over in a cycle",
        "group": "rows of an operand that the PEs' buffers share before the other operand is read again",
        "coordinate_bits": "bits of a coordinate beside each value",
    }
    tolerance: ClassVar[float] = 0.15
    denser_is_slower: ClassVar[bool] = False

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        shape = same_k(weights, inputs)
        pes = machine.rows * machine.cols
        slowest, steps, met = _outputs(
            inputs.pointers, inputs.columns, inputs.columns // machine.whole("tile"), weights.pointers,
            weights.columns, weights.columns // machine.whole("tile"), machine.whole("skip"), machine.macs, pes,
        )  # fmt: skip
        macs = effectual_macs(weights, inputs)
        return _work(slowest, steps, met, shape, (weights.nnz, inputs.nnz), macs, machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        kept_w, kept_x = weights.nonzeros(n, k), inputs.nonzeros(m, k)
        macs, pes = products(shape, weights, inputs), machine.rows * machine.cols
        works: list[Work] = []
        few = max(4, min(FEW, round((STEPS / k) ** 0.5)))
        for draw in draws_of(works, min(m, few) * min(n, few), k):
            x, w = _spread(inputs, m, k, DRAWS + draw, few), _spread(weights, n, k, draw, few)
            took, met = _pairs(
                x.pointers, x.columns, x.columns // machine.whole("tile"), w.pointers, w.columns,
                w.columns // machine.whole("tile"), machine.whole("skip"), machine.macs,
            )  # fmt: skip
            jobs = np.resize(took, min(m * n, JOBS))
            total = took.mean() * m * n
            slowest = max(-(-total // pes), total / pes + finish(jobs, pes) - jobs.sum() / pes)
            works.append(
                _work(round(slowest), round(total), round(met * m * n), shape, (kept_w, kept_x), macs, machine)
            )
        return mean_work(works)


def _spread(sparsity: Sparsity, rows: int, k: int, draw: int, few: int) -> NonZeros:
    """``few`` rows of a drawn part, far from each other."""
    part = typical_part(sparsity, rows, k, draw)
    count = min(few, part.shape[0])
    return part.taken(np.arange(count) * part.shape[0] // count)


def _work(
    slowest: int, steps: int, met: int, shape: tuple[int, int, int], kept: tuple[int, int], macs: int, machine: PeConfig
) -> Work:
    m, n, _ = shape
    bits = machine.value_bits + machine.whole("coordinate_bits")
    group = machine.whole("group")
    weights, inputs = (-(-values * bits // 8) for values in kept)
    weights_again = weights if weights <= machine.buffers.weight // 2 else weights * -(-m // group)
    inputs_again = inputs if inputs <= machine.buffers.input // 2 else inputs * -(-n // group)
    read = min(weights_again + inputs, inputs_again + weights)
    write = -(-m * n * machine.output_bits // 8)
    pes = machine.rows * machine.cols
    even = -(-macs // machine.peak_macs)
    spread = max(even, -(-steps // pes))
    first = cycles_of((inputs + weights) / max(1, m * n), machine.dram_bytes)
    dram = max(first, cycles_of(read + write, machine.dram_bytes) - slowest)
    causes = {"compute": even, "intersection": spread - even, "imbalance": slowest - spread, "dram": dram}
    sram = read + write + -(-(m * kept[0] + n * kept[1]) * bits // 8)
    return Work(slowest + dram, macs, causes, read, write, sram, {"comparisons": steps, "matches": met})


@njit(cache=True)  # type: ignore[untyped-decorator]
def _outputs(
    x_pointers: Ints, x: Columns, x_tiles: Columns, w_pointers: Ints, w: Columns, w_tiles: Columns,
    skip: int, macs: int, pes: int,
) -> tuple[int, int, int]:  # fmt: skip
    """(cycles of the PE that ends last, cycles of all outputs, matches)."""
    free = np.zeros(pes, np.int64)
    steps, met = 0, 0
    for i in range(x_pointers.size - 1):
        for j in range(w_pointers.size - 1):
            took, found = _intersection(
                x, x_tiles, x_pointers[i], x_pointers[i + 1], w, w_tiles, w_pointers[j], w_pointers[j + 1], skip, macs
            )
            free[free.argmin()] += took
            steps, met = steps + took, met + found
    return free.max(), steps, met


@njit(cache=True)  # type: ignore[untyped-decorator]
def _pairs(
    x_pointers: Ints, x: Columns, x_tiles: Columns, w_pointers: Ints, w: Columns, w_tiles: Columns, skip: int, macs: int
) -> tuple[Ints, float]:  # fmt: skip
    """(cycles of every pair of rows, mean matches)."""
    took, met = np.zeros((x_pointers.size - 1) * (w_pointers.size - 1), np.int64), 0
    for i in range(x_pointers.size - 1):
        for j in range(w_pointers.size - 1):
            cycles, found = _intersection(
                x, x_tiles, x_pointers[i], x_pointers[i + 1], w, w_tiles, w_pointers[j], w_pointers[j + 1], skip, macs
            )
            took[i * (w_pointers.size - 1) + j], met = cycles, met + found
    return took, met / took.size


@njit(cache=True)  # type: ignore[untyped-decorator]
def _intersection(
    a: Columns, a_tiles: Columns, at_a: int, end_a: int, b: Columns, b_tiles: Columns, at_b: int, end_b: int,
    skip: int, macs: int,
) -> tuple[int, int]:  # fmt: skip
    """(cycles, at least one; matches) of two runs of ascending coordinates and the tiles that these lie in."""
    cycles, found, held = 0, 0, 0
    while at_a < end_a and at_b < end_b:
        head_a, head_b = a[at_a], b[at_b]
        if head_a == head_b:
            at_a, at_b, found, held = at_a + 1, at_b + 1, found + 1, held + 1
            if held == macs:
                cycles, held = cycles + 1, 0
            continue
        if held:
            cycles, held = cycles + 1, 0
        tile_a, tile_b = a_tiles[at_a], b_tiles[at_b]
        if tile_a < tile_b:
            while at_a < end_a and a_tiles[at_a] < tile_b:
                at_a += 1
        elif tile_b < tile_a:
            while at_b < end_b and b_tiles[at_b] < tile_a:
                at_b += 1
        elif head_a < head_b:
            last = min(end_a, at_a + skip)
            while at_a < last and a[at_a] < head_b:
                at_a += 1
            cycles += 1
        else:
            last = min(end_b, at_b + skip)
            while at_b < last and b[at_b] < head_a:
                at_b += 1
            cycles += 1
    return max(1, cycles + (held > 0)), found


ENGINES.register("extensor")(ExTensor())
