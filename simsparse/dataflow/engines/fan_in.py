# SPDX-License-Identifier: Apache-2.0
"""Constant fan-in: lanes that gather the inputs of as many outputs from banks, in lockstep."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import largest_binomial
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, double_buffered, same_k
from simsparse.dataflow.traffic import Floats
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
        m, n, k = shape
        kept = weights.kept(n, k) / n
        sizes = np.minimum(machine.rows, n - np.arange(0, n, machine.rows))
        uneven = weights.groups is None and not weights.is_dense
        longest = {size: largest_binomial(k, kept / k, size) if uneven else kept for size in set(sizes.tolist())}
        alike = _wanted(weights, k)
        cycles_of_size = {
            size: sum(steps * _fullest(chances, size, machine.whole("banks")) for steps, chances in alike)
            for size in set(sizes.tolist())
        }
        cycles = np.array([cycles_of_size[size] for size in sizes.tolist()])
        macs = round(weights.kept(n, k) * inputs.kept(m, k) / k)
        steps = np.array([longest[size] for size in sizes.tolist()])
        return _work(steps, cycles, sizes * kept, macs, shape, n, machine)


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


def _wanted(sparsity: Sparsity, k: int) -> list[tuple[float, Floats]]:
    """(how many steps are alike, chances that one lane asks for each column) of the steps of a group of outputs.

    N:M and banks: the j-th of ``keep`` random places of a group (negative hypergeometric). Else the j-th non-zero of
    independent ones (negative binomial), for up to 32 steps that stand for their neighbours.
    """
    if sparsity.is_dense:
        return [(k, np.ones(1))]
    if sparsity.groups is not None:
        group = min(k, sparsity.groups[1])
        keep = min(group, sparsity.groups[0])
        place = np.arange(group)
        return [
            (k / group, np.exp(_choose(place, j) + _choose(group - 1 - place, keep - 1 - j) - _choose(group, keep)))
            for j in range(keep)
        ]
    share = min(sparsity.density, 1 - 1e-9)
    most = min(k, int(share * k + 5 * (k * share * (1 - share)) ** 0.5) + 1)
    edges = np.linspace(0, most, min(most, 32) + 1)
    place = np.arange(k)
    steps = ((edges[1:] + edges[:-1]) / 2).astype(np.int64)
    logs = np.log(share) * (steps + 1)
    return [
        (most / steps.size, np.exp(_choose(place, step) + log + (place - step) * np.log1p(-share)))
        for step, log in zip(steps.tolist(), logs.tolist(), strict=True)
    ]


def _choose(draws: NDArray[np.int64] | int, hits: int) -> Floats:
    """Logarithm of the ways to choose ``hits`` of each of ``draws``; minus infinity where there is none."""
    number = np.atleast_1d(np.asarray(draws))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, max(int(number.max()), hits, 1) + 1)))])
    ways: Floats = np.where(
        number >= hits, logs[np.maximum(number, 0)] - logs[hits] - logs[np.maximum(number - hits, 0)], -np.inf
    )
    return ways


def _fullest(chances: Floats, lanes: int, banks: int) -> float:
    """Expected distinct indexes in the fullest bank when each of ``lanes`` asks for column c with ``chances[c]``."""
    wanted = 1 - (1 - np.minimum(chances, 1.0)) ** lanes
    below = np.ones(lanes + 1)
    for bank in range(min(banks, wanted.size)):
        mine = wanted[bank::banks]
        hits = np.ones(1)
        for chance in mine[mine > 1e-5].tolist():
            hits = np.convolve(hits, [1 - chance, chance])[: lanes + 1]
        reached = np.ones(lanes + 1)
        reached[: hits.size] = np.minimum(np.cumsum(hits), 1.0)
        below *= reached
    return float((1 - below).sum())


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
