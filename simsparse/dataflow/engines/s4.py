# SPDX-License-Identifier: Apache-2.0
"""S4: sparse processing units for bank-balanced weights, whose kept weights read their inputs from banks."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.expected import largest_binomial
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, double_buffered, same_k
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
        m, n, k = shape
        outputs = np.diff(np.append(np.arange(0, n, machine.rows), n))
        a_row = weights.kept(1, k)
        loads = {int(rows): _expected(int(rows), k, weights, machine) for rows in np.unique(outputs)}
        longest = np.array([loads[int(rows)][0] for rows in outputs], np.int64)
        busiest = np.array([loads[int(rows)][1] for rows in outputs], np.int64)
        kept = np.asarray(outputs * (weights.kept(n, k) / n), np.int64)
        return _work(shape, longest, busiest, kept, round(m * n * a_row * inputs.kept(m, k) / (m * k)), machine)


def _expected(rows: int, k: int, weights: Sparsity, machine: PeConfig) -> tuple[int, int]:
    """(weights of the fullest of ``rows`` rows, reads of the busiest bank) on average."""
    bank = machine.whole("bank")
    if weights.is_dense or (weights.groups is not None and bank % weights.groups[1] == 0):
        return weights.kept(1, k), rows * weights.kept(1, min(bank, k))
    longest = largest_binomial(k, weights.density, rows)
    return round(longest), round(largest_binomial(rows * min(bank, k), weights.density, -(-k // bank)))


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
