# SPDX-License-Identifier: Apache-2.0
"""Dual-side sparse tensor core: outer products of two bitmap-compressed operands, gathered into an output buffer."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints
from simsparse.dataflow.expected import products
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, cycles_of, double_buffered, same_k
from simsparse.dataflow.typical import DRAWS, typical_part
from simsparse.errors import SpecError
from simsparse.sparsity import Sparsity
from simsparse.sparsity.nonzeros import NonZeros, effectual_macs

Bitmaps = NDArray[np.uint64]
WIDE, WALKED, TILES = 1024, 1 << 12, 3
"""k of a typical pair of tiles, k of all draws of one, and whole tiles of either operand."""
WIDEST = 64
"""Elements of a tile's side that one bitmap word holds."""


class Dstc(SparseEngine):
    """``rows`` x ``cols`` multipliers take, for one k, ``rows`` non-zeros of the inputs times ``cols`` of the weights.

    Outputs are made in tiles of ``tile`` x ``tile``. For every k of a tile the non-zeros of either side are packed
    and cut into groups; a pair of groups is a step of one cycle, however full its groups are. The products of a step
    go to the banks of the output buffer, bank (row mod ``rows``, column mod ``cols``), each of which adds one product
    a cycle, all of them together ``ports``. Up to ``collector`` steps wait for their banks; then the multipliers do.
    Operands of the next k arrive during the steps of this one, ``feed`` values a cycle, bitmaps included; ``span`` k
    with an empty side are passed over by the upper level of the bitmap. A finished tile leaves before the next
    begins. Tiles of weights inside, of inputs outside, from a double-buffered store.

    Packing may put another non-zero where it meets fewer bank conflicts, so a denser operand may be slightly faster.
    Source: Wang et al., Dual-side Sparse Tensor Core (steps of 8x16, tile of 32x32, bitmaps of two levels, a
    collector before the banks); the banks' number and places, which the paper leaves open, are assumed. Left out:
    the instructions that count bits, and im2col on bitmaps. The closed form walks a few typical
    pairs of tiles.
    """

    name: ClassVar[str] = "dstc"
    settings: ClassVar[dict[str, str]] = {
        "tile": "outputs along each side of the output buffer, at most 64",
        "ports": "products that the output buffer adds in a cycle",
        "collector": "steps that may wait for their banks",
        "feed": "values that the line buffers take in a cycle",
        "span": "k under one bit of the upper level of the bitmap",
    }
    tolerance: ClassVar[float] = 0.15
    denser_is_slower: ClassVar[bool] = False

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, _ = same_k(weights, inputs)
        tile = _tile(machine)
        x, w = _bitmaps(inputs, tile), _bitmaps(weights, tile)
        pairs = _pairs(
            x, w, machine.rows, machine.cols, machine.whole("ports"), machine.whole("collector"),
            machine.whole("feed"), -(-2 * tile // machine.value_bits), machine.whole("span"),
        )  # fmt: skip
        area = np.outer(_sides(m, tile), _sides(n, tile)).reshape(-1)
        drain = -(-area // machine.whole("feed"))
        x_bytes, w_bytes = (_stored(_tile_counts(op, tile), op.shape[1], tile, machine) for op in (inputs, weights))
        read = _reads(x_bytes, w_bytes, machine)
        write = -(-area * machine.output_bits // 8)
        macs = effectual_macs(weights, inputs)
        return _work(pairs, drain, read, write, _operands(x_bytes, w_bytes), macs, machine)

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        tile = _tile(machine)
        kept_x, kept_w = inputs.nonzeros(m, k), weights.nonzeros(n, k)
        pairs = _typical_pairs(shape, weights, inputs, machine)
        area = np.outer(_sides(m, tile), _sides(n, tile)).reshape(-1)
        sides = ((kept_x / m, m), (kept_w / n, n))
        x_bytes, w_bytes = (_stored(_sides(side, tile) * kept, k, tile, machine) for kept, side in sides)
        read, write = _reads(x_bytes, w_bytes, machine), -(-area * machine.output_bits // 8)
        drain, macs = -(-area // machine.whole("feed")), products(shape, weights, inputs)
        return _work(pairs, drain, read, write, _operands(x_bytes, w_bytes), macs, machine)


def _tile(machine: PeConfig) -> int:
    tile = machine.whole("tile")
    if tile > WIDEST:
        raise SpecError(f"{tile}; expected at most {WIDEST}", key="engine.tile")
    return tile


def _bitmaps(pattern: NonZeros, tile: int) -> Bitmaps:
    """A word (tiles, k) for each k of each tile of rows: bit i says whether row i of the tile is no zero."""
    rows, k = pattern.shape
    row = np.repeat(np.arange(rows, dtype=np.int64), pattern.row_counts)
    words = np.zeros(-(-rows // tile) * k, np.uint64)
    np.bitwise_or.at(words, row // tile * k + pattern.columns, np.uint64(1) << (row % tile).astype(np.uint64))
    return words.reshape(-1, k)


def _sides(size: int, tile: int) -> Ints:
    """Rows of each tile of ``size``."""
    sides: Ints = np.minimum(tile, size - np.arange(0, size, tile))
    return sides


def _tile_counts(pattern: NonZeros, tile: int) -> Ints:
    """Non-zeros of each tile of rows."""
    edges = np.append(np.arange(0, pattern.shape[0], tile), pattern.shape[0])
    counts: Ints = np.diff(pattern.pointers[edges])
    return counts


def _stored(kept: NDArray[np.generic], k: int, tile: int, machine: PeConfig) -> Ints:
    """Bytes of tiles with ``kept`` values: the values, a bit for every element, one for every span of k."""
    bits = np.asarray(kept, np.float64) * machine.value_bits + k * tile + -(-k // machine.whole("span"))
    return np.ceil(bits / 8).astype(np.int64)


def _reads(x_bytes: Ints, w_bytes: Ints, machine: PeConfig) -> Ints:
    """Bytes read before each pair of tiles: inputs at the first of a row, weights again unless all of them stay."""
    read = np.tile(w_bytes, (x_bytes.size, 1))
    if w_bytes.sum() <= machine.buffers.weight // 2:
        read[1:] = 0
    if x_bytes.max() <= machine.buffers.input // 2:
        read[:, 0] += x_bytes
    else:
        read += x_bytes[:, None]
    return read.reshape(-1)


def _typical_pairs(
    shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig
) -> Ints:  # fmt: skip
    """What ``_pairs`` gives, each pair the mean of typical ones: of whole tiles, and of the last of each operand.

    Banks that meet depend on where non-zeros lie, for which there is no formula; so a few pairs are walked, on the
    first WIDE k at most.
    """
    (m, n, k), tile = shape, _tile(machine)
    wide, counts = min(k, WIDE), (-(-m // tile), -(-n // tile))
    means = np.zeros((2, 2, 3))
    draws = max(1, min(16, WALKED // wide))
    for draw in range(draws):
        x, w = (_tiles_of(typical_part(one, size, k, draw + first), size, wide, tile)
                for one, size, first in ((inputs, m, DRAWS), (weights, n, 0)))  # fmt: skip
        pairs = _pairs(
            x, w, machine.rows, machine.cols, machine.whole("ports"), machine.whole("collector"),
            machine.whole("feed"), -(-2 * tile // machine.value_bits), machine.whole("span"),
        ).reshape(x.shape[0], w.shape[0], 3)  # fmt: skip
        for row, of_x in enumerate((pairs[: max(1, len(pairs) - 1)], pairs[-1:])):
            means[row, 0] += of_x[:, : max(1, w.shape[0] - 1)].mean(axis=(0, 1)) * k / (wide * draws)
            means[row, 1] += of_x[:, -1:].mean(axis=(0, 1)) * k / (wide * draws)
    last = [(np.arange(count) == count - 1).astype(np.int64) for count in counts]
    return np.asarray(np.rint(means[last[0][:, None], last[1]]), np.int64).reshape(-1, 3)


def _tiles_of(part: NonZeros, size: int, wide: int, tile: int) -> Bitmaps:
    """Bitmaps (tiles, wide) of the first whole tiles of an operand of ``size`` rows, and of one as high as its last."""
    words = _bitmaps(part, tile)[:, :wide]
    height = (size - 1) % tile + 1
    whole = words[: min(TILES, max(0, -(-size // tile) - 1))]
    last = words[-1:] if part.shape[0] == size else words[:1] & np.uint64((1 << height) - 1)
    return np.ascontiguousarray(np.concatenate([whole, last]))


def _operands(x_bytes: Ints, w_bytes: Ints) -> int:
    """Bytes that the line buffers take: both operands of every pair of tiles."""
    return int(x_bytes.sum() * w_bytes.size + w_bytes.sum() * x_bytes.size)


def _work(pairs: Ints, drain: Ints, read: Ints, write: Ints, operands: int, macs: int, machine: PeConfig) -> Work:
    busy = pairs[:, 0] + drain
    moved = read + np.concatenate([[0], write[:-1]])
    load = np.ceil(moved / machine.dram_bytes).astype(np.int64)
    total, waiting = double_buffered(load, busy)
    last = cycles_of(int(write[-1]), machine.dram_bytes)
    even = -(-macs // machine.peak_macs)
    cycles, steps, feed = (int(column.sum()) for column in pairs.T)
    causes = {
        "compute": even, "granularity": steps - even, "feed": feed, "conflict": cycles - steps - feed,
        "drain": int(drain.sum()), "dram": waiting + last,
    }  # fmt: skip
    dram_read, dram_write = int(read.sum()), int(write.sum())
    sram = dram_read + operands + dram_write
    return Work(total + last, macs, causes, dram_read, dram_write, sram, {"steps": steps})


@njit(cache=True)  # type: ignore[untyped-decorator]
def _pairs(
    x: Bitmaps, w: Bitmaps, rows: int, cols: int, ports: int, collector: int, feed: int, bitmap: int, span: int
) -> Ints:
    """(cycles, steps, cycles without operands) of every pair of tiles, those of the weights inside."""
    result = np.empty((x.shape[0] * w.shape[0], 3), np.int64)
    for i in range(x.shape[0]):
        for j in range(w.shape[0]):
            result[i * w.shape[0] + j] = _pair(x[i], w[j], rows, cols, ports, collector, feed, bitmap, span)
    return result


@njit(cache=True)  # type: ignore[untyped-decorator]
def _pair(
    x: Bitmaps, w: Bitmaps, rows: int, cols: int, ports: int, collector: int, feed: int, bitmap: int, span: int
) -> tuple[int, int, int]:
    """One pair of tiles, from its first operand to its last product."""
    free, done = np.zeros((rows, cols), np.int64), np.zeros(collector, np.int64)
    x_banks, w_banks = np.zeros((WIDEST, rows), np.int64), np.zeros((WIDEST, cols), np.int64)
    now, ready, port, steps, starved, end = -1, 0, 0, 0, 0, 0
    last_start = 0
    for at in range(x.size):
        if at % span == 0 and (_empty(x[at : at + span]) or _empty(w[at : at + span])):
            skip_to = at + span
        elif at % span == 0:
            skip_to = at
        if at < skip_to:
            continue
        n_x, n_w = _pack(x[at], rows, x_banks), _pack(w[at], cols, w_banks)
        values = n_x + n_w if n_x and n_w else 0
        ready = max(ready, last_start) - (values + bitmap) // -feed
        for step in range((n_x + rows - 1) // rows * ((n_w + cols - 1) // cols)):
            group_x, group_w = step // ((n_w + cols - 1) // cols), step % ((n_w + cols - 1) // cols)
            slot = done.argmin()
            start = max(now + 1, ready)
            starved += start - now - 1
            now = max(start, done[slot])
            last_start = now if step == 0 else last_start
            products = min(rows, n_x - group_x * rows) * min(cols, n_w - group_w * cols)
            port = max(port, now * ports) + products
            over = max((port + ports - 1) // ports, _gather(free, x_banks, group_x, w_banks, group_w, now))
            done[slot], end, steps = over, max(end, over), steps + 1
    return max(end, ready), steps, starved + max(0, ready - end)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _empty(words: Bitmaps) -> bool:
    return not words.any()


@njit(cache=True)  # type: ignore[untyped-decorator]
def _pack(word: np.uint64, group: int, banks: Ints) -> int:
    """Cut the set bits of ``word`` into groups: how many of each group lie in each bank; returns the set bits."""
    at, filled, bank, one = 0, 0, 0, np.uint64(1)
    banks[0] = 0
    while word:
        if word & one:
            if filled == group:
                at, filled = at + 1, 0
                banks[at] = 0
            banks[at, bank] += 1
            filled += 1
        word >>= one
        bank = bank + 1 if bank + 1 < group else 0
    return at * group + filled


@njit(cache=True)  # type: ignore[untyped-decorator]
def _gather(free: Ints, x_banks: Ints, group_x: int, w_banks: Ints, group_w: int, now: int) -> int:
    """Let every bank add its products of a step that begins ``now``; returns when the last one is done."""
    over = now + 1
    for row in range(free.shape[0]):
        products = x_banks[group_x, row]
        if products:
            for col in range(free.shape[1]):
                more = products * w_banks[group_w, col]
                until = max(free[row, col], now) + more
                free[row, col] = until
                over = max(over, until if more else 0)
    return over


ENGINES.register("dstc")(Dstc())
