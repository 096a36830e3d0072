# SPDX-License-Identifier: Apache-2.0
"""MatRaptor: row-wise product with sorting queues, rows dealt round to PEs and to channels of the DRAM."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.fibers import Fibers, Words, add, drain, entry_bytes, mean_union, pour, spread
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity

ROW_INFO = 8
"""Bytes of a row's length and place in C2SR."""


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
        dense_x, dense_w = inputs.kept(m, k) / (m * k), weights.kept(n, k) / (n * k)
        entry, pes, burst = entry_bytes(machine), machine.rows * machine.cols, machine.whole("burst_bytes")
        fill, excess = _mean_row(k, dense_x, n, dense_w, machine.whole("queues") - 1,
                                 machine.whole("queue_bytes") / entry)  # fmt: skip
        outputs = n * (1 - (1 - dense_x * dense_w) ** k)
        end = (-(-m // pes) * max(fill, outputs) + min(fill, outputs)) / machine.macs
        lengths = -(-np.arange(n + 1) * entry // burst) * burst + ROW_INFO
        fetched = m * k * dense_x * float(spread(n, dense_w) @ lengths)
        reads = round(fetched + m * (k * dense_x * entry + excess * entry + ROW_INFO))
        writes = round(m * ((outputs + excess) * entry + ROW_INFO))
        macs = round(m * k * dense_x * n * dense_w)
        slowest = cycles_of(reads + writes, machine.dram_bytes)
        return _work(machine, macs, round(m * fill), round(end), reads, writes, slowest)


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


def _mean_row(k: int, dense_x: float, n: int, dense_w: float, queues: int, room: float) -> tuple[float, float]:
    """Expected (elements merged into queues, those of them beyond a queue's room) of one row."""
    chances = spread(k, dense_x)
    held = mean_union(n, dense_w, 1) * np.ones(k + 1)
    for turn in range(k // queues + 1):
        held[turn * queues + 1 : (turn + 1) * queues + 1] = mean_union(n, dense_w, turn + 1)
    held[0] = 0
    return float(chances @ np.cumsum(held)), float(chances @ np.cumsum(np.maximum(0, held - room)))


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
