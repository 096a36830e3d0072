# SPDX-License-Identifier: Apache-2.0
"""Flexagon: inner product, outer product or Gustavson's row-wise product, whichever is fastest for the operands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.fiber_cache import empty, touch
from simsparse.dataflow.fibers import POINTER, Fibers, Words, drain, entry_bytes, join
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, same_k
from simsparse.dataflow.typical import DRAWS, SAMPLE, draws_of, mean_work, typical_part
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity

DATAFLOWS = ("inner", "outer", "row")


class Flexagon(SparseEngine):
    """``rows`` x ``cols`` multipliers under a tree that reduces or merges. A tile is as many of the inputs' non-zeros,
    in order, as there are multipliers; they are loaded ``feed`` a cycle, then weights stream past.

    Inner product and row-wise product take non-zeros row by row, the outer product by reduction index. A tile's
    weights come ``feed`` a cycle: for the inner product all of them, for the row-wise product every non-zero's own
    fiber (row of the weights' transpose), for the outer product the fibers of its reduction indices, each once. What
    leaves goes ``drain`` a cycle: results of each piece of a row, or every product for the outer product. Pieces of
    rows cut by tiles, and all lists of the outer product, are merged afterwards, as many lists at a time as there are
    multipliers, ``drain`` elements a cycle. Of the outer product's lists, what the output buffer can't hold crosses
    the DRAM both ways. Fibers wait in a cache (the weight buffer), least recently used out first. DRAM and
    multipliers overlap. All three are walked and the fastest is taken; the closed form walks a part of a draw.

    A denser operand may be faster: where it cuts rows or picks the dataflow otherwise. Source: Munoz-Martinez et al.,
    Flexagon, ASPLOS 2023, abstract; how tiles stream is derived from it, unvalidated. Left out: the depth of the tree.
    """

    name: ClassVar[str] = "flexagon"
    settings: ClassVar[dict[str, str]] = {
        "feed": "elements that reach the multipliers in a cycle",
        "drain": "elements that leave the tree in a cycle",
        "index_bits": "bits of a coordinate beside each value",
    }
    tolerance: ClassVar[float] = 0.15
    denser_is_slower: ClassVar[bool] = False

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        return min(self.choices(weights, inputs, machine), key=lambda work: work.cycles)

    def choices(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Sequence[Work]:
        """The product in each of ``DATAFLOWS``; its event of that name is 1."""
        m, _, k = same_k(weights, inputs)
        macs, entry, fibers = effectual_macs(weights, inputs), entry_bytes(machine), Fibers.of(weights.transposed)
        works: list[Work] = []
        for which in DATAFLOWS:
            order = inputs.transposed if which == "outer" else inputs
            sums = _tile_sums(
                order.pointers, order.columns, *fibers.parts, DATAFLOWS.index(which), machine.peak_macs,
                machine.whole("feed"), machine.whole("drain"), entry, machine.buffers.weight,
            )  # fmt: skip
            busy, fetched, merged, outputs = (int(value) for value in sums)
            if which == "outer":
                merged, outputs = _outer_merge(inputs, fibers, machine.peak_macs)
            reads = inputs.nnz * entry + fetched + POINTER * (m + k)
            works.append(_work(machine, which, macs, busy, merged, reads, outputs * entry + POINTER * m))
        return works

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        works: list[Work] = []
        for draw in draws_of(works, max(m, n), k):
            rows = typical_part(inputs, m, k, DRAWS + draw)
            tall = typical_part(inputs, m, min(k, max(1, SAMPLE // m)), DRAWS + draw, k)
            parts = rows, tall, typical_part(weights, n, k, draw)
            kept = inputs.nonzeros(m, k), weights.nonzeros(n, k)
            works.append(min(_typical_choices(shape, kept, parts, machine), key=lambda work: work.cycles))
        return mean_work(works)


def _typical_choices(
    shape: tuple[int, int, int], kept: tuple[int, int], parts: tuple[NonZeros, NonZeros, NonZeros], machine: PeConfig
) -> Sequence[Work]:
    """The product in each of ``DATAFLOWS``, from parts of the inputs with all k and with all rows, and of the weights.

    What tiles stream, merge and leave grows with the parts to their wholes; a fiber of a part is as much shorter as the
    cache is smaller, and after a part of the rows the cache is warm.
    """
    (m, n, k), entry, size = shape, entry_bytes(machine), machine.peak_macs
    rows, tall, part = parts
    fibers, longer = Fibers.of(part.transposed), n / part.shape[0]
    works: list[Work] = []
    feed, capacity = machine.whole("feed"), int(machine.buffers.weight / longer)
    for which in DATAFLOWS:
        order = tall.transposed if which == "outer" else rows
        more = k / tall.shape[1] if which == "outer" else m / rows.shape[0]
        sums = _tile_sums(
            order.pointers, order.columns, *fibers.parts, DATAFLOWS.index(which), size, feed, machine.whole("drain"),
            entry, capacity,
        )  # fmt: skip
        loads = order.nnz / feed
        busy = ((sums[0] - loads) * longer + loads) * more
        cold = 0 if which == "outer" else min(sums[1], part.nnz * entry)
        fetched, merged, outputs = longer * (cold + (sums[1] - cold) * more), sums[2] * more, sums[3] * more
        if which == "outer":
            merged, outputs = (each * (m / rows.shape[0]) for each in _outer_merge(rows, fibers, size))
        reads = round(kept[0] * entry + fetched) + POINTER * (m + k)
        macs, writes = round(kept[0] * kept[1] / k), round(outputs * longer * entry) + POINTER * m
        works.append(_work(machine, which, macs, math.ceil(busy), round(merged * longer), reads, writes))
    return works


def _work(machine: PeConfig, which: str, macs: int, busy: int, merged: int, reads: int, writes: int) -> Work:
    """``busy`` cycles of all tiles, ``merged`` elements afterwards."""
    spilled = max(0, macs * entry_bytes(machine) - machine.buffers.output) if which == "outer" else 0
    reads, writes = reads + spilled, writes + spilled
    merge = -(-merged // machine.whole("drain"))
    compute = min(busy, -(-macs // machine.peak_macs))
    waits = max(0, cycles_of(reads + writes, machine.dram_bytes) - busy - merge)
    causes = {"compute": compute, "stream": busy - compute, "merge": merge, "dram": waits}
    return Work(sum(causes.values()), macs, causes, reads, writes, reads + writes, {which: 1})


def _outer_merge(inputs: NonZeros, fibers: Fibers, size: int) -> tuple[int, int]:
    """(elements merged, all passes counted; non-zeros of the result) of the outer product's lists."""
    lengths = np.diff(fibers.pointers)[inputs.columns]
    upto = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    products = upto[inputs.pointers[1:]] - upto[inputs.pointers[:-1]]
    passes, lists = np.zeros(products.size, np.int64), inputs.row_counts.copy()
    while (lists > 1).any():
        passes += lists > 1
        lists = ceil_div(lists, size) if size > 1 else lists // 2
    outputs = _results(inputs.pointers, inputs.columns, *fibers.parts)
    return int((products * passes).sum()), int(outputs)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _results(
    x_pointers: Ints, x_columns: Columns, pointers: Ints, columns: Columns, bitmap_of: Ints, bitmaps: Words
) -> int:
    """Non-zeros of the product."""
    into, touched, total = np.zeros(bitmaps.shape[1], np.uint64), np.zeros(bitmaps.shape[1], np.int64), 0
    for row in range(x_pointers.size - 1):
        size = 0
        for at in range(x_pointers[row], x_pointers[row + 1]):
            size = join(pointers, columns, bitmap_of, bitmaps, x_columns[at], into, touched, size)
        total += drain(into, touched, size)
    return total


@njit(cache=True)  # type: ignore[untyped-decorator]
def _tile_sums(
    x_pointers: Ints, x_columns: Columns, pointers: Ints, columns: Columns, bitmap_of: Ints, bitmaps: Words,
    which: int, size: int, feed: int, leave: int, entry: int, capacity: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """(cycles of all tiles, bytes of fibers fetched, elements of cut rows merged, non-zeros of the result).

    ``which`` is the place in DATAFLOWS; for the outer product inputs are by reduction index, the last two are 0.
    """
    fibers = pointers.size - 1
    all_of = pointers[fibers]
    links, room, seen = empty(fibers), np.array([0, 0, capacity]), np.full(fibers, -1, np.int64)
    words = bitmaps.shape[1]
    piece, whole = np.zeros((2, words), np.uint64)
    at_piece, at_whole = np.zeros((2, words), np.int64)
    busy = fetched = merged = results = held = streamed = left = products = tile = 0
    for row in range(x_pointers.size - 1):
        in_piece = in_whole = pieces = made = 0
        for at in range(x_pointers[row], x_pointers[row + 1]):
            k = row if which == 1 else x_columns[at]
            length = pointers[k + 1] - pointers[k]
            held, products = held + 1, products + length
            if which == 2 or (which == 1 and seen[k] != tile):
                seen[k] = tile
                streamed += length
                fetched += 0 if touch(k, length * entry, links, room) else length * entry
            last = at + 1 == x_pointers[row + 1]
            if which == 1:
                left += length
            else:
                in_piece = join(pointers, columns, bitmap_of, bitmaps, k, piece, at_piece, in_piece)
                in_whole = join(pointers, columns, bitmap_of, bitmaps, k, whole, at_whole, in_whole)
                if last or held == size:
                    gone = drain(piece, at_piece, in_piece)
                    in_piece, left, made, pieces = 0, left + gone, made + gone, pieces + 1
            if held == size:
                streamed = all_of if which == 0 else streamed
                busy += -(-held // feed) + max(-(-streamed // feed), -(-left // leave), -(-products // size))
                held, streamed, left, products, tile = 0, 0, 0, 0, tile + 1
        results += drain(whole, at_whole, in_whole)
        while pieces > 1:
            merged += made
            pieces = -(-pieces // size) if size > 1 else pieces // 2
    tile += held > 0
    if which == 0:
        streamed = all_of if held else 0
        fetched = _all_fetched(pointers, entry, capacity, tile)
    busy += -(-held // feed) + max(-(-streamed // feed), -(-left // leave), -(-products // size))
    return busy, fetched, merged, results


@njit(cache=True)  # type: ignore[untyped-decorator]
def _all_fetched(pointers: Ints, entry: int, capacity: int, rounds: int) -> int:
    """Bytes fetched when all fibers are used in order in each of ``rounds``: once each where those that may be kept
    fit the cache together, else in every round; a fiber that is larger than the cache is never kept."""
    kept = passing = 0
    for row in range(pointers.size - 1):
        size = (pointers[row + 1] - pointers[row]) * entry
        kept, passing = (kept + size, passing) if size <= capacity else (kept, passing + size)
    return passing * rounds + kept * (min(rounds, 1) if kept <= capacity else rounds)


ENGINES.register("flexagon")(Flexagon())
