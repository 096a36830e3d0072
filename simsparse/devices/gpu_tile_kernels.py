# SPDX-License-Identifier: Apache-2.0
"""Tiled GEMM kernels of a library: which tile it takes by its own estimate, and how long that takes.

A kernel cuts the output into tiles, a thread block each, and k into splits; blocks run in waves of one per
streaming multiprocessor (SM), or of several where the kernel's tiles leave room: what one of these waits for
hides behind the products and reads of the others. Along k a block needs the longer of its products and its reads
from L2, and a fixed overhead; beside that stands what must come from memory or L2 for the whole kernel. Arithmetic and
memory overlap: their times add up as fourth powers, those of one SM's and the card's rate as squares.
Whatever the kernel does, the power limit bounds the rate of products and bytes.

The library chooses a tile without knowing where the operands lie or how fast the clock runs: by an
estimate with parameters of its own, for the card as its file states it, whatever overrides make of the card. The time
is the mean over the tiles that this estimate ranks highest, weighted by their distance from the first.

Left out: matrix-vector kernels of one token, kernels of other shapes that a library's tables name for single sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import array_of, contiguous, taken
from simsparse.devices.gpu_gemm_types import Floats, GemmShapes, GemmTimes
from simsparse.devices.gpu_tile_columns import Sizes, TileBlocks, TileCard, TileCore, TileSeconds, Tiling, Unlimited
from simsparse.devices.gpu_tile_numbers import TileKernel, TileNumbers, TileSides

CHUNK = 320
"""GEMMs evaluated at once, so that the arrays stay in the processor's cache."""
FEW = 64
"""GEMMs whose tiles are remembered for cards with other rates of memory and other power limits."""
RANKED = 32
"""Tiles that are timed: those that the library's estimate ranks highest."""
MOST_HELD = 32.0
"""Thread blocks that an SM holds at most. Source: CUDA C++ Programming Guide, technical specifications of compute
capability 8.0 and 9.0."""
LINE_BYTES = 128
"""Bytes of a cache line."""
USUAL_K = 2048.0
"""k at which the library's leaning towards a tile is its preference alone."""
MOST_DOUBLINGS = 4.0
"""Doublings of the blocks from one per SM beyond which the library's leaning no longer follows them."""


ScalarT = TypeVar("ScalarT", np.float64, np.intp)


@dataclass(frozen=True)
class KernelTiles:
    """All tiles of a kernel for some GEMMs on cards of any memory rate and power limit: arrays (tiles, GEMMs)."""

    sizes: Sizes
    tiling: Tiling
    core: TileCore
    kernel: TileKernel

    @cached_property
    def _across(self) -> Sizes:
        """The GEMMs as rows (1, GEMMs)."""
        return Sizes(*(each.T for each in self.sizes))

    @cached_property
    def estimated(self) -> TileSeconds:
        """Of every tile, as the library's estimate has them; k of a batch is never split.

        No kernel of 1,987 batched products of random shapes profiled on an H200 had a split k.
        """
        kernel, sizes = self.kernel, self._across
        blocks = _blocks(sizes, self.tiling, self.core, kernel.estimated, kernel.view.missing)
        found = _parts(sizes, self._by_tile(blocks), kernel.splits, self.core, kernel.estimated, kernel.view.missing)
        batched = sizes.batch > 1
        if not batched.any():
            return found
        return found._replace(launch=np.where(batched & (kernel.splits > 1), np.inf, found.launch))

    @cached_property
    def leaning(self) -> Floats:
        """How much more likely the library takes each tile than its own estimate says, as a logarithm."""
        kernel = self.kernel
        by_blocks = kernel.by_blocks * np.clip(np.log2(self.estimated.filled), -MOST_DOUBLINGS, MOST_DOUBLINGS)
        return array_of(kernel.preference + kernel.by_k * np.log2(self._across.k / USUAL_K) + by_blocks)

    def _by_tile(self, blocks: TileBlocks) -> TileBlocks:
        """The blocks of each tile, from those of its row in the library's table."""
        return TileBlocks(*(each.take(self.kernel.row, axis=0) if len(each) > 1 else each for each in blocks))

    @cached_property
    def _all(self) -> tuple[Floats, NDArray[np.intp]]:
        """The numbers of TileSeconds one under the other for every tile and GEMM, and the SMs that have a block."""
        sizes = self._across
        blocks = self._by_tile(_true_blocks(sizes, self.tiling, self.core, self.kernel.value))
        *numbers, running = _true_parts(sizes, blocks, self.kernel.splits, self.core, self.kernel.value)
        return _stacked(numbers, running.shape), running

    def at(self, ranked: NDArray[np.intp]) -> TileSeconds:
        """Of the tiles ``ranked`` (GEMMs, tiles); those of few GEMMs are taken from the times of all tiles."""
        if len(self.sizes.m) <= FEW:
            numbers, running = self._all
            return TileSeconds._make([*_taken(numbers, ranked), _taken(running, ranked)])
        kernel, shape = self.kernel, (len(self.kernel.sides.fixed), len(self.sizes.m))
        tiling = Tiling(*_taken(_stacked(self.tiling, shape), taken(kernel.row, ranked)))
        blocks = _true_blocks(self.sizes, tiling, self.core, kernel.value)
        return _true_parts(self.sizes, blocks, taken(kernel.splits[:, 0], ranked), self.core, kernel.value)


