# SPDX-License-Identifier: Apache-2.0
"""SCNN: every PE multiplies all pairs of a few inputs and a few weights of one channel, and scatters the products."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import (
    ENGINES,
    PeConfig,
    SparseEngine,
    Work,
    cycles_of,
    double_buffered,
    even_shares,
    same_k,
)
from simsparse.dataflow.typical import DRAWS, SAMPLE, draws_of, mean_work, repeated, typical_part
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity

Floats = NDArray[np.float64]


class Scnn(SparseEngine):
    """Planar tiles stay at the PEs, weights are broadcast by groups of outputs, products meet in accumulator banks.

    Neighbouring rows of inputs form the tile of one of ``rows`` x ``cols`` PEs. As many outputs as a PE's
    ``accumulators`` hold for its tile form a group. For each k of a group, a PE multiplies its inputs' non-zeros by
    the group's weights', ``vector`` weights by ``macs`` / ``vector`` inputs a cycle, however full these vectors are.
    A product goes to bank (output x tile + row) mod ``banks``, which adds one a cycle; a PE waits when more than
    ``queue`` products lie before a bank. All PEs wait for the last one before the next group. Inputs are read once;
    weights once for each time that the inputs fill the PEs' memories; both compressed with run lengths.

    Another non-zero shifts its followers to other vectors and banks, so a denser operand may be slightly faster.
    Source: Parashar et al., SCNN, ISCA 2017 (dataflow PT-IS-CP-sparse); the places of sums in the banks are assumed.
    Left out: what a product of matrices does not show, filters wider than 1 x 1, which a PE slides over its tile
    without copies, and the halos of outputs that neighbours then exchange; also the drain of the accumulators, of
    which there are two sets, and zeros that long runs need. The closed form knows no bank conflicts.
    """

    name: ClassVar[str] = "scnn"
    settings: ClassVar[dict[str, str]] = {
        "vector": "weights that meet in a cycle at a PE",
        "accumulators": "sums that a PE holds",
        "banks": "banks of a PE's accumulators",
        "queue": "products that may wait before a bank",
        "run_bits": "bits of a run length beside each value",
    }
    tolerance: ClassVar[float] = 0.2
    denser_is_slower: ClassVar[bool] = False

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, _ = same_k(weights, inputs)
        tile, group = _tile(m, machine), _group(m, machine)
        banks, vector = machine.whole("banks"), machine.whole("vector")
        groups = _groups(
            inputs.transposed.pointers, inputs.transposed.columns, weights.transposed.pointers,
            weights.transposed.columns, np.arange(m) % tile % banks, np.arange(n) % group * tile % banks,
            tile, group, machine.rows * machine.cols, vector, _across(machine), banks, machine.whole("queue"),
        )  # fmt: skip
        return _work(groups, (m, n), (weights.nnz, inputs.nnz), effectual_macs(weights, inputs), machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        kept_w, kept_x = weights.nonzeros(n, k), inputs.nonzeros(m, k)
        tile, group, pes = _tile(m, machine), _group(m, machine), machine.rows * machine.cols
        count, banks = -(-n // group), machine.whole("banks")
        wide = min(k, max(1, SAMPLE // max(m, min(n, group))))
        works: list[Work] = []
        for draw in draws_of(works, max(m, n), k):
            x = typical_part(inputs, m, wide, DRAWS + draw, k).transposed
            part = typical_part(weights, n, wide, draw, k)
            part = repeated(part, min(n, -(-part.shape[0] // group) * group))
            w, rows, outputs = part.transposed, x.shape[1], part.shape[0]
            found = _groups(
                x.pointers, x.columns, w.pointers, w.columns, np.arange(rows) % tile % banks,
                np.arange(outputs) % group * tile % banks, tile, group, pes, machine.whole("vector"),
                _across(machine), banks, machine.whole("queue"),
            ).astype(np.float64)  # fmt: skip
            whole = found[np.append(np.arange(count - 1) % max(1, len(found) - 1), len(found) - 1)]
            mean = whole[:, 1] / pes
            longer = (k / wide) * (m / rows)
            whole[:, 0] = mean * longer + (whole[:, 0] - mean) * longer**0.5
            whole[:, 1:] *= longer
            groups = np.rint(whole).astype(np.int64)
            works.append(_work(groups, (m, n), (kept_w, kept_x), products(shape, weights, inputs), machine))
        return mean_work(works)


def _tile(m: int, machine: PeConfig) -> int:
    """Rows of inputs at a PE."""
    return -(-m // (machine.rows * machine.cols))


def _group(m: int, machine: PeConfig) -> int:
    """Outputs whose sums a PE holds for its tile."""
    return max(1, machine.whole("accumulators") // _tile(m, machine))


def _across(machine: PeConfig) -> int:
    """Inputs that meet ``vector`` weights in a cycle."""
    vector = machine.whole("vector")
    if machine.macs % vector:
        raise SpecError(f"{vector} does not divide {machine.macs} multipliers", key="engine.vector")
    return machine.macs // vector


def _work(groups: Ints, shape: tuple[int, int], kept: tuple[int, int], macs: int, machine: PeConfig) -> Work:
    """Of ``groups`` with (cycles of the last PE, cycles of all PEs, steps of all PEs)."""
    (m, n), pes = shape, machine.rows * machine.cols
    weights, inputs = (-(-values * (machine.value_bits + machine.whole("run_bits")) // 8) for values in kept)
    weights *= max(1, -(-inputs // machine.buffers.input))
    write, count = -(-m * n * machine.output_bits // 8), groups.shape[0]
    read, written = (even_shares(size, count) for size in (weights, write))
    read[0] += inputs
    load = np.ceil((read + np.concatenate([[0], written[:-1]])) / machine.dram_bytes).astype(np.int64)
    _, waiting = double_buffered(load, groups[:, 0])
    last = cycles_of(int(written[-1]), machine.dram_bytes)
    even = -(-macs // machine.peak_macs)
    slowest, busy, steps = (int(column.sum()) for column in groups.T)
    stepping = max(even, -(-steps // pes))
    spread = max(stepping, -(-busy // pes))
    causes = {
        "compute": even, "granularity": stepping - even, "conflict": spread - stepping,
        "imbalance": max(slowest, spread) - spread, "dram": waiting + last,
    }  # fmt: skip
    operands = -(-steps * machine.macs * machine.value_bits // 8)
    dram_read = int(read.sum())
    sram = dram_read + operands + write + 2 * macs * machine.buffers.partial_sum
    return Work(sum(causes.values()), macs, causes, dram_read, write, sram, {"groups": count, "steps": steps})


@njit(cache=True)  # type: ignore[untyped-decorator]
def _groups(
    x_pointers: Ints, x_rows: Columns, w_pointers: Ints, w_rows: Columns, x_bank: Ints, w_bank: Ints,
    tile: int, group: int, pes: int, vector: int, across: int, banks: int, queue: int,
) -> Ints:  # fmt: skip
    """(cycles of the last PE, cycles of all PEs, steps of all PEs) of every group of outputs."""
    count = (w_bank.size + group - 1) // group
    result = np.zeros((count, 3), np.int64)
    at = w_pointers[:-1].copy()
    for g in range(count):
        now, free = np.zeros(pes, np.int64), np.zeros((pes, banks), np.int64)
        for k in range(at.size):
            begin = at[k]
            while at[k] < w_pointers[k + 1] and w_rows[at[k]] < (g + 1) * group:
                at[k] += 1
            first = x_pointers[k]
            while begin < at[k] and first < x_pointers[k + 1]:
                pe, stop = x_rows[first] // tile, first
                while stop < x_pointers[k + 1] and x_rows[stop] < (pe + 1) * tile:
                    stop += 1
                for w in range(begin, at[k], vector):
                    for x in range(first, stop, across):
                        w_end, x_end = min(w + vector, at[k]), min(x + across, stop)
                        now[pe] = _step(free[pe], now[pe], x_rows, x, x_end, x_bank, w_rows, w, w_end, w_bank, queue)
                        result[g, 2] += 1
                first = stop
        for pe in range(pes):
            end = max(now[pe], free[pe].max())
            result[g, 0] = max(result[g, 0], end)
            result[g, 1] += end
    return result


@njit(cache=True)  # type: ignore[untyped-decorator]
def _step(
    free: Ints, now: int, x_rows: Columns, x: int, x_end: int, x_bank: Ints,
    w_rows: Columns, w: int, w_end: int, w_bank: Ints, queue: int,
) -> int:  # fmt: skip
    """Send the products of a step to their banks; returns when the next step may begin."""
    start = now
    for i in range(w, w_end):
        for j in range(x, x_end):
            bank = w_bank[w_rows[i]] + x_bank[x_rows[j]]
            start = max(start, free[bank - free.size if bank >= free.size else bank] - queue)
    for i in range(w, w_end):
        for j in range(x, x_end):
            bank = w_bank[w_rows[i]] + x_bank[x_rows[j]]
            bank = bank - free.size if bank >= free.size else bank
            free[bank] = max(free[bank], start) + 1
    return start + 1


ENGINES.register("scnn")(Scnn())
