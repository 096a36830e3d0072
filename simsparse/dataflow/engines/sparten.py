# SPDX-License-Identifier: Apache-2.0
"""SparTen: inner joins of bitmap chunks, filters balanced over the units of a cluster."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from simsparse.dataflow.base import Ints, Mask
from simsparse.dataflow.expected import largest_normal, products
from simsparse.dataflow.handshake.intersect import LATENCY_CYCLES, intersect_cycles
from simsparse.dataflow.sparse_engine import (
    ENGINES,
    PeConfig,
    SparseEngine,
    Work,
    cycles_of,
    double_buffered,
    even_shares,
    same_k,
)
from simsparse.dataflow.typical import DRAWS, draws_of, mean_work, repeated, typical_part
from simsparse.errors import SpecError
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import NonZeros, effectual_macs

FEW, WIDE = 256, 1024
"""Rows of either operand, and k, of a typical part."""
BLOCK = 256
"""Rows of either operand that are joined in one go."""


class SparTen(SparseEngine):
    """``rows`` clusters of ``cols`` units; a unit joins a row of weights with the row of inputs that all get.

    Both rows come in bitmaps of ``chunk`` elements; a join finds ``macs`` matches a cycle and spends a cycle on a
    chunk without one. Rows of inputs are dealt round to the clusters; a cluster keeps one row of weights a unit, or
    two with ``balance``, and takes the next row of inputs when its slowest unit is done. With ``balance`` 1 rows of
    weights are sorted by their non-zeros and a unit gets one from either end of each set. Units of all clusters take
    the next set of weights together. Operands and results cross the DRAM compressed and dense, respectively.

    Source: Gondimalla et al., SparTen, MICRO 2019 (bitmap chunks, prefix sums, greedy balancing in software); cycles
    of a join as verified against rtl/bitmap_intersect.sv. The wait at each row of inputs is assumed. Left out:
    balancing chunk by chunk through the permuting network, compressing the results, a write port's conflicts.
    """

    name: ClassVar[str] = "sparten"
    settings: ClassVar[dict[str, str]] = {
        "chunk": "elements of a bitmap",
        "balance": "1 if a unit gets a dense and a sparse row of weights, 0 if it gets one row",
    }
    tolerance: ClassVar[float] = 0.15

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, k = same_k(weights, inputs)
        order = np.argsort(-weights.row_counts, kind="stable") if _balanced(machine) else np.arange(n)
        slowest, joined = _join_cycles(inputs, weights.taken(order), machine)
        clusters = [slowest[cluster :: machine.rows].sum(axis=0) for cluster in range(min(m, machine.rows))]
        sets = max(clusters, key=lambda busy: int(busy.sum()))
        units = machine.rows * machine.cols
        macs = effectual_macs(weights, inputs)
        return _work(sets, -(-joined // units), (m, n, k), (weights.nnz, inputs.nnz), macs, machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        kept_w, kept_x = weights.nonzeros(n, k), inputs.nonzeros(m, k)
        units, macs = machine.rows * machine.cols, products(shape, weights, inputs)
        works: list[Work] = []
        for draw in draws_of(works, min(m, FEW), min(n, FEW) * min(k, WIDE)):
            sets, joined = _typical_sets(shape, weights, inputs, machine, draw)
            works.append(_work(sets, -(-joined // units), shape, (kept_w, kept_x), macs, machine))
        return mean_work(works)


def _typical_sets(
    shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig, draw: int
) -> tuple[Ints, int]:
    """(cycles of the busiest cluster at each set of weights, cycles of all joins) from drawn parts of either operand.

    Joins of the parts are walked; sets of further rows are like them, a cluster's further rows add up to their mean,
    and k beyond WIDE to as many times the mean and the root of that of the spread.
    """
    (m, n, k), a_set = shape, (2 if _balanced(machine) else 1) * machine.cols
    wide, tall = min(k, WIDE), min(n // a_set, -(-2 * FEW // a_set)) * a_set + n % a_set
    x = repeated(typical_part(inputs, m, wide, DRAWS + draw, k), min(m, FEW))
    w = repeated(typical_part(weights, n, wide, draw, k), tall)
    order = np.argsort(-w.row_counts, kind="stable") if _balanced(machine) else np.arange(tall)
    slowest, joined = _join_cycles(x, w.taken(order), machine)
    mean = joined / (x.shape[0] * tall) * np.minimum(-(-tall // machine.cols), a_set // machine.cols)
    slowest = mean * (k / wide) + (slowest - mean) * math.sqrt(k / wide)
    busy = min(m, machine.rows)
    if x.shape[0] == m:
        clusters = np.stack([slowest[cluster :: machine.rows].sum(axis=0) for cluster in range(busy)])
        sets = clusters[clusters.sum(axis=1).argmax()]
    else:
        over = largest_normal(busy) * float(slowest.sum(axis=1).std()) * math.sqrt(m / machine.rows)
        sets = slowest.mean(axis=0) * -(-m // machine.rows) + over / slowest.shape[1]
    count = -(-n // a_set)
    last = n % a_set > 0 and count > 1
    whole, known = count - last, sets.size - last
    places = (np.arange(whole) + 0.5) * known / whole - 0.5
    spread = np.append(np.interp(places, np.arange(known), sets[:known]), sets[known:])
    return np.asarray(np.rint(spread), np.int64), round(joined * (m / x.shape[0]) * (n / tall) * (k / wide))


def _balanced(machine: PeConfig) -> bool:
    value = machine.settings.get("balance")
    if value not in (0, 1):
        raise SpecError(f"{value!r}; expected 0 or 1", key="engine.balance")
    return value == 1


def _join_cycles(inputs: NonZeros, weights: NonZeros, machine: PeConfig) -> tuple[Ints, int]:
    """Cycles (m, sets) of the slowest unit, and of all joins; some rows at a time, so that few masks are in memory."""
    a_set = (2 if _balanced(machine) else 1) * machine.cols
    step = -(-BLOCK // a_set) * a_set
    chunk, joined, rows = machine.whole("chunk"), 0, []
    for top in range(0, inputs.shape[0], BLOCK):
        x, sets = _mask_of(inputs, top, top + BLOCK), []
        for left in range(0, weights.shape[0], step):
            pairs = intersect_cycles(x, _mask_of(weights, left, left + step), chunk, machine.macs)
            joined += int(pairs.sum())
            sets.append(_slowest(pairs, machine))
        rows.append(np.concatenate(sets, axis=1))
    return np.concatenate(rows), joined


def _mask_of(pattern: NonZeros, first: int, last: int) -> Mask:
    """The mask of the rows from ``first`` to before ``last``."""
    counts = pattern.row_counts[first:last]
    mask = np.zeros((counts.size, pattern.shape[1]), np.bool_)
    columns = pattern.columns[pattern.pointers[first] : pattern.pointers[first + counts.size]]
    mask[np.repeat(np.arange(counts.size), counts), columns] = True
    return mask


def _slowest(joined: Ints, machine: PeConfig) -> Ints:
    """Cycles (m, sets) of the slowest unit for each row of inputs and set of weights, from those of pairs (m, n)."""
    a_set = (2 if _balanced(machine) else 1) * machine.cols
    padded = np.zeros((joined.shape[0], -(-joined.shape[1] // a_set) * a_set), np.int64)
    padded[:, : joined.shape[1]] = joined
    sets = padded.reshape(joined.shape[0], -1, a_set)
    units = sets[..., : machine.cols] + sets[..., : machine.cols - 1 : -1] if _balanced(machine) else sets
    return np.asarray(units.max(axis=2), np.int64)


def _work(
    sets: Ints, spread: int, shape: tuple[int, int, int], kept: tuple[int, int], macs: int, machine: PeConfig
) -> Work:
    """Of ``sets`` of weights with the cycles of the busiest cluster; ``spread``, cycles of all joins if even."""
    m, n, k = shape
    weights, inputs = (
        -(-(values * machine.value_bits + rows * k) // 8) for values, rows in zip(kept, (n, m), strict=True)
    )
    read = even_shares(weights, sets.size)
    if inputs <= machine.buffers.input // 2:
        read[0] += inputs
    else:
        read += inputs
    write = -(-m * n * machine.output_bits // 8)
    written = even_shares(write, sets.size)
    load = np.ceil((read + np.concatenate([[0], written[:-1]])) / machine.dram_bytes).astype(np.int64)
    total, waiting = double_buffered(load, sets + LATENCY_CYCLES)
    last = cycles_of(int(written[-1]), machine.dram_bytes)
    even = -(-macs // machine.peak_macs)
    causes = {
        "compute": even, "join": max(0, spread - even), "imbalance": int(sets.sum()) - max(spread, even),
        "fill": sets.size * LATENCY_CYCLES, "dram": waiting + last,
    }  # fmt: skip
    sram = int(read.sum()) + write + -(-(macs * 2 * machine.value_bits + 2 * m * n * k) // 8)
    return Work(total + last, macs, causes, int(read.sum()), write, sram, {"sets": sets.size})


ENGINES.register("sparten")(SparTen())