def _stacked(arrays: Sequence[Floats], shape: tuple[int, ...]) -> Floats:
    """Arrays of one number per tile and GEMM, some of them the same for all of these, one under the other."""
    return np.stack([np.broadcast_to(each, shape) for each in arrays])


def _taken(arrays: NDArray[ScalarT], ranked: NDArray[np.intp]) -> NDArray[ScalarT]:
    """The tiles ``ranked`` (GEMMs, tiles) of arrays whose last axes are all tiles and GEMMs."""
    *stack, tiles, gemms = arrays.shape
    places = ranked * gemms + np.arange(gemms)[:, None]
    return array_of(taken(arrays.reshape(*stack, tiles * gemms), places, -1), arrays.dtype)


def tile_kernel_seconds(shapes: GemmShapes, card: TileCard, kernel: TileKernel) -> GemmTimes:
    """Seconds of GEMMs that run ``kernel``."""
    rates = card.seen_hbm_bytes_per_s, card.hbm_bytes_per_s, card.memory, card.sustained
    if len(shapes.m) <= FEW:
        seen, true = (_known_tiles(shapes, kernel, *core) for core in (card.seen, card.core))
        return _limited(_known_unlimited(seen, true, *rates), card.speed)
    starts = range(0, len(shapes.m), CHUNK)
    chunks = [_seen_and_true(shapes.take(slice(start, start + CHUNK)), card, kernel) for start in starts]
    times = [_limited(_unlimited(*tiles, *rates), card.speed) for tiles in chunks]
    columns = zip(*((each.latency_s, each.compute_s, each.memory_s, each.launch_s) for each in times), strict=True)
    return GemmTimes(*map(np.concatenate, columns))


def _seen_and_true(shapes: GemmShapes, card: TileCard, kernel: TileKernel) -> tuple[KernelTiles, KernelTiles]:
    """All tiles on the card that the library chooses for, and on the true one."""
    true = _tiles(shapes, kernel, *card.core)
    return true if card.seen == card.core else _tiles(shapes, kernel, *card.seen), true


def _limited(times: Unlimited, speed: float) -> GemmTimes:
    """Mean times at ``speed`` times the rate of products that the card sustains."""
    weights, launch, compute, memory, power = times
    overlapped, power = _joined(compute, memory), power / speed
    busy = np.maximum(overlapped, power)
    arithmetic = (compute >= memory) | (power >= overlapped)
    by_compute, by_memory = np.where(arithmetic, busy, compute), np.where(arithmetic, np.minimum(memory, busy), busy)
    columns = (launch + busy, by_compute, by_memory, launch)
    return GemmTimes(*((weights * column).sum(axis=1) for column in columns))


