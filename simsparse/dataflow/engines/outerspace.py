# SPDX-License-Identifier: Apache-2.0
"""OuterSPACE: outer products into lists in the DRAM, then a merge of every row's lists."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.dealt import finish, mean_finish
from simsparse.dataflow.expected import covered, products
from simsparse.dataflow.fibers import POINTER, Fibers, entry_bytes, outputs_of
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.typical import sets_of, typical_columns, typical_rows
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
    tolerance: ClassVar[float] = 0.15

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, _, k = same_k(weights, inputs)
        multiply = ceil_div(inputs.col_counts, machine.cols) * ceil_div(weights.col_counts, machine.macs)
        products, outputs = outputs_of(inputs.pointers, inputs.columns, *Fibers.of(weights.transposed).parts)
        phases = (finish(multiply, machine.rows),
                  finish(products * inputs.row_counts, machine.rows * machine.whole("merge_pes")))  # fmt: skip
        macs = effectual_macs(weights, inputs)
        return _work(machine, macs, phases, inputs.nnz, weights.nnz, int(outputs.sum()), k, m)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        kept_x, kept_w = inputs.nonzeros(m, k), weights.nonzeros(n, k)
        rows, mergers = typical_rows(inputs, m, k, sets_of(m, inputs.edge)), machine.rows * machine.whole("merge_pes")
        sets = sets_of(k, max(inputs.edge, weights.edge))
        columns = typical_columns(inputs, m, k, sets), typical_columns(weights, n, k, sets, 1)
        turns = ceil_div(columns[0], machine.cols) * ceil_div(columns[1], machine.macs)
        multiply = mean_finish(turns, machine.rows, k)
        merge = mean_finish(rows * _products(rows, columns[1], k, inputs, weights), mergers, m)
        outputs = covered(weights, (n, k), rows, run=inputs.edge).mean() * m
        macs = products(shape, weights, inputs)
        return _work(machine, round(macs), (multiply, merge), kept_x, kept_w, round(outputs), k, m)


def _products(rows: Ints, columns: Ints, k: int, inputs: Sparsity, weights: Sparsity) -> Ints:
    """Products of rows that keep ``rows`` of k inputs: that many of the weights' ``columns``, without replacement.

    Rows of one stripe of blocks keep the same columns, and so have the same products.
    """
    sets, count = rows.shape
    chance = np.random.default_rng(rows.shape).standard_normal((sets, -(-count // inputs.edge)))
    chance = np.repeat(chance, inputs.edge, axis=1)[:, :count]
    spread = np.sqrt(rows * (1 - rows / k) * _unevenness(inputs, weights)) * columns.std()
    return np.asarray(np.maximum(0, np.rint(rows * columns.mean() + spread * chance)), np.int64)


def _unevenness(inputs: Sparsity, weights: Sparsity) -> float:
    """Variance of a row's products, as a share of that of columns drawn one by one.

    Blocks of inputs draw columns side by side, which are equal in a block of weights. N:M inputs draw as many columns
    of each group, so that only the differences within a group count: none where it lies in one block of weights.
    """
    if inputs.groups is None:
        return float(min(inputs.edge, weights.edge))
    size = inputs.groups[1]
    return max(0, size - weights.edge) / max(1, size - 1)


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


ENGINES.register("outerspace")(OuterSpace())
