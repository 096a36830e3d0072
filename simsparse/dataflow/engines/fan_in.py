# SPDX-License-Identifier: Apache-2.0
"""Constant fan-in: lanes that gather the inputs of as many outputs from banks, in lockstep."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, double_buffered, same_k
from simsparse.dataflow.traffic import Floats
from simsparse.dataflow.typical import draws_of, mean_work, typical_part
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs


class FanIn(SparseEngine):
    """``rows`` lanes hold an output each; every step each of them takes its next value and index and gathers an input.

    Inputs lie in ``banks`` (bank: index modulo ``banks``), ``cols`` vectors of a batch side by side. A bank gives one
    index a cycle, to all lanes that ask for it; a step takes as many cycles as its most wanted bank has indexes.
    Lanes go on together, so that a group of outputs takes as many steps as its fullest one: none is lost with constant
    fan-in. Outputs without weights are left out of the groups. Zeros among the inputs are not skipped.

    A group's values and indexes (``index_bits`` each) come from DRAM while the group before is worked on, once where
    all of them fit the weight buffer, else for every batch of ``cols`` vectors; a batch's inputs before its first
    group. Another non-zero shifts which indexes meet in a step, so a denser matrix may be slightly faster.
    Source: Lasby et al., SRigL, ICLR 2024 (values and indexes of equal shape, ablated outputs dropped); the engine is
    our own.
    """

    name: ClassVar[str] = "fan_in"
    settings: ClassVar[dict[str, str]] = {
        "banks": "banks of the input buffer, each gives one index a cycle",
        "index_bits": "bits of a column index",
    }
    tolerance: ClassVar[float] = 0.15
    denser_is_slower: ClassVar[bool] = False

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, k = same_k(weights, inputs)
        there = np.flatnonzero(weights.row_counts)
        steps, cycles = _groups(weights.pointers, weights.columns, there, machine.rows, machine.whole("banks"))
        counts = _chunks(weights.row_counts[there], machine.rows)
        macs = effectual_macs(weights, inputs)
        return _work(steps, cycles, counts.astype(np.float64), macs, (m, n, k), there.size, machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        _, n, k = shape
        macs = products(shape, weights, inputs)
        works: list[Work] = []
        for draw in draws_of(works, n, k):
            part = typical_part(weights, n, k, draw)
            there = np.flatnonzero(part.row_counts)
            steps, cycles = _groups(part.pointers, part.columns, there, machine.rows, machine.whole("banks"))
            counts, active = _chunks(part.row_counts[there], machine.rows), round(there.size * n / part.shape[0])
            groups = -(-active // machine.rows) if there.size < active else steps.size
            steps, cycles, counts = (np.resize(each, groups) for each in (steps, cycles, counts))
            works.append(_work(steps, cycles, counts.astype(np.float64), macs, shape, active, machine))
        return mean_work(works)


def _work(
    steps: Floats | Ints, cycles: Floats | Ints, counts: Floats, macs: int, shape: tuple[int, int, int], active: int,
    machine: PeConfig,
) -> Work:  # fmt: skip
    """From the steps, cycles and weights of each group of outputs."""
    m, n, k = shape
    batches, value = -(-m // machine.cols), machine.value_bits / 8
    stored = np.ceil(counts * (value + machine.settings["index_bits"] / 8))
    fits = stored.sum() <= machine.buffers.weight // 2
    busy = np.rint(np.tile(cycles, batches) / machine.macs).astype(np.int64)
    read = np.tile(stored, batches)
    read[stored.size if fits else read.size :] = 0
    vectors = np.minimum(machine.cols, m - np.arange(batches) * machine.cols)
    if stored.size:
        read[:: stored.size] += np.ceil(vectors * k * value)
    load = np.ceil(read / machine.dram_bytes).astype(np.int64)
    total, _ = double_buffered(load, busy)
    write = -(-m * n * machine.output_bits // 8)
    even = -(-macs // machine.peak_macs)
    slots = -(-batches * round(float(counts.sum())) // (machine.rows * machine.macs))
    walked = -(-batches * round(float(np.sum(steps))) // machine.macs)
    marks = np.maximum.accumulate([even, slots, walked, int(busy.sum()), total])
    marks = np.append(marks, max(int(marks[-1]), total + cycles_of(write, machine.dram_bytes)))
    names = ("compute", "zero_inputs", "uneven", "conflict", "load", "dram")
    causes = dict(zip(names, np.diff(marks, prepend=0).tolist(), strict=True))
    causes["dram"] += causes.pop("load")
    dram_read = int(read.sum())
    gathered = round(float(np.sum(cycles)) * batches * machine.whole("banks") * machine.cols * value)
    events = {"gathers": round(float(counts.sum())) * batches, "active": active}
    return Work(int(marks[-1]), macs, causes, dram_read, write, dram_read + write + gathered, events)


def _chunks(counts: Ints, size: int) -> Ints:
    """Sums of ``size`` neighbours each."""
    sums: Ints = np.add.reduceat(counts, np.arange(0, counts.size, size)) if counts.size else counts
    return sums


@njit(cache=True)  # type: ignore[untyped-decorator]
def _groups(pointers: Ints, columns: Columns, rows: Ints, lanes: int, banks: int) -> tuple[Ints, Ints]:
    """(steps, cycles) of each group of ``lanes`` of the ``rows`` that have weights."""
    groups = (rows.size + lanes - 1) // lanes
    steps, cycles = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    wanted = np.empty(lanes, np.int64)
    load = np.zeros(banks, np.int64)
    for group in range(groups):
        mine = rows[group * lanes : (group + 1) * lanes]
        for row in mine:
            steps[group] = max(steps[group], pointers[row + 1] - pointers[row])
        for step in range(steps[group]):
            asked = 0
            load[:] = 0
            for row in mine:
                at = pointers[row] + step
                if at < pointers[row + 1]:
                    new = True
                    for before in range(asked):
                        new &= wanted[before] != columns[at]
                    if new:
                        wanted[asked] = columns[at]
                        asked += 1
                        load[columns[at] % banks] += 1
            cycles[group] += load.max()
    return steps, cycles


ENGINES.register("fan_in")(FanIn())