def _sizes(shapes: GemmShapes) -> Sizes:
    m, n, k, value_bytes, batch = shapes.columns
    weights, inputs = shapes.stored[:, None] * value_bytes * n * k * batch, value_bytes * m * k * batch
    outputs = np.maximum(value_bytes, 2.0) * m * n * batch
    weight_sets, input_sets = shapes.sets
    looped = weight_sets * weights + input_sets * inputs + outputs
    return Sizes(m, n, k, batch, value_bytes, weights, inputs, outputs, looped)


def _tiles(
    shapes: GemmShapes, kernel: TileKernel, sms: int, clock_hz: float, flops: float, l2_bytes: float
) -> KernelTiles:
    sizes = _sizes(shapes)
    return KernelTiles(
        sizes, tilings(sizes.m.T, sizes.n.T, kernel.sides), TileCore(sms, clock_hz, flops, l2_bytes), kernel
    )


_known_tiles = by_identity(maxsize=64)(_tiles)


def _unlimited(
    seen: KernelTiles, tiles: KernelTiles, seen_hbm_bytes_per_s: float, hbm_bytes_per_s: float, memory: float,
    sustained: float,
) -> Unlimited:  # fmt: skip
    """Times of the tiles that the library's estimate ranks highest."""
    ranked, weights = _choice(seen, seen_hbm_bytes_per_s)
    parts, hbm, core, p = tiles.at(ranked), memory * hbm_bytes_per_s, tiles.core, tiles.kernel.value
    power = (parts.products + p.byte_flops * parts.away) / (sustained * core.flops)
    return Unlimited(weights, parts.launch, parts.compute, _memory_seconds(parts, hbm, core, p), power)


_known_unlimited = by_identity(maxsize=16)(_unlimited)


def _choice(tiles: KernelTiles, hbm_bytes_per_s: float) -> tuple[NDArray[np.intp], Floats]:
    """The tiles that the library's estimate ranks highest, and the weight of each: arrays (GEMMs, tiles)."""
    kernel, parts = tiles.kernel, tiles.estimated
    memory = _memory_seconds(parts, kernel.view.memory * hbm_bytes_per_s, tiles.core, kernel.estimated)
    seconds = parts.launch + _joined(parts.compute, memory)
    least = seconds.min(axis=0, keepdims=True)
    score = contiguous(((1.0 - seconds / least) / kernel.value.spread + tiles.leaning).T)
    ranked = _highest(score)
    taken = np.take_along_axis(score, ranked, 1)
    weight = np.exp(taken - taken.max(axis=1, keepdims=True))
    return ranked, weight / weight.sum(axis=1, keepdims=True)


def _highest(score: Floats) -> NDArray[np.intp]:
    """The places of the RANKED highest scores of each row, of all where there are no more."""
    gemms, tiles = score.shape
    if tiles <= RANKED:
        return np.broadcast_to(np.arange(tiles), (gemms, tiles))
    return np.argpartition(-score, RANKED, axis=1)[:, :RANKED]


def tilings(m: Floats, n: Floats, sides: TileSides) -> Tiling:
    """How tiles cut GEMMs given as rows (1, GEMMs)."""
    pick, fixed, most, granule, efficiency = sides
    free, other = np.where(pick, m, n), np.where(pick, n, m)
    side = granule * np.ceil(free / np.ceil(free / most) / granule)
    along, across = np.ceil(free / side), np.ceil(other / fixed)
    return Tiling(
        np.where(pick, fixed, side), np.where(pick, side, fixed),
        np.where(pick, across, along), np.where(pick, along, across), efficiency,
    )  # fmt: skip


def _true_blocks(sizes: Sizes, tiling: Tiling, core: TileCore, p: TileNumbers) -> TileBlocks:
    """Blocks as they run: outputs that no longer lie in the L2 when they are written again go to memory."""
    lost = _lost(sizes.outputs + sizes.inputs, p.resident_output * core.l2_bytes, p.sharpness)
    blocks = _blocks(sizes, tiling, core, p, _missing(sizes, core, p), lost)
    return blocks._replace(products=_limited_products(sizes, tiling, tiling.outputs * tiling.tokens, p))


