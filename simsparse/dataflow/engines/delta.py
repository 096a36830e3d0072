# SPDX-License-Identifier: Apache-2.0
"""Delta engine: only what changed since the frame before is multiplied, on top of the frame before's outputs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, double_buffered, same_k
from simsparse.dataflow.traffic import Floats
from simsparse.dataflow.typical import draws_of, mean_work, typical_part
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity


class Delta(SparseEngine):
    """Zero-skipping PEs on a stream of changes: ``y_t = y_(t-1) + W (x_t - x_(t-1))``.

    The inputs are the changes (see simsparse.dataflow.deltas), a row a vector. ``rows`` lanes take the elements of a
    vector in turn; the detector of a lane looks at ``scan`` elements a cycle, one window ahead of its multipliers.
    Each change found meets the weights of ``cols`` outputs a cycle, ``macs`` changes of a window at a time, and the
    lanes' products are added up; a vector ends with its slowest lane. Zeros among the weights are not skipped. The
    closed form takes the mean over drawn vectors.

    What temporal sparsity costs: the last activations and outputs of each of ``positions`` vectors of a frame,
    ``state_bits`` an output, are read and written for every vector, in the output buffer where they fit, else in DRAM.
    Weights stay in their buffer where they fit; else the columns of the changes are fetched for every vector.

    Source: Yousefzadeh and Sifalakis, Delta Activation Layer, arXiv 2107.07305, for the stream; the engine is our
    own, no accelerator of a publication.
    """

    name: ClassVar[str] = "delta"
    settings: ClassVar[dict[str, str]] = {
        "scan": "elements of a lane that its detector looks at in a cycle",
        "positions": "vectors of a frame, whose last activations and outputs are kept",
        "state_bits": "bits of a kept output",
    }
    tolerance: ClassVar[float] = 0.1

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, k = same_k(weights, inputs)
        passes = -(-n // machine.cols)
        busy = _vectors(inputs.pointers, inputs.columns, k, machine.rows, machine.macs, machine.whole("scan"), passes)
        macs, changes = effectual_macs(weights, inputs), inputs.row_counts.astype(np.float64)
        return _work(busy, changes, macs, (m, n, k), machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        passes, macs = -(-n // machine.cols), products(shape, weights, inputs)
        works: list[Work] = []
        for draw in draws_of(works, m, k):
            part = typical_part(inputs, m, k, draw)
            busy = _vectors(part.pointers, part.columns, k, machine.rows, machine.macs, machine.whole("scan"), passes)
            works.append(_work(np.resize(busy, m), np.resize(part.row_counts, m).astype(np.float64), macs, shape,
                               machine))  # fmt: skip
        return mean_work(works)


def _work(
    busy: Floats | Ints, changes: Floats, macs: int, shape: tuple[int, int, int], machine: PeConfig
) -> Work:  # fmt: skip
    """From the cycles and changes of each vector."""
    m, n, k = shape
    value, busy = machine.value_bits / 8, np.rint(busy).astype(np.int64)
    kept = k * value + n * machine.settings["state_bits"] / 8
    inside = kept * machine.whole("positions") <= machine.buffers.output
    fits = n * k * value <= machine.buffers.weight // 2
    read = k / 8 + changes * value + (0 if fits else changes * n * value) + (0 if inside else kept)
    read = np.ceil(read)
    read[0] += np.ceil(n * k * value) if fits else 0
    write = np.full(m, np.ceil(n * machine.output_bits / 8 + (0 if inside else kept)))
    load = np.ceil((read + np.concatenate([[0.0], write[:-1]])) / machine.dram_bytes).astype(np.int64)
    total, waiting = double_buffered(load, busy)
    last = cycles_of(float(write[-1]), machine.dram_bytes)
    even = -(-macs // machine.peak_macs)
    slots = int(changes.sum()) * -(-n // machine.cols) * machine.cols
    filled = max(even, min(int(busy.sum()), -(-slots // machine.peak_macs)))
    causes = {
        "compute": even, "zero_weights": filled - even, "imbalance": int(busy.sum()) - filled, "dram": waiting + last,
    }  # fmt: skip
    dram_read, dram_write = int(read.sum()), int(write.sum())
    state = round(2 * m * kept) if inside else 0
    sram = dram_read + dram_write + state + round(float(changes.sum()) * n * value)
    return Work(total + last, macs, causes, dram_read, dram_write, sram, {"state_bytes": round(2 * m * kept)})


@njit(cache=True)  # type: ignore[untyped-decorator]
def _vectors(pointers: Ints, columns: Columns, k: int, lanes: int, macs: int, scan: int, passes: int) -> Ints:
    """Cycles of each vector, those of its slowest lane."""
    busy = np.empty(pointers.size - 1, np.int64)
    longest = -(-k // lanes)
    windows = -(-longest // scan)
    found = np.zeros((lanes, windows), np.int64)
    for vector in range(busy.size):
        found[:] = 0
        for at in range(pointers[vector], pointers[vector + 1]):
            found[columns[at] % lanes, columns[at] // lanes // scan] += 1
        slowest = np.int64(0)
        for lane in range(lanes):
            scanned, begun, done = np.int64(0), np.int64(0), np.int64(0)
            for window in range(windows):
                scanned = max(scanned, begun) + 1
                begun = max(done, scanned)
                done = begun + -(-found[lane, window] // macs) * passes
            slowest = max(slowest, done)
        busy[vector] = slowest
    return busy


ENGINES.register("delta")(Delta())
