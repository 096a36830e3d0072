# SPDX-License-Identifier: Apache-2.0
"""MatRaptor: row-wise product with sorting queues, rows dealt round to PEs and to channels of the DRAM."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import covered, products
from simsparse.dataflow.fibers import Fibers, Words, add, drain, entry_bytes, pour
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.traffic import Floats
from simsparse.dataflow.typical import sets_of, typical_columns, typical_rows
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity

ROW_INFO = 8
"""Bytes of a row's length and place in C2SR."""


STEPS = 1 << 17
"""Fibers of the rows that the closed form merges, unless one row has more."""


class MatRaptor(SparseEngine):
    """PE p takes the input rows p, p + P, ...; fibers (rows of the weights' transpose) merge in ``queues``.

    The first ``queues`` - 1 fibers of a row fill a queue each; every further one merges with the queue that holds
    least, an element of the union a cycle. A second phase merges the queues into the result, an element a cycle, while
    the next row fills the other set of queues. No fiber is kept for later: each use reads the DRAM, whose channel r
    mod C holds row r of every operand (C2SR), whole bursts at a time. What a queue can't hold goes to the DRAM and
    comes back with the next merge; the paper hands such rows to the host.

    Source: Srivastava et al., MatRaptor, MICRO 2020. Left out: latency of a fetch, behind deep request queues.
    """

    name: ClassVar[str] = "matraptor"
    settings: ClassVar[dict[str, str]] = {
        "queues": "sorting queues of one of a PE's two sets",
        "queue_bytes": "bytes of a queue",
        "channels": "channels of the DRAM",
        "burst_bytes": "bytes of one access to a channel",
        "index_bits": "bits of a coordinate beside each value",
    }
    tolerance: ClassVar[float] = 0.15

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        same_k(weights, inputs)
        entry, pes, channels = entry_bytes(machine), machine.rows * machine.cols, machine.whole("channels")
        fill, outputs, spilled = _rows(
            inputs.pointers, inputs.columns, *Fibers.of(weights.transposed).parts, machine.whole("queues") - 1,
            machine.whole("queue_bytes") // entry,
        )  # fmt: skip
        end = int(_pipeline(-(-fill // machine.macs), -(-outputs // machine.macs), pes).max(initial=0))
        burst = machine.whole("burst_bytes")
        fetch = -(-weights.col_counts * entry // burst) * burst + ROW_INFO
        reads = _by_channel(inputs.col_counts * fetch, channels)
        reads += _by_channel(inputs.row_counts * entry + spilled * entry + ROW_INFO, channels)
        writes = _by_channel((outputs + spilled) * entry + ROW_INFO, channels)
        macs = effectual_macs(weights, inputs)
        slowest = cycles_of(int((reads + writes).max()) * channels, machine.dram_bytes)
        return _work(machine, macs, int(fill.sum()), end, int(reads.sum()), int(writes.sum()), slowest)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        entry, pes, channels = entry_bytes(machine), machine.rows * machine.cols, machine.whole("channels")
        rows = typical_rows(inputs, m, k, sets_of(m, inputs.edge))
        fill, outputs, spilled = _typical(rows, (n, k), weights, inputs.edge, machine)
        ends = [_pipeline(-(-fill[each] // machine.macs), -(-outputs[each] // machine.macs), pes).max(initial=0)
                for each in range(rows.shape[0])]  # fmt: skip
        uses, lengths = (typical_columns(one, size, k, sets_of(k, max(inputs.edge, weights.edge)), at)
                         for at, (one, size) in enumerate(((inputs, m), (weights, n))))  # fmt: skip
        burst = machine.whole("burst_bytes")
        fetched = uses * (-(-lengths * entry // burst) * burst + ROW_INFO)
        read, reads = _mean_channels(fetched, k, channels)
        of_rows, own = _mean_channels((rows + outputs + 2 * spilled) * entry + 2 * ROW_INFO, m, channels)
        written = float(np.mean(outputs + spilled) * entry + ROW_INFO) * m
        macs = products(shape, weights, inputs)
        slowest = cycles_of(_sum_of_largest(read, of_rows) * channels, machine.dram_bytes)
        return _work(machine, macs, round(float(fill.mean()) * m), round(float(np.mean(ends)) * m / rows.shape[1]),
                     round(reads + own - written), round(written), slowest)  # fmt: skip


def _work(machine: PeConfig, macs: int, filled: int, end: int, reads: int, writes: int, slowest: int) -> Work:
    """``filled`` elements of merges of the first phase; ``slowest``: cycles of the busiest channel."""
    compute = -(-macs // machine.peak_macs)
    merge = max(0, -(-filled // machine.peak_macs) - compute)
    end = max(end, compute + merge)
    fed = max(end, cycles_of(reads + writes, machine.dram_bytes))
    cycles = max(fed, slowest)
    causes = {"compute": compute, "merge": merge, "imbalance": end - compute - merge, "dram": fed - end,
              "conflict": cycles - fed}  # fmt: skip
    return Work(cycles, macs, causes, reads, writes, reads + writes, {"merged": filled})


def _by_channel(sizes: Ints, channels: int) -> Ints:
    """Bytes of each channel when row r lies in channel r mod ``channels``."""
    padded = np.zeros(-(-sizes.size // channels) * channels, np.int64)
    padded[: sizes.size] = sizes
    total: Ints = padded.reshape(-1, channels).sum(axis=0)
    return total


def _typical(
    rows: Ints, shape: tuple[int, int], weights: Sparsity, run: int, machine: PeConfig
) -> tuple[Ints, Ints, Ints]:  # fmt: skip
    """Expected elements (merged into queues, of the result, beyond a queue's room) of rows that keep ``rows``.

    Fibers of typical lengths go to the queue that holds least; a union grows with the fibers in it as it does on
    average, from what it holds.
    """
    (n, k), most = shape, int(rows.max(initial=0))
    queues, room = machine.whole("queues") - 1, machine.whole("queue_bytes") // entry_bytes(machine)
    unions = covered(weights, shape, np.arange(most + 2), run=max(1, run // queues))
    fibers = typical_columns(weights, n, k, sets_of(k, weights.edge), 1)
    fill, spilled = _greedy(fibers[: max(1, STEPS // (most + 1))], most, unions, max(1, queues), room)
    outputs = covered(weights, shape, np.arange(most + 1), run=run)
    return tuple(np.rint(table[rows]).astype(np.int64) for table in (fill, outputs, spilled))  # type: ignore[return-value]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _greedy(fibers: Ints, most: int, unions: Floats, queues: int, room: int) -> tuple[Floats, Floats]:
    """Mean elements merged, and those beyond ``room``, of rows of 0 to ``most`` fibers whose lengths are a row each
    of ``fibers``; ``unions`` are the mean unions of so many."""
    fill, spilled = np.zeros(most + 1), np.zeros(most + 1)
    mean = max(1e-9, fibers.mean())
    for each in range(fibers.shape[0]):
        held, joined, filled, beyond = np.zeros(queues), np.zeros(queues), 0.0, 0.0
        for at in range(most):
            queue = at if at < queues else held.argmin()
            length = fibers[each, at % fibers.shape[1]]
            joined[queue] += length / mean
            below = min(int(joined[queue]), unions.size - 2)
            share = min(1.0, joined[queue] - below)
            union = unions[below] + share * (unions[below + 1] - unions[below])
            held[queue] = max(held[queue], length, union if at >= queues else 0.0)
            filled, beyond = filled + held[queue], beyond + max(0.0, held[queue] - room)
            fill[at + 1] += filled / fibers.shape[0]
            spilled[at + 1] += beyond / fibers.shape[0]
    return fill, spilled


def _mean_channels(sizes: Ints, count: int, channels: int) -> tuple[Floats, float]:
    """(mean bytes of each channel, sets apart; mean of their sum) of ``count`` rows, of which ``sizes`` are typical."""
    scale = count / sizes.shape[1]
    each = np.array([_by_channel(row, channels) for row in sizes]) * scale
    return each, float(each.sum(axis=1).mean())


def _sum_of_largest(one: Floats, other: Floats) -> int:
    """Mean largest sum of two loads of the channels, each in sets of its own."""
    sets = min(one.shape[0], other.shape[0])
    return round(float((one[:sets] + other[:sets]).max(axis=1).mean()))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _rows(
    x_pointers: Ints, x_columns: Columns, pointers: Ints, columns: Columns, bitmap_of: Ints, bitmaps: Words,
    queues: int, room: int,
) -> tuple[Ints, Ints, Ints]:  # fmt: skip
    """Elements of each input row: (merged into queues, of the result, of queues beyond their ``room``)."""
    rows, words = x_pointers.size - 1, bitmaps.shape[1]
    filled, outputs, spilled = np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    sets, touched = np.zeros((queues + 1, words), np.uint64), np.zeros((queues + 1, words), np.int64)
    for row in range(rows):
        size, held = np.zeros(queues + 1, np.int64), np.zeros(queues, np.int64)
        first = x_pointers[row]
        for at in range(first, x_pointers[row + 1]):
            queue = at - first if at - first < queues else held.argmin()
            new, size[queue] = add(pointers, columns, bitmap_of, bitmaps, x_columns[at], sets[queue], touched[queue],
                                   size[queue])  # fmt: skip
            held[queue] += new
            filled[row] += held[queue]
            spilled[row] += max(0, held[queue] - room)
        for queue in range(min(queues, x_pointers[row + 1] - first)):
            _, size[queues] = pour(
                sets[queue], touched[queue], size[queue], sets[queues], touched[queues], size[queues]
            )
        outputs[row] = drain(sets[queues], touched[queues], size[queues])
    return filled, outputs, spilled


@njit(cache=True)  # type: ignore[untyped-decorator]
def _pipeline(fill: Ints, merge: Ints, pes: int) -> Ints:
    """End of each PE: filling a row's queues waits for the set that the row before the last has left."""
    filled, merged, left = np.zeros(pes, np.int64), np.zeros(pes, np.int64), np.zeros(pes, np.int64)
    for row in range(fill.size):
        pe = row % pes
        filled[pe] = max(filled[pe], left[pe]) + fill[row]
        left[pe] = merged[pe]
        merged[pe] = max(merged[pe], filled[pe]) + merge[row]
    return merged


ENGINES.register("matraptor")(MatRaptor())