def _missing(sizes: Sizes, core: TileCore, p: TileNumbers) -> Floats:
    """Share of the operands that is no longer in the L2."""
    return _lost(sizes.looped, p.resident * core.l2_bytes, p.sharpness)


def _blocks(
    sizes: Sizes, tiling: Tiling, core: TileCore, p: TileNumbers, missing: Floats | float, lost: Floats | float = 1.0
) -> TileBlocks:
    """Blocks of a kernel of which the shares ``missing`` of operands and ``lost`` of outputs are not in the L2."""
    area, count = tiling.outputs * tiling.tokens, tiling.columns * tiling.rows * sizes.batch
    near = (1.0 - missing) * (sizes.weights + sizes.inputs) + sizes.outputs * (1.0 - lost)
    near = near + p.reread * sizes.inputs * (tiling.columns - 1.0)
    away = _memory_bytes(sizes, area, count, core, p, missing) + p.write * sizes.outputs * lost
    step = _step_cycles(sizes, tiling, area, core, p, missing)
    none = np.zeros((1, 1))
    if not p.shares:
        return TileBlocks(count, p.fill + area * p.epilogue, step, near, away, none, none, none, none)
    busy = _busy_cycles(sizes, tiling, area, core, p)
    held = np.clip(np.floor(p.held / area), 1.0, MOST_HELD)
    return TileBlocks(count, p.fill + area * p.epilogue, step, near, away, none, area * p.epilogue, busy, held)


def _true_parts(sizes: Sizes, blocks: TileBlocks, splits: Floats, core: TileCore, p: TileNumbers) -> TileSeconds:
    """What the tiles take as they run."""
    missing = _missing(sizes, core, p)
    return _parts(sizes, blocks, splits, core, p, missing, p.cold_launch * missing)


def _parts(
    sizes: Sizes, blocks: TileBlocks, splits: Floats, core: TileCore, p: TileNumbers, missing: Floats | float,
    cold: Floats | float = 0.0,
) -> TileSeconds:  # fmt: skip
    """What the tiles take, each with ``splits`` of k; ``cold``: what a launch takes longer."""
    split, l2_rate = splits > 1, p.l2 * core.sms * core.clock_hz
    launch = p.launch + cold
    launch = launch + np.where(split, p.split_launch + p.cold_split * missing, 0.0)
    launch = launch + 8.0 * sizes.m * sizes.n * sizes.batch * np.where(split, splits, 0.0) / l2_rate
    count = blocks.whole_k * splits
    running, filled = np.minimum(count, core.sms).astype(np.intp), count / core.sms
    steps = np.ceil(sizes.k / splits / p.step) * p.step
    cycles = np.ceil(filled) * (blocks.fixed + steps * blocks.step)
    if p.shares:
        rounds = np.ceil(np.ceil(filled) / blocks.held)
        busy = np.ceil(filled) * (blocks.busy + steps * blocks.busy_step)
        cycles = np.maximum(rounds * (blocks.fixed + steps * blocks.step), busy)
    waves = cycles * (1.0 - p.crowding * (1.0 - np.minimum(filled, 1.0)))
    near = blocks.near * taken(_seconds_per_byte(l2_rate, p.l2_stream, core, p), running)
    return TileSeconds(launch, waves / core.clock_hz, near, blocks.away, blocks.products, filled, running)


def _step_cycles(
    sizes: Sizes, tiling: Tiling, area: Floats, core: TileCore, p: TileNumbers, missing: Floats | float
) -> Floats:
    """Cycles of a block per element of k: the longer of its products and its reads from L2."""
    products, size = _product_cycles(tiling, area, core, p), sizes.value_bytes
    ragged = (sizes.k * size % LINE_BYTES > 0) | (sizes.n * np.maximum(size, 2.0) % LINE_BYTES > 0)
    products = products + p.overhead + p.cold_overhead * missing + np.where(ragged, p.ragged, 0.0)
    return _joined(products, _read_cycles(sizes, tiling, p))


