# SPDX-License-Identifier: Apache-2.0
"""SAT: a systolic array of PEs that run dense and N:M weights, weight- or output-stationary."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.expected import products
from simsparse.dataflow.nm_array import NmArray, expected_fullest, fullest
from simsparse.dataflow.nm_product import NMGemm, fastest_schedule
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, same_k
from simsparse.dataflow.typical import draws_of, mean_work, repeated, typical_part
from simsparse.sparsity.nonzeros import NonZeros, effectual_macs
from simsparse.sparsity.patterns.nm import NM
from simsparse.sparsity.statement import Sparsity


class Sat(SparseEngine):
    """A PE sees a ``group`` of M inputs, picks those of its kept weights by index, one a cycle, and so spends N cycles
    on an N:M group and M on a dense one.

    A scheduler that knows all shapes runs each product weight- or output-stationary, with zeros skipped or not,
    whichever is fastest. Sums in flight (``interleave``) hide the latency of the adder. A column of PEs that shares a
    group waits for its fullest PE, so a pattern that is not N:M pays for its imbalance. Zeros of inputs cost as much as
    other values. Source: Fang et al., arXiv 2309.13015 (what the PE, the interleaving and the scheduling do); cycles
    derived. Left out: bank conflicts of the buffers, the host.
    """

    name: ClassVar[str] = "sat"
    widens: ClassVar[bool] = True
    settings: ClassVar[dict[str, str]] = {
        "group": "inputs that a PE sees at once (M)",
        "add_latency": "cycles until a sum can be added to again",
        "interleave": "sums that a PE keeps in flight",
        "skew": "share of filling and draining that each fold pays",
        "drain": "results that a column gives a cycle",
    }

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, k = same_k(weights, inputs)
        array, group = nm_array(machine), machine.whole("group")
        starts = np.arange(0, n, array.cols)
        kept = np.add.reduceat(weights.row_counts, starts)
        return fastest_schedule(_product(
            (m, n, k), fullest(weights, array.cols, group), kept, effectual_macs(weights, inputs), machine,
        ), array, machine)[0]  # fmt: skip

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        _, n, k = shape
        array, kept = nm_array(machine), weights.nonzeros(n, k)
        macs = products(shape, weights, inputs)
        if weights.is_dense or (isinstance(weights, NM) and machine.whole("group") % weights.m == 0):
            product = replace(expected_product(shape, weights, machine), macs=macs)
            return fastest_schedule(product, array, machine)[0]
        starts = np.arange(0, n, array.cols)
        drawn: list[Work] = []
        for draw in draws_of(drawn, n, k):
            part = typical_part(weights, n, k, draw)
            part = repeated(part, min(n, -(-part.shape[0] // array.cols) * array.cols))
            found = fullest(part, array.cols, machine.whole("group"))
            blocks = found[np.arange(starts.size) % found.shape[0]]
            shares = np.diff(np.append(starts, n) * kept // n)
            drawn.append(fastest_schedule(_product(shape, blocks, shares, macs, machine), array, machine)[0])
        return mean_work(drawn)


def nm_array(machine: PeConfig) -> NmArray:
    """The array of a machine with these settings."""
    return NmArray(
        machine.rows, machine.cols, machine.macs, machine.whole("add_latency"), machine.whole("interleave"),
        machine.settings["skew"], machine.whole("drain"),
    )  # fmt: skip


def expected_product(shape: tuple[int, int, int], weights: Sparsity, machine: PeConfig, rows: int = 1) -> NMGemm:
    """The product (m, n, k) as it is on average, with dense inputs; ``rows`` PEs of a column wait for each other."""
    m, n, k = shape
    fullest = expected_fullest((n, k), weights, machine.cols, machine.whole("group"), rows)
    ends = np.minimum(np.arange(ceil_div(n, machine.cols) + 1) * machine.cols, n)
    kept = np.diff(np.floor(ends * (weights.kept(n, k) / n))).astype(np.int64)
    return _product(shape, fullest, kept, m * weights.kept(n, k), machine)


def _product(
    shape: tuple[int, int, int], fullest: Ints, kept: Ints, macs: int, machine: PeConfig
) -> NMGemm:  # fmt: skip
    m, n, k = shape
    index_bits = (machine.whole("group") - 1).bit_length()
    return NMGemm(m, n, k, fullest, kept, macs, m * k * machine.value_bits / 8, index_bits)


ENGINES.register("sat")(Sat())
