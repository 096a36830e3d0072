# SPDX-License-Identifier: Apache-2.0
"""S4: sparse processing units for bank-balanced weights, whose kept weights read their inputs from banks."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, Resident, SparseEngine, Work, double_buffered, same_k
from simsparse.dataflow.typical import draws_of, mean_work, repeated, typical_part
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs


class S4(SparseEngine):
    """``rows`` outputs x ``cols`` tokens (of all units); a PE multiplies a kept weight of its output a cycle.

    The inputs of a stretch of ``bank`` columns of k lie in one bank. ``rows`` inputs (of ``cols`` tokens each) are
    read a cycle, as many from every bank. So outputs that share a pass wait for the one with most weights, and for the
    bank that most of them ask for: neither costs anything when each bank of each row keeps as many weights. Zeros of
    inputs cost as much as other values. Source: that S4 runs weights of up to 32x sparsity, Yen et al., arXiv
    2207.08006; no microarchitecture is public, so this one is assumed. Left out: the network between the units, their
    vector units.
    """

    name: ClassVar[str] = "s4"
    widens: ClassVar[bool] = True
    keeps_activations: ClassVar[bool] = True
    settings: ClassVar[dict[str, str]] = {"bank": "columns of k whose inputs lie in one bank"}
    tolerance: ClassVar[float] = 0.15

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, k = same_k(weights, inputs)
        bank = machine.whole("bank")
        longest, busiest = _loads(weights.pointers, weights.columns, machine.rows, bank, -(-n // machine.rows),
                                  -(-k // bank))  # fmt: skip
        kept = np.add.reduceat(weights.row_counts, np.arange(0, n, machine.rows))
        return _work((m, n, k), longest, busiest, kept, effectual_macs(weights, inputs), machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        _, n, k = shape
        bank, blocks = machine.whole("bank"), -(-n // machine.rows)
        works: list[Work] = []
        kept = np.diff(np.append(np.arange(0, n, machine.rows), n)) * (weights.nonzeros(n, k) / n)
        macs = products(shape, weights, inputs)
        for draw in draws_of(works, n, k):
            part = typical_part(weights, n, k, draw)
            part = repeated(part, min(n, -(-part.shape[0] // machine.rows) * machine.rows))
            loads = _loads(part.pointers, part.columns, machine.rows, bank, -(-part.shape[0] // machine.rows),
                           -(-k // bank))  # fmt: skip
            longest, busiest = (np.resize(load, blocks) for load in loads)
            works.append(_work(shape, longest, busiest, np.asarray(kept, np.int64), macs, machine))
        return mean_work(works)


def _work(
    shape: tuple[int, int, int], longest: Ints, busiest: Ints, kept: Ints, macs: int, machine: PeConfig
) -> Work:  # fmt: skip
    """Blocks of outputs one after the other, their weights coming while the block before computes.

    ``longest`` row and reads of the ``busiest`` bank of each block; inputs come with the first, results leave behind.
    """
    m, n, k = shape
    banks, passes = -(-k // machine.whole("bank")), ceil_div(m, machine.cols)
    paced = ceil_div(longest, machine.macs)
    conflicts = np.maximum(0, ceil_div(busiest * banks, machine.rows * machine.macs) - paced)
    compute = passes * (paced + conflicts)
    index = (machine.whole("bank") - 1).bit_length()
    outputs = np.diff(np.append(np.arange(0, n, machine.rows), n))
    weights = np.ceil(np.minimum(kept * (machine.weight_bits + index), outputs * k * machine.weight_bits) / 8)
    inputs = -(-m * k * machine.value_bits // 8)
    results = outputs * m * machine.output_bits / 8
    if machine.resident is not Resident.NOTHING:
        inputs, results = 0, np.zeros_like(results)
    if machine.resident is Resident.ALL:
        weights = np.zeros_like(weights)
    moved = np.append(weights, [0, 0]) + np.append([0, 0], results)
    moved[0] += inputs
    total, waiting = double_buffered(np.ceil(moved / machine.dram_bytes).astype(np.int64), np.append(compute, [0, 0]))
    even = ceil_div(macs, machine.peak_macs)
    busy = passes * int(paced.sum())
    causes = {"compute": even, "idle": busy - even, "conflict": passes * int(conflicts.sum()), "dram": waiting}
    read, write = int(weights.sum()) + inputs, int(np.ceil(results.sum()))
    reads = passes * int(kept.sum()) * machine.cols * machine.value_bits // 8
    return Work(total, macs, causes, read, write, reads + read + write, {"passes": passes * compute.size})


@njit(cache=True)  # type: ignore[untyped-decorator]
def _loads(pointers: Ints, columns: Columns, rows: int, bank: int, blocks: int, banks: int) -> tuple[Ints, Ints]:
    """Of each block of ``rows`` rows: weights of its fullest row, reads of its busiest bank."""
    longest, busiest = np.zeros(blocks, np.int64), np.zeros(blocks, np.int64)
    reads = np.zeros(banks, np.int64)
    for block in range(blocks):
        reads[:] = 0
        for row in range(block * rows, min((block + 1) * rows, pointers.size - 1)):
            longest[block] = max(longest[block], pointers[row + 1] - pointers[row])
            for at in range(pointers[row], pointers[row + 1]):
                reads[columns[at] // bank] += 1
        busiest[block] = reads.max()
    return longest, busiest


ENGINES.register("s4")(S4())
