# SPDX-License-Identifier: Apache-2.0
"""Grouped n:m: a counter names the pattern that a step works on, so that weights carry no indexes of their places."""

from __future__ import annotations

from math import ceil, comb, log2
from typing import ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, double_buffered, same_k
from simsparse.dataflow.traffic import Floats
from simsparse.dataflow.typical import SAMPLE, draws_of, mean_work, repeated, typical_part
from simsparse.errors import SpecError
from simsparse.sparsity.formats.grouped_nm import pattern_order
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity

WIDEST = 16
"""Columns of a group at most: patterns are chosen by trying all of them."""


class Nmg(SparseEngine):
    """Rows of the weights in chunks of C(m, n) ``g``; in a group of ``m`` columns every pattern has ``g`` places.

    A counter walks the patterns of a tile (chunk and group) in an order in which neighbours differ in one index, so
    that a new pattern costs one new operand; ``rows`` lanes take ``g`` rows of a pattern, ``n`` values each, for
    ``cols`` vectors side by side. Which row a place belongs to is all that is stored beside the values; lanes add to
    the sums of their rows, which lie in ``banks`` (row modulo ``banks``), one row a cycle each. Places that no row
    fills are worked through all the same.

    Weights that are no n:m:g matrix take further walks of the counter over a tile: a row's non-zeros are cut into
    patterns, rows with just ``n`` first, always the pattern with fewest rows yet. Another non-zero may change that
    choice for the better, so a denser matrix may be slightly faster. A tile's weights come from DRAM during the tile
    before, once where all fit the weight buffer, else for every batch of ``cols`` vectors; inputs before its first
    tile. Zeros among the inputs are not skipped. No formula is known for the greedy choice: the closed form takes the
    walks and cycles of tiles from a part of a draw. Source: Ivanov et al., STen, 2023, and its
    code for the format; the engine is our own.
    """

    name: ClassVar[str] = "nmg"
    settings: ClassVar[dict[str, str]] = {
        "n": "values of a row in a group",
        "m": "columns of a group, at most 16",
        "g": "rows of each pattern in a chunk",
        "banks": "banks of the sums, each adds for one row a cycle",
    }
    tolerance: ClassVar[float] = 0.1
    denser_is_slower: ClassVar[bool] = False
    weight_formats: ClassVar[tuple[str, ...]] = ("nmg",)
    volume: ClassVar[int] = 2**32

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        shape, (n, m, g) = same_k(weights, inputs), _sizes(machine)
        tiles = _tiles(
            weights.pointers, weights.columns, weights.shape[1], _bits(n, m), n, m, g, machine.rows,
            -(-n // machine.macs), machine.whole("banks"),
        )  # fmt: skip
        return _work(tiles[:, 0], tiles[:, 1], effectual_macs(weights, inputs), shape, machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        _tokens, outputs, k = shape
        macs = products(shape, weights, inputs)
        works: list[Work] = []
        for draw in draws_of(works, outputs, k):
            tiles = _typical_tiles(weights, outputs, k, machine, draw)
            works.append(_work(tiles[:, 0], tiles[:, 1], macs, shape, machine))
        return mean_work(works)


def _typical_tiles(weights: Sparsity, outputs: int, k: int, machine: PeConfig, draw: int) -> Ints:
    """What ``_tiles`` gives of weights (outputs, k), from a part of a draw: its chunks, and the last one as high."""
    n, m, g = _sizes(machine)
    chunk, groups = comb(m, n) * g, -(-k // m)
    own = (_bits(n, m), n, m, g, machine.rows, -(-n // machine.macs), machine.whole("banks"))
    wide = min(k, max(m, SAMPLE // chunk // m * m))
    part = typical_part(weights, outputs, wide, draw, k)
    whole, rest = divmod(outputs, chunk)
    found = []
    for chunks, rows in ((whole, min(whole, max(1, part.shape[0] // chunk)) * chunk), (1, rest)):
        if chunks and rows:
            taken = part if rows == part.shape[0] else repeated(part, rows)
            tiles = _tiles(taken.pointers, taken.columns, wide, *own).reshape(-1, -(-wide // m), 2)
            found.append(np.resize(tiles, (chunks, *tiles.shape[1:]))[:, np.arange(groups) % tiles.shape[1]])
    return np.concatenate(found).reshape(-1, 2)


def _sizes(machine: PeConfig) -> tuple[int, int, int]:
    n, m, g = (machine.whole(name) for name in ("n", "m", "g"))
    if not n <= m <= WIDEST:
        raise SpecError(f"{n}:{m}; expected n <= m <= {WIDEST}", key="engine.m")
    return n, m, g


def _work(
    walks: Floats | Ints, cycles: Floats | Ints, macs: int, shape: tuple[int, int, int], machine: PeConfig
) -> Work:  # fmt: skip
    """From the walks of the counter over each tile and the cycles they take."""
    (tokens, outputs, k), (n, m, g) = shape, _sizes(machine)
    batches, value, patterns = -(-tokens // machine.cols), machine.value_bits / 8, comb(m, n)
    place = n * value + max(1, ceil(log2(patterns * g))) / 8
    stored = np.ceil(walks * patterns * g * place)
    read = np.tile(stored, batches)
    if stored.sum() <= machine.buffers.weight // 2:
        read[stored.size :] = 0
    read[:: stored.size] += np.ceil(np.minimum(machine.cols, tokens - np.arange(batches) * machine.cols) * k * value)
    busy = np.rint(np.tile(cycles, batches)).astype(np.int64)
    total, _ = double_buffered(np.ceil(read / machine.dram_bytes).astype(np.int64), busy)
    write = -(-tokens * outputs * machine.output_bits // 8)
    steps = patterns * -(-g // machine.rows) * -(-n // machine.macs)
    walked = round(float(np.sum(walks)) * steps * batches)
    even = -(-macs // machine.peak_macs)
    marks = np.maximum.accumulate([even, walked, int(busy.sum()), total + cycles_of(write, machine.dram_bytes)])
    causes = dict(zip(("compute", "padding", "conflict", "dram"), np.diff(marks, prepend=0).tolist(), strict=True))
    dram_read = int(read.sum())
    added = round(float(np.sum(walks)) * patterns * g * batches * machine.cols * (m * value / g + 4))
    events = {"walks": round(float(np.sum(walks)))}
    return Work(int(marks[-1]), macs, causes, dram_read, write, dram_read + write + added, events)


def _bits(n: int, m: int) -> Ints:
    """The patterns in the order of the counter, as sets of bits."""
    return np.array([sum(1 << place for place in pattern) for pattern in pattern_order(n, m)], np.int64)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _tiles(
    pointers: Ints, columns: Columns, k: int, patterns: Ints, n: int, m: int, g: int, lanes: int, base: int, banks: int
) -> Ints:
    """(walks of the counter, cycles) of each tile: chunks of rows outside, groups of columns inside."""
    chunk, groups = patterns.size * g, -(-k // m)
    chunks = (pointers.size - 1 + chunk - 1) // chunk
    result = np.zeros((chunks * groups, 2), np.int64)
    kept = np.zeros((groups, chunk), np.int64)
    for at in range(chunks):
        kept[:] = 0
        for row in range(at * chunk, min((at + 1) * chunk, pointers.size - 1)):
            for place in range(pointers[row], pointers[row + 1]):
                kept[columns[place] // m, row - at * chunk] |= 1 << (columns[place] % m)
        for group in range(groups):
            result[at * groups + group] = _tile(kept[group], patterns, n, m, g, lanes, base, banks)
    return result


@njit(cache=True)  # type: ignore[untyped-decorator]
def _tile(kept: Ints, patterns: Ints, n: int, m: int, g: int, lanes: int, base: int, banks: int) -> tuple[int, int]:
    demand = np.zeros(patterns.size, np.int64)
    rows = np.empty((patterns.size, kept.size * m), np.int64)
    for exact in (True, False):
        for row in range(kept.size):
            left = kept[row]
            if left == 0 or (_ones(left) == n) != exact:
                continue
            while left:
                best = _choice(left, patterns, demand, _ones(left) >= n)
                rows[best, demand[best]] = row
                demand[best] += 1
                left &= ~patterns[best]
    walks = (demand.max() + g - 1) // g
    cycles, load = 0, np.zeros(banks, np.int64)
    for pattern in range(patterns.size):
        for first in range(0, walks * g, g):
            for step in range(first, first + g, lanes):
                load[:] = 0
                for place in range(step, min(step + lanes, first + g, demand[pattern])):
                    load[rows[pattern, place] % banks] += 1
                cycles += max(base, load.max())
    return walks, cycles


@njit(cache=True)  # type: ignore[untyped-decorator]
def _choice(left: int, patterns: Ints, demand: Ints, inside: bool) -> int:
    """The pattern with fewest rows of those inside the set ``left``, or of those that cover it."""
    best = -1
    for pattern in range(patterns.size):
        shared = left & patterns[pattern]
        fits = shared == patterns[pattern] if inside else shared == left
        if fits and (best < 0 or demand[pattern] < demand[best]):
            best = pattern
    return best


@njit(cache=True)  # type: ignore[untyped-decorator]
def _ones(word: int) -> int:
    count = 0
    while word:
        word &= word - 1
        count += 1
    return count


ENGINES.register("nmg")(Nmg())