def _product_cycles(tiling: Tiling, area: Floats, core: TileCore, p: TileNumbers) -> Floats:
    """Cycles of the products of a block per element of k."""
    return array_of(2.0 * area * core.sms / (core.flops * p.tensor * tiling.efficiency) * core.clock_hz)


def _read_cycles(sizes: Sizes, tiling: Tiling, p: TileNumbers) -> Floats:
    """Cycles in which a block reads its operands from L2 per element of k."""
    longer, shorter = np.maximum(tiling.tokens, tiling.outputs), np.minimum(tiling.tokens, tiling.outputs)
    return array_of(sizes.value_bytes * (shorter + longer * p.multicast) / p.port)


def _busy_cycles(sizes: Sizes, tiling: Tiling, area: Floats, core: TileCore, p: TileNumbers) -> Floats:
    """Cycles per element of k in which a block keeps its SM from working for others that it holds."""
    return _joined(_product_cycles(tiling, area, core, p), _read_cycles(sizes, tiling, p))


def _memory_bytes(
    sizes: Sizes, area: Floats, count: Floats, core: TileCore, p: TileNumbers, missing: Floats | float
) -> Floats:
    """Bytes of operands from memory; where they do not stay in the L2, each wave fetches those of a square of tiles."""
    operands = sizes.weights + sizes.inputs
    lost = _lost(operands, p.resident_operands * core.l2_bytes, p.sharpness)
    square = 2.0 * np.sqrt(core.sms * area) * sizes.k * sizes.value_bytes
    return array_of(missing * np.maximum(operands, lost * p.thrash * (count / core.sms) * square))


def _limited_products(sizes: Sizes, tiling: Tiling, area: Floats, p: TileNumbers) -> Floats:
    """Flops that the power limit spreads: those of the GEMM, and a share of those that pad its tiles."""
    useful = 2.0 * sizes.m * sizes.n * sizes.k * sizes.batch
    padded = 2.0 * area * tiling.columns * tiling.rows * sizes.batch * sizes.k
    return array_of(p.padded * padded + (1.0 - p.padded) * useful)


def _memory_seconds(parts: TileSeconds, hbm_bytes_per_s: float, core: TileCore, p: TileNumbers) -> Floats:
    """Seconds of the bytes from memory and from L2, each as fast as the card and the running SMs can draw them."""
    return array_of(parts.away * taken(_seconds_per_byte(hbm_bytes_per_s, 1.0, core, p), parts.running) + parts.near)


def _seconds_per_byte(bytes_per_s: float, faster: float, core: TileCore, p: TileNumbers) -> Floats:
    """Seconds of a byte by the number of SMs that draw, each ``faster`` times as fast as from memory."""
    return array_of(np.sqrt(bytes_per_s**-2.0 + _drawn(p, core.sms, core.clock_hz, faster)))


@by_identity(maxsize=64)
def _drawn(p: TileNumbers, sms: int, clock_hz: float, faster: float) -> Floats:
    """Squares of the seconds of a byte that the running SMs draw, by their number."""
    drawn = np.arange(1.0, sms + 1.0) * p.stream * clock_hz
    return np.concatenate([[np.inf], (drawn * faster) ** -2.0])


def _lost(touched: Floats, room: float, sharpness: float) -> Floats:
    """Share of buffers used in a loop that is no longer in the L2 when its turn comes again."""
    with np.errstate(over="ignore", divide="ignore"):
        return array_of(1.0 / (1.0 + (room / touched) ** sharpness))


def _joined(first: Floats, second: Floats) -> Floats:
    """Seconds of two things that overlap: their fourth powers added."""
    a, b = first * first, second * second
    a *= a
    b *= b
    total: Floats = array_of(a + b)
    np.sqrt(total, out=total)
    np.sqrt(total, out=total)
    return total
