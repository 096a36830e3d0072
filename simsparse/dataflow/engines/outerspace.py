# SPDX-License-Identifier: Apache-2.0
"""OuterSPACE: outer products into lists in the DRAM, then a merge of every row's lists."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.fibers import POINTER, Fibers, entry_bytes, outputs_of, spread
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.sparsity.nonzeros import NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity


class OuterSpace(SparseEngine):
    """``rows`` tiles of ``cols`` PEs. A tile takes one outer product at a time, a PE one non-zero of the inputs'
    column with the whole row of the weights' transpose, which the tile fetches once; tiles take the next product when
    they are free. Every PE's products are a list in the DRAM. When all are there, ``merge_pes`` of a tile's PEs take
    a row each and merge its lists; each next element takes as many cycles as there are lists.

    Source: Pal et al., OuterSPACE, HPCA 2018; cost of a merge step as in TeAAL's outerspace.yaml; which PEs merge is
    recalled. Left out: hits in the tile's cache from one outer product to the next, allocation of lists.
    """

    name: ClassVar[str] = "outerspace"
    settings: ClassVar[dict[str, str]] = {
        "merge_pes": "PEs of a tile that merge in the second phase",
        "index_bits": "bits of a coordinate beside each value",
    }
    tolerance: ClassVar[float] = 0.2

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, _, k = same_k(weights, inputs)
        multiply = ceil_div(inputs.col_counts, machine.cols) * ceil_div(weights.col_counts, machine.macs)
        products, outputs = outputs_of(inputs.pointers, inputs.columns, *Fibers.of(weights.transposed).parts)
        phases = (_finish(multiply, machine.rows),
                  _finish(products * inputs.row_counts, machine.rows * machine.whole("merge_pes")))  # fmt: skip
        macs = effectual_macs(weights, inputs)
        return _work(machine, macs, phases, inputs.nnz, weights.nnz, int(outputs.sum()), k, m)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        kept_x, kept_w = inputs.kept(m, k), weights.kept(n, k)
        dense_x, row = kept_x / (m * k), kept_w / k
        turns = float(spread(m, dense_x) @ ceil_div(np.arange(m + 1), machine.cols))
        mean_square = k * dense_x * (1 - dense_x) + (k * dense_x) ** 2
        multiply = -(-k // machine.rows) * turns * -(-row // machine.macs)
        mergers = machine.rows * machine.whole("merge_pes")
        merge = max(mean_square * row * -(-m // mergers), 0.0)
        outputs = round(m * n * (1 - (1 - dense_x * row / n) ** k))
        return _work(machine, round(kept_x * row), (round(multiply), round(merge)), kept_x, kept_w, outputs, k, m)


def _work(
    machine: PeConfig, macs: int, phases: tuple[int, int], kept_x: int, kept_w: int, outputs: int, k: int, m: int
) -> Work:
    """``phases``: cycles of multiplying and of merging, data always there."""
    entry = entry_bytes(machine)
    lists = macs * entry + 2 * kept_x * POINTER
    reads, writes = ((kept_x + kept_w) * entry + 2 * k * POINTER, lists), (lists, outputs * entry + m * POINTER)
    fed = [cycles_of(read + write, machine.dram_bytes) for read, write in zip(reads, writes, strict=True)]
    even = min(-(-macs // machine.peak_macs), phases[0])
    waits = sum(max(0, data - busy) for data, busy in zip(fed, phases, strict=True))
    causes = {"compute": even, "imbalance": phases[0] - even, "merge": phases[1], "dram": waits}
    total = sum(reads) + sum(writes)
    return Work(sum(causes.values()), macs, causes, sum(reads), sum(writes), total, {"merged": macs})


@njit(cache=True)  # type: ignore[untyped-decorator]
def _finish(costs: Ints, workers: int) -> int:
    """Cycles until jobs are done that go, in order, to the worker that is free first."""
    free = np.zeros(workers, np.int64)
    for cost in costs:
        if cost:
            free[free.argmin()] += cost
    return int(free.max())


ENGINES.register("outerspace")(OuterSpace())
