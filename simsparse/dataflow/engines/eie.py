# SPDX-License-Identifier: Apache-2.0
"""EIE: columns of compressed weights dealt to PEs, met by the non-zeros of one vector through queues."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.traffic import Floats
from simsparse.dataflow.typical import DRAWS, SAMPLE, most_draws, repeated, typical_part
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity

TALL, WIDE, STEPS = 1 << 14, 1 << 13, 1 << 18
"""Rows and k of a typical part, and entries of queues that its vectors fill."""


class Eie(SparseEngine):
    """``rows`` x ``cols`` PEs hold the weights' rows in turn (row modulo PEs), each its part of every column in CSC.

    A weight is ``weight_bits`` of a codebook's index and ``run_bits`` of how many zeros of the PE's own rows precede
    it; a longer run takes an entry of value zero, which costs a cycle as any other. A non-zero of a vector goes to all
    PEs at once, one a cycle and only when every queue (``queue`` of them) has room. A PE works through its column,
    ``macs`` entries a cycle; a column without entries leaves the queue in no time. Vectors follow one another.

    Compressed weights cross the DRAM once where the weight buffer holds them, which EIE's do, else for each vector,
    during the work. Where a run is bridged a denser column may have fewer entries, so a denser matrix may be slightly
    faster. The closed form sends a few typical vectors to typical columns. Source: Han et al., EIE, ISCA 2016. Left
    out: the tree that finds non-zeros, two banks of pointers, the pipeline's fill, spilling of sums for more outputs
    than registers.
    """

    name: ClassVar[str] = "eie"
    settings: ClassVar[dict[str, str]] = {
        "run_bits": "bits of the zeros that precede a weight",
        "weight_bits": "bits of a stored weight",
        "queue": "non-zeros of a vector that wait at a PE",
    }
    tolerance: ClassVar[float] = 0.1
    denser_is_slower: ClassVar[bool] = False

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        shape = same_k(weights, inputs)
        columns = weights.transposed
        pes = machine.rows * machine.cols
        entries = _entries(columns.pointers, columns.columns, pes, 1 << machine.whole("run_bits"))
        costs = -(-entries // machine.macs)
        busy = _broadcast(inputs.pointers, inputs.columns, costs, machine.whole("queue"))
        needed = entries.sum(axis=1) @ inputs.col_counts
        macs = effectual_macs(weights, inputs)
        return _work(busy, int(needed), int(entries.sum()), macs, inputs.nnz, shape, machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        _kept_w, kept_x = weights.nonzeros(n, k), inputs.nonzeros(m, k)
        found = [_typical_vectors(shape, weights, inputs, machine, draw) for draw in range(min(16, most_draws(n, k)))]
        busy, values, entries = np.mean(found, axis=0).tolist()
        vector, each = busy / max(1e-9, values) * kept_x / m, entries
        needed, macs = round(each * kept_x), products(shape, weights, inputs)
        return _work(np.full(m, vector), needed, round(each * k), macs, kept_x, shape, machine)


def _typical_vectors(
    shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig, draw: int
) -> tuple[float, float, float]:
    """(cycles of a typical vector, its non-zeros, entries of a column) of drawn parts: some k of some rows.

    Rows beyond TALL make a column longer by as much, k beyond WIDE a vector.
    """
    (m, n, k), pes = shape, machine.rows * machine.cols
    tall = min(n, -(-TALL // pes) * pes)
    wide = min(k, max(1, SAMPLE // tall))
    columns = typical_part(weights, tall, wide, draw, k).transposed
    entries = _entries(columns.pointers, columns.columns, pes, 1 << machine.whole("run_bits"))
    costs = np.ceil(entries * (n / tall) / machine.macs).astype(np.int64)
    long = min(k, WIDE)
    vectors = typical_part(inputs, m, long, DRAWS + draw, k)
    few = repeated(vectors, min(vectors.shape[0], max(1, STEPS // (pes * long))))
    busy = _broadcast(few.pointers, few.columns % wide, costs, machine.whole("queue"))
    return float(busy.mean()), few.nnz / few.shape[0], float(entries.sum(axis=1).mean()) * n / tall


def _work(
    busy: Floats | Ints, needed: int, entries: int, macs: int, active: int, shape: tuple[int, int, int],
    machine: PeConfig,
) -> Work:  # fmt: skip
    """From the cycles of each vector and the entries, padding included, that were worked on and are stored."""
    m, n, k = shape
    stored = -(-entries * (machine.whole("run_bits") + machine.whole("weight_bits")) // 8)
    stored += 2 * (k + 1) * machine.rows * machine.cols
    times = 1 if stored <= machine.buffers.weight else m
    read = stored * times + -(-active * machine.value_bits // 8)
    write = -(-m * n * machine.output_bits // 8)
    even = -(-macs // machine.peak_macs)
    walked = round(float(np.sum(busy)))
    full = max(even, min(walked, -(-needed // machine.peak_macs)))
    cycles = max(walked, cycles_of(read + write, machine.dram_bytes))
    causes = {"compute": even, "padding": full - even, "imbalance": walked - full, "dram": cycles - walked}
    looked = -(-needed * (machine.whole("run_bits") + machine.whole("weight_bits")) // 8)
    return Work(cycles, macs, causes, read, write, read + write + looked, {"entries": needed, "padding": needed - macs})


@njit(cache=True)  # type: ignore[untyped-decorator]
def _entries(pointers: Ints, rows: Columns, pes: int, span: int) -> Ints:
    """Entries (column, PE), those that bridge runs of ``span`` zeros and more included."""
    entries = np.zeros((pointers.size - 1, pes), np.int64)
    before = np.empty(pes, np.int64)
    for column in range(pointers.size - 1):
        before[:] = -1
        for at in range(pointers[column], pointers[column + 1]):
            pe, place = rows[at] % pes, rows[at] // pes
            entries[column, pe] += 1 + (place - before[pe] - 1) // span
            before[pe] = place
    return entries


@njit(cache=True)  # type: ignore[untyped-decorator]
def _broadcast(pointers: Ints, active: Columns, costs: Ints, queue: int) -> Ints:
    """Cycles of each vector until its slowest PE is done."""
    pes = costs.shape[1]
    busy = np.zeros(pointers.size - 1, np.int64)
    for vector in range(busy.size):
        done, slots = np.zeros(pes, np.int64), np.zeros(queue, np.int64)
        sent = np.int64(-1)
        for at in range(pointers[vector], pointers[vector + 1]):
            slot = at % queue
            sent = max(sent + 1, slots[slot])
            slowest = np.int64(0)
            for pe in range(pes):
                done[pe] = max(done[pe], sent) + costs[active[at], pe]
                slowest = max(slowest, done[pe])
            slots[slot] = slowest
        busy[vector] = max(done.max(), sent + 1)
    return busy


ENGINES.register("eie")(Eie())
