# SPDX-License-Identifier: Apache-2.0
"""GAMMA: Gustavson's row-wise product with high-radix mergers and a cache of fibers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import covered, products
from simsparse.dataflow.fiber_cache import empty, held_by, reserve, touch
from simsparse.dataflow.fibers import POINTER, Fibers, Words, drain, entry_bytes, join, pour
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.traffic import Floats
from simsparse.dataflow.typical import sets_of, typical_columns, typical_rows
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
        entry, radix = entry_bytes(machine), machine.whole("radix")
        rows = typical_rows(inputs, m, k, sets_of(m, inputs.edge))
        lengths = typical_columns(weights, n, k, sets_of(m, inputs.edge), 1)
        upto = np.concatenate([np.zeros((lengths.shape[0], 1)), np.cumsum(lengths, axis=1)], axis=1)
        trees = _trees(int(rows.max(initial=0)), shape, weights, inputs.edge, radix)
        use = inputs.nonzeros(m, k) / (m * k), float(inputs.edge)
        ends, counts = _typical_cycles(
            rows, upto * (k / lengths.shape[1]), trees, n, k, use, machine.rows * machine.cols, machine.macs, radix,
            entry, machine.buffers.weight, machine.dram_bytes,
        )  # fmt: skip
        further = 2 * (m - rows.shape[1]) / rows.shape[1]
        merged, fetched, spilled, outputs = counts[1] + further * (counts[1] - counts[0])
        alone, fed = np.rint(ends[1] + further * (ends[1] - ends[0])).astype(np.int64).tolist()
        kept = inputs.nonzeros(m, k)
        reads = round(float(kept * entry + fetched + spilled)) + POINTER * (m + k)
        writes = round(float(outputs * entry + spilled)) + POINTER * m
        macs = products(shape, weights, inputs)
        return _work(machine, macs, round(float(merged)), alone, fed, reads, writes)


def _work(machine: PeConfig, macs: int, merged: int, alone: int, fed: int, reads: int, writes: int) -> Work:
    """``alone`` and ``fed``: ends without and with waits for data."""
    pes = machine.peak_macs
    compute = -(-macs // pes)
    merge = max(0, -(-merged // pes) - compute)
    end = max(alone, compute + merge)
    cycles = max(end, fed, cycles_of(reads + writes, machine.dram_bytes))
    causes = {"compute": compute, "merge": merge, "imbalance": end - compute - merge, "dram": cycles - end}
    return Work(cycles, macs, causes, reads, writes, reads + writes, {"merged": merged})


def _trees(most: int, shape: tuple[int, int, int], weights: Sparsity, run: int, radix: int) -> Floats:
    """Of rows of 0 to ``most`` fibers: expected union of all, then of a group of every level, lowest first.

    Two columns of the lowest level: groups of the smaller and of the larger number of fibers.
    """
    fibers = np.arange(most + 1)
    groups = np.array([lowest_groups(count, radix) for count in fibers.tolist()])
    few = fibers // groups
    parts = [fibers.astype(np.float64), few, np.minimum(few + 1, fibers)]
    while groups.max() > 1:
        groups = np.maximum(1, groups // radix)
        parts.append(fibers / groups)
    whole = np.maximum(1, fibers)
    return np.stack([covered(weights, shape[1:], part, part / whole, run) for part in parts], axis=1)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _typical_cycles(
    rows: Ints, upto: Floats, trees: Floats, n: int, k: int, use: tuple[float, float], pes: int, macs: int, radix: int,
    entry: int, capacity: int, rate: float,
) -> tuple[Floats, Floats]:  # fmt: skip
    """What ``_row_cycles`` gives, at the half and at the end of all rows, for typical ones, mean of their sets.

    ``upto``: elements of the fibers before each column; ``use``: density of the inputs, rows that use the same fibers.
    """
    sets, count = rows.shape
    ends, totals = np.zeros((2, 2)), np.zeros((2, 4))
    for each in range(sets):
        free, counts, links = np.zeros((2, pes), np.int64), np.zeros(4), empty(0)
        live, room, traffic = np.zeros((2, pes + 1), np.int64), np.array([0, 0, capacity]), 0.0
        mean = upto[each, -1] / k
        for row in range(count):
            fibers = rows[each, row]
            if fibers:
                bytes_of = fibers * mean * entry
                new = missing(row, k, mean * entry, use, capacity - room[1])
                counts[1] += bytes_of * new
                partial, made, ready = _typical_row(
                    fibers, upto[each], trees[fibers], n, radix, macs, free, counts,
                    (traffic, fibers * entry + bytes_of * new, rate),
                )  # fmt: skip
                traffic += fibers * entry + bytes_of * new + made * entry
                release(live, free[1].min(), room)
                held = np.int64(partial * entry)
                over = held - hold(live, held, ready, links, room)
                counts[2], counts[3], traffic = counts[2] + over, counts[3] + made, traffic + 2 * over
            half = row == (count - 1) // 2
            for place in range(2):
                if (place == 0 and half) or (place == 1 and row == count - 1):
                    totals[place] += counts / sets
                    ends[place, 0] += free[0].max() / sets
                    ends[place, 1] += free[1].max() / sets
    return ends, totals


@njit(cache=True)  # type: ignore[untyped-decorator]
def _typical_row(
    fibers: int, upto: Floats, tree: Floats, n: int, radix: int, macs: int, free: Ints, counts: Floats,
    arrives: tuple[float, float, float],
) -> tuple[float, float, int]:  # fmt: skip
    """Dispatch the tasks of a row: (elements of its partial fibers, of its result, end with waits).

    ``arrives``: bytes before the row's, bytes of the row, bytes a cycle.
    """
    groups, columns, partial = lowest_groups(fibers, radix), upto.size - 1, 0.0
    made, ready = np.zeros(groups), np.zeros((2, groups), np.int64)
    density = max(1e-12, upto[columns] / columns)
    for group in range(groups):
        first, last = group * fibers // groups, (group + 1) * fibers // groups
        span = upto[last * columns // fibers] - upto[first * columns // fibers]
        eaten = span * fibers / columns
        union = tree[1] if last - first == fibers // groups else tree[2]
        likely = max(1e-12, density * (last - first))
        made[group] = n * (1 - (1 - min(1.0, union / n)) ** (eaten / likely))
        there = np.int64(np.ceil((arrives[0] + arrives[1] * last / fibers) / arrives[2]))
        ready[1, group] = there
        if groups == 1 or last - first > 1:
            counts[0] += eaten
            ready[0, group] = dispatch(free[0], np.int64(np.ceil(eaten / macs)), 0)
            ready[1, group] = dispatch(free[1], np.int64(np.ceil(eaten / macs)), there)
            partial += made[group] if groups > 1 else 0.0
    level = 3
    while groups > 1:
        groups //= radix
        whole = 0.0
        for group in range(groups):
            inside = slice(group * radix, (group + 1) * radix)
            eaten = made[inside].sum()
            counts[0] += eaten
            cost = np.int64(np.ceil(eaten / macs))
            alone = dispatch(free[0], cost, ready[0, inside].max())
            fed = dispatch(free[1], cost, ready[1, inside].max())
            made[group] = min(eaten, tree[level])
            ready[0, group], ready[1, group] = alone, fed
            whole += made[group]
        partial += whole if groups > 1 else 0.0
        level += 1
    return partial, made[0], ready[1, 0]


@njit(cache=True)  # type: ignore[untyped-decorator]
def missing(row: int, k: int, fiber: float, use: tuple[float, float], room: float) -> float:
    """Expected share of the fibers of a row that the cache does not hold: never used before, or out again since."""
    density, run = use[0], int(use[1])
    if fiber > room:
        return 1.0
    if row % run and k * density * fiber <= room:
        return 0.0
    new = (1 - density) ** (row // run)
    absent: float = new + (1 - new) * (1 - held_by(k, density, fiber, room))
    return absent


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
