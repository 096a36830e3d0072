# SPDX-License-Identifier: Apache-2.0
"""Eyeriss v2: every PE multiplies compressed columns of inputs with compressed columns of weights."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.typical import DRAWS, SAMPLE, draws_of, mean_work, typical_part
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity


class EyerissV2(SparseEngine):
    """Inputs and weights in CSC with ``run_bits`` of run length a value; zeros of either cost no cycle.

    Output channels are dealt round to the columns of PEs, input rows to their rows. A PE spends a cycle on each
    ``macs`` products of the non-zeros of one reduction index; the array waits for its fullest PE. Operands cross
    the DRAM once, compressed, and results once, behind the work. Source: Chen et al., Eyeriss v2; one PE equals the
    cycles of Sparseloop's artifact (products of two non-zeros). Left out: the mesh's routing, address fetches.
    """

    name: ClassVar[str] = "eyeriss_v2"
    settings: ClassVar[dict[str, str]] = {"run_bits": "bits of a run length beside each value"}
    tolerance: ClassVar[float] = 0.15

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, _ = same_k(weights, inputs)
        load = _products(
            inputs.transposed.pointers, inputs.transposed.columns, weights.transposed.pointers,
            weights.transposed.columns, machine.rows, machine.cols, machine.macs,
        )  # fmt: skip
        macs = effectual_macs(weights, inputs)
        return _work(int(load.max()), macs, m * n, weights.nnz, inputs.nnz, machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        kept_w, kept_x = weights.nonzeros(n, k), inputs.nonzeros(m, k)
        wide = min(k, max(1, SAMPLE // max(m, n)))
        works: list[Work] = []
        for draw in draws_of(works, max(m, n), k):
            x, w = (typical_part(one, rows, wide, seed, k).transposed
                    for one, rows, seed in ((inputs, m, DRAWS + draw), (weights, n, draw)))  # fmt: skip
            load = _products(x.pointers, x.columns, w.pointers, w.columns, machine.rows, machine.cols, machine.macs)
            whole = products(shape, weights, inputs) / machine.macs / load.size
            more = (k / wide) * (m / x.shape[1]) * (n / w.shape[1])
            busiest = max(whole, whole + (load.max() - load.mean()) * more**0.5)
            works.append(_work(round(busiest), products(shape, weights, inputs), m * n, kept_w, kept_x, machine))
        return mean_work(works)


def _work(compute: int, macs: int, outputs: int, kept_w: int, kept_x: int, machine: PeConfig) -> Work:
    stored = machine.value_bits + machine.whole("run_bits")
    read, write = -(-(kept_w + kept_x) * stored // 8), -(-outputs * machine.output_bits // 8)
    even = -(-macs // machine.peak_macs)
    dram = max(0, cycles_of(read + write, machine.dram_bytes) - compute)
    causes = {"compute": even, "imbalance": compute - even, "dram": dram}
    return Work(compute + dram, macs, causes, read, write, read + write)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _products(
    x_pointers: Ints, x_rows: Columns, w_pointers: Ints, w_rows: Columns, rows: int, cols: int, macs: int
) -> Ints:
    """Cycles of each PE (rows, cols): over all k, its inputs' non-zeros times its weights' non-zeros."""
    load = np.zeros((rows, cols), np.int64)
    x_count, w_count = np.empty(rows, np.int64), np.empty(cols, np.int64)
    for k in range(x_pointers.size - 1):
        x_count[:], w_count[:] = 0, 0
        for at in range(x_pointers[k], x_pointers[k + 1]):
            x_count[x_rows[at] % rows] += 1
        for at in range(w_pointers[k], w_pointers[k + 1]):
            w_count[w_rows[at] % cols] += 1
        for row in range(rows):
            for col in range(cols):
                load[row, col] += -(-x_count[row] * w_count[col] // macs)
    return load


ENGINES.register("eyeriss_v2")(EyerissV2())
