# SPDX-License-Identifier: Apache-2.0
"""GAMMA: Gustavson's row-wise product with high-radix mergers and a cache of fibers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.fiber_cache import empty, held_by, reserve, touch
from simsparse.dataflow.fibers import POINTER, Fibers, Words, drain, entry_bytes, join, mean_union, pour, spread
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity

LEVELS = 32
"""Rows of the state of a tree: a level of merges each, and the last one for its end."""
EATEN, JOINED, SIZE, ALONE, FED = range(5)
"""State of a level: elements to merge, fibers joined, touched words, and when they are there without and with waits."""
PARTIAL = 4
"""Place of the count of partial elements."""


class Gamma(SparseEngine):
    """PEs that each merge up to ``radix`` fibers (rows of the weights' transpose), one element a cycle.

    A row of the inputs with more non-zeros is merged by a balanced, top-full tree of tasks: its lowest groups of
    fibers are as even as can be, all levels above have the full radix; a fiber alone in its group goes straight up.
    Tasks go in order to the PE that is free first. Fibers wait in the FiberCache (the weight buffer), least recently
    used out first; partial fibers hold room there until their row is done, and what finds none crosses the DRAM twice.
    The DRAM serves fetches and results in order, ahead of the PEs as far as it can.

    Source: Zhang et al., GAMMA, ASPLOS 2021; sizes as in TeAAL's gamma.yaml; the shape of the tree is recalled.
    Left out: banks and sets of the cache, row reordering and tiling ahead of time.
    """

    name: ClassVar[str] = "gamma"
    settings: ClassVar[dict[str, str]] = {
        "radix": "fibers that one PE merges at a time",
        "index_bits": "bits of a coordinate beside each value",
    }
    limits: ClassVar[dict[str, tuple[float, float]]] = {"radix": (2, 65536)}
    tolerance: ClassVar[float] = 0.15

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, _, k = same_k(weights, inputs)
        entry = entry_bytes(machine)
        ends, counts = _row_cycles(
            inputs.pointers, inputs.columns, *Fibers.of(weights.transposed).parts, machine.rows * machine.cols,
            machine.macs, machine.whole("radix"), entry, machine.buffers.weight, machine.dram_bytes,
        )  # fmt: skip
        merged, fetched, spilled, outputs, _ = (int(count) for count in counts)
        macs = effectual_macs(weights, inputs)
        reads = inputs.nnz * entry + fetched + spilled + POINTER * (m + k)
        return _work(machine, macs, merged, int(ends[0]), int(ends[1]), reads, outputs * entry + spilled + POINTER * m)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        dense_x, dense_w = inputs.kept(m, k) / (m * k), weights.kept(n, k) / (n * k)
        entry, pes, room = entry_bytes(machine), machine.rows * machine.cols, machine.buffers.weight
        merged, partial, last, waits = _mean_tree(k, dense_x, n, dense_w, machine.whole("radix"))
        alone = (-(-m // pes) * last + m / pes * (merged - last + waits * (1 - 1 / pes))) / machine.macs
        live = min(m, pes * last // max(merged, 1.0) + 1) * partial * entry
        spilled = m * partial * entry * max(0.0, 1 - room / live) if live else 0.0
        hits = held_by(k, dense_x, n * dense_w * entry, max(0.0, room - live)) * (m * dense_x - 1)
        fetched = k * (m * dense_x - max(0.0, hits)) * n * dense_w * entry
        outputs = m * n * (1 - (1 - dense_x * dense_w) ** k)
        reads = round(m * k * dense_x * entry + fetched + spilled) + POINTER * (m + k)
        writes = round(outputs * entry + spilled) + POINTER * m
        return _work(machine, round(m * k * dense_x * n * dense_w), round(m * merged), round(alone), 0, reads, writes)


def _work(machine: PeConfig, macs: int, merged: int, alone: int, fed: int, reads: int, writes: int) -> Work:
    """``alone`` and ``fed``: ends without and with waits for data."""
    pes = machine.peak_macs
    compute = -(-macs // pes)
    merge = max(0, -(-merged // pes) - compute)
    end = max(alone, compute + merge)
    cycles = max(end, fed, cycles_of(reads + writes, machine.dram_bytes))
    causes = {"compute": compute, "merge": merge, "imbalance": end - compute - merge, "dram": cycles - end}
    return Work(cycles, macs, causes, reads, writes, reads + writes, {"merged": merged})


def _mean_tree(k: int, dense_x: float, n: int, dense_w: float, radix: int) -> tuple[float, float, float, float]:
    """Expected elements of one row's tree: (merged by all its tasks, of its partial fibers, merged by the last task,
    passed while PEs wait for the last input of a task)."""
    chances = spread(k, dense_x)
    likely = np.flatnonzero(chances > 1e-9)
    trees = np.array([_tree(int(fibers), n, dense_w, radix) for fibers in likely])
    merged, partial, last, waits = (chances[likely] @ trees).tolist()
    return merged, partial, last, waits


def _tree(fibers: int, n: int, density: float, radix: int) -> tuple[float, float, float, float]:
    merged = fibers * n * density
    groups = lowest_groups(fibers, radix)
    if groups == 1:
        return merged, 0.0, merged, 0.0
    few, rest = divmod(fibers, groups)
    alone = (groups - rest) * n * density if few == 1 else 0.0
    made = (groups - rest) * mean_union(n, density, few) + rest * mean_union(n, density, few + 1)
    waits = (merged - alone) / radix
    merged, partial = merged - alone + made, made - alone
    while groups > radix:
        groups, waits = groups // radix, waits + made / radix
        made = groups * mean_union(n, density, fibers / groups)
        merged, partial = merged + made, partial + made
    return merged, partial, made, waits


@njit(cache=True)  # type: ignore[untyped-decorator]
def lowest_groups(fibers: int, radix: int) -> int:
    """Groups that the lowest level of a top-full tree splits ``fibers`` into: the smallest power of ``radix``
    that leaves at most ``radix`` to each."""
    groups = 1
    while groups * radix < fibers:
        groups *= radix
    return groups


@njit(cache=True)  # type: ignore[untyped-decorator]
def _row_cycles(
    x_pointers: Ints, x_columns: Columns, pointers: Ints, columns: Columns, bitmap_of: Ints, bitmaps: Words,
    pes: int, macs: int, radix: int, entry: int, capacity: int, rate: float,
) -> tuple[Ints, Ints]:  # fmt: skip
    """(ends of the schedule without and with waits for data, [merged, fetched bytes, spilled bytes, outputs])."""
    words, free, counts = bitmaps.shape[1], np.zeros((2, pes), np.int64), np.zeros(5, np.int64)
    sets, touched = np.zeros((LEVELS, words), np.uint64), np.zeros((LEVELS, words), np.int64)
    tree = np.zeros((5, LEVELS), np.int64)
    links, room = empty(pointers.size - 1), np.array([0, 0, capacity])
    live = np.zeros((2, pes + 1), np.int64)
    traffic = 0
    for row in range(x_pointers.size - 1):
        first, fibers = x_pointers[row], x_pointers[row + 1] - x_pointers[row]
        groups, group, before = lowest_groups(fibers, radix), 0, counts[1:5].copy()
        if fibers == 0:
            continue
        traffic += fibers * entry
        for at in range(fibers):
            k = x_columns[first + at]
            length = pointers[k + 1] - pointers[k]
            if not touch(k, length * entry, links, room):
                counts[1] += length * entry
                traffic += length * entry
            tree[SIZE, 0] = join(pointers, columns, bitmap_of, bitmaps, k, sets[0], touched[0], tree[SIZE, 0])
            tree[EATEN, 0] += length
            tree[JOINED, 0] += 1
            tree[FED, 0] = np.int64(np.ceil(traffic / rate))
            if at + 1 == (group + 1) * fibers // groups:
                _close(group, groups, radix, macs, sets, touched, tree, free, counts)
                group += 1
        partial = (counts[PARTIAL] - before[PARTIAL - 1]) * entry
        release(live, free[1].min(), room)
        placed = hold(live, partial, tree[FED, LEVELS - 1], links, room)
        counts[2] += partial - placed
        traffic += 2 * (partial - placed) + (counts[3] - before[2]) * entry
    return np.array([free[0].max(), free[1].max()]), counts


@njit(cache=True)  # type: ignore[untyped-decorator]
def _close(
    group: int, width: int, radix: int, macs: int, sets: Words, touched: Ints, tree: Ints, free: Ints, counts: Ints
) -> None:
    """Send off the task of a full group of the lowest level, ``width`` groups wide, and those that it completes."""
    level = 0
    while True:
        alone, fed = tree[ALONE, level], tree[FED, level]
        merges = width == 1 or tree[JOINED, level] > 1
        if merges:
            counts[0] += tree[EATEN, level]
            cost = -(-tree[EATEN, level] // macs)
            alone, fed = dispatch(free[0], cost, alone), dispatch(free[1], cost, fed)
        size, up = tree[SIZE, level], level + 1
        tree[:, level] = 0
        if width == 1:
            counts[3] += drain(sets[level], touched[level], size)
            tree[FED, LEVELS - 1] = fed
            return
        made, tree[SIZE, up] = pour(sets[level], touched[level], size, sets[up], touched[up], tree[SIZE, up])
        counts[PARTIAL] += made if merges else 0
        tree[EATEN, up] += made
        tree[JOINED, up] += 1
        tree[ALONE, up], tree[FED, up] = max(tree[ALONE, up], alone), max(tree[FED, up], fed)
        if (group + 1) % radix:
            return
        group, width, level = group // radix, width // radix, up


@njit(cache=True)  # type: ignore[untyped-decorator]
def dispatch(free: Ints, cost: int, ready: int) -> int:
    """Run a task of ``cost`` cycles, ``ready`` from a cycle on, on the PE that is free first; returns its end."""
    pe = free.argmin()
    free[pe] = max(free[pe], ready) + cost
    return int(free[pe])


@njit(cache=True)  # type: ignore[untyped-decorator]
def release(live: Ints, now: int, room: Ints) -> None:
    """Give back what rows done by cycle ``now`` held."""
    for place in range(live.shape[1]):
        if live[1, place] and live[0, place] <= now:
            room[1] -= live[1, place]
            live[1, place] = 0


@njit(cache=True)  # type: ignore[untyped-decorator]
def hold(live: Ints, size: int, until: int, links: Ints, room: Ints) -> int:
    """Hold ``size`` bytes of partial fibers until a cycle; returns those that found room."""
    placed: int = reserve(size, links, room)
    for place in range(live.shape[1]):
        if placed and not live[1, place]:
            live[0, place], live[1, place] = until, placed
            break
    return placed


ENGINES.register("gamma")(Gamma())
