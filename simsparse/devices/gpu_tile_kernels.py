# SPDX-License-Identifier: Apache-2.0
"""Tiled GEMM kernels of a library: which tile it takes by its own estimate, and how long that takes.

A kernel cuts the output into tiles, a thread block each, and k into splits; blocks run in waves of one per
streaming multiprocessor (SM). Along k a block needs the longer of its products and its reads from L2, and
a fixed overhead; beside that stands what must come from memory or L2 for the whole kernel. Arithmetic and
memory overlap: their times add up as fourth powers, those of one SM's and the card's rate as squares.
Whatever the kernel does, the power limit bounds the rate of products and bytes.

The library chooses a tile without knowing where the operands lie or how fast the clock runs: by an
estimate with parameters of its own. The time is the mean over the tiles that this estimate ranks
highest, weighted by their distance from the first.

Left out: matrix-vector kernels of one token, kernels of other shapes that a library's tables name for single sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from simsparse.core.memo import by_identity
from simsparse.devices.gpu_gemm_types import Floats, GemmShapes, GemmTimes
from simsparse.devices.gpu_tile_numbers import TileKernel, TileNumbers

CHUNK = 160
"""GEMMs evaluated at once, so that the arrays stay in the processor's cache."""
FEW = 64
"""GEMMs whose tiles are remembered for cards with other rates of memory and other power limits."""
RANKED = 32
"""Tiles that are timed: those that the library's estimate ranks highest."""
STEP = 64.0
"""k is padded to this many elements."""
LINE_BYTES = 128
"""Bytes of a cache line."""
USUAL_K = 2048.0
"""k at which the library's leaning towards a tile is its preference alone."""
MOST_DOUBLINGS = 4.0
"""Doublings of the blocks from one per SM beyond which the library's leaning no longer follows them."""


class TileCore(NamedTuple):
    """Multiprocessors and cache of a card, SI units; ``flops`` is the peak of a kernel's products."""

    sms: int
    clock_hz: float
    flops: float
    l2_bytes: float


class TileCard(NamedTuple):
    """What a tiled kernel needs to know of the card, SI units.

    ``memory`` and ``sustained``: shares of the peaks of memory and products that the card holds; ``speed``
    the rate over the one that the power limit lets it hold.
    """

    core: TileCore
    hbm_bytes_per_s: float
    memory: float
    sustained: float
    speed: float


class Sizes(NamedTuple):
    """GEMMs as columns (GEMMs, 1), bytes of whole operands among them."""

    m: Floats
    n: Floats
    k: Floats
    batch: Floats
    value_bytes: Floats
    weights: Floats
    inputs: Floats
    outputs: Floats
    looped: Floats


class Tiling(NamedTuple):
    """What each tile launches for each GEMM: sides, blocks along both, and the attributes of the tile."""

    outputs: Floats
    tokens: Floats
    columns: Floats
    rows: Floats
    splits: Floats
    efficiency: Floats


class TileSeconds(NamedTuple):
    """What each tile takes, whatever the rate of the memory and the power limit: arrays (GEMMs, tiles).

    ``launch``, ``compute`` and ``near``: seconds of launches, of the waves of blocks, and of bytes from L2. ``away``:
    bytes from memory. ``running``: SMs that have a block. ``products``: flops that the power limit spreads, 0 in an
    estimate.
    """

    launch: Floats
    compute: Floats
    near: Floats
    away: Floats
    running: NDArray[np.intp]
    products: Floats


Arrays = TypeVar("Arrays", Tiling, TileSeconds)


@dataclass(frozen=True)
class KernelTiles:
    """All tiles of a kernel for some GEMMs on cards of any memory rate and power limit."""

    sizes: Sizes
    tiling: Tiling
    core: TileCore
    kernel: TileKernel

    @cached_property
    def estimated(self) -> TileSeconds:
        """Of every tile, as the library's estimate has them."""
        return _parts(self.sizes, self.tiling, self.core, self.kernel, estimated=True)

    @cached_property
    def leaning(self) -> Floats:
        """How much more likely the library takes each tile than its own estimate says, as a logarithm."""
        t, kernel = self.tiling, self.kernel
        blocks = np.log2(t.columns * t.rows * self.sizes.batch * t.splits / self.core.sms)
        by_blocks = kernel.by_blocks * np.clip(blocks, -MOST_DOUBLINGS, MOST_DOUBLINGS)
        return np.asarray(kernel.preference + kernel.by_k * np.log2(self.sizes.k / USUAL_K) + by_blocks)

    @cached_property
    def _all(self) -> TileSeconds:
        return _spread(_parts(self.sizes, self.tiling, self.core, self.kernel))

    def at(self, ranked: NDArray[np.intp] | None) -> TileSeconds:
        """Of the tiles at the places ``ranked`` (GEMMs, tiles), None of all; few are taken from those of all tiles."""
        if len(self.sizes.m) <= FEW:
            return self._all if ranked is None else _taken(self._all, ranked)
        tiling = self.tiling if ranked is None else _taken(_spread(self.tiling), ranked)
        return _parts(self.sizes, tiling, self.core, self.kernel)


def _spread(arrays: Arrays) -> Arrays:
    """The same arrays, each with an element for every GEMM and tile."""
    shape = np.broadcast_shapes(*(each.shape for each in arrays))
    spread: list[NDArray[Any]] = [np.ascontiguousarray(np.broadcast_to(each, shape)) for each in arrays]
    return type(arrays)(*spread)


def _taken(arrays: Arrays, ranked: NDArray[np.intp]) -> Arrays:
    """The tiles at the places ``ranked`` (GEMMs, tiles) of each array of all GEMMs and tiles."""
    gemms, tiles = arrays[0].shape
    places = ranked + np.arange(0, gemms * tiles, tiles)[:, None]
    taken: list[NDArray[Any]] = [each.take(places) for each in arrays]
    return type(arrays)(*taken)


class Unlimited(NamedTuple):
    """What the ranked tiles take before the power limit, and the weight of each: arrays (GEMMs, tiles).

    ``power``: seconds over which the limit spreads the kernel at the rate of products that the card sustains.
    """

    weights: Floats
    launch: Floats
    compute: Floats
    memory: Floats
    power: Floats


def tile_kernel_seconds(shapes: GemmShapes, card: TileCard, kernel: TileKernel) -> GemmTimes:
    """Seconds of GEMMs that run ``kernel``."""
    rates = card.hbm_bytes_per_s, card.memory, card.sustained
    if len(shapes.m) <= FEW:
        return _limited(_known_unlimited(_known_tiles(shapes, kernel, *card.core), *rates), card.speed)
    starts = range(0, len(shapes.m), CHUNK)
    chunks = [_tiles(shapes.take(slice(start, start + CHUNK)), kernel, *card.core) for start in starts]
    times = [_limited(_unlimited(tiles, *rates), card.speed) for tiles in chunks]
    columns = zip(*((each.latency_s, each.compute_s, each.memory_s, each.launch_s) for each in times), strict=True)
    return GemmTimes(*map(np.concatenate, columns))


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
    return KernelTiles(sizes, tilings(sizes.m, sizes.n, kernel), TileCore(sms, clock_hz, flops, l2_bytes), kernel)


_known_tiles = by_identity(maxsize=64)(_tiles)


def _unlimited(tiles: KernelTiles, hbm_bytes_per_s: float, memory: float, sustained: float) -> Unlimited:
    """Times of the tiles that the library's estimate ranks highest."""
    ranked, weights = _choice(tiles, hbm_bytes_per_s)
    parts, hbm, core, p = tiles.at(ranked), memory * hbm_bytes_per_s, tiles.core, tiles.kernel.value
    traffic = p.memory_power * parts.away / hbm
    power = parts.products / (sustained * core.flops) + traffic
    return Unlimited(weights, parts.launch, parts.compute, _memory_seconds(parts, hbm, core, p), power)


_known_unlimited = by_identity(maxsize=16)(_unlimited)


def _choice(tiles: KernelTiles, hbm_bytes_per_s: float) -> tuple[NDArray[np.intp] | None, Floats]:
    """The places of the tiles that the library's estimate ranks highest, None of all, and the weight of each."""
    kernel, parts = tiles.kernel, tiles.estimated
    memory = _memory_seconds(parts, kernel.view.memory * hbm_bytes_per_s, tiles.core, kernel.estimated)
    seconds = parts.launch + _joined(parts.compute, memory)
    score = (1.0 - seconds / seconds.min(axis=1, keepdims=True)) / kernel.value.spread + tiles.leaning
    ranked = np.argpartition(-score, RANKED, axis=1)[:, :RANKED] if score.shape[1] > RANKED else None
    taken = score if ranked is None else np.take_along_axis(score, ranked, 1)
    weight = np.exp(taken - taken.max(axis=1, keepdims=True))
    return ranked, weight / weight.sum(axis=1, keepdims=True)


def tilings(m: Floats, n: Floats, kernel: TileKernel) -> Tiling:
    """How every tile of ``kernel`` cuts GEMMs given as columns (GEMMs, 1)."""
    free, other = np.where(kernel.along_tokens, m, n), np.where(kernel.along_tokens, n, m)
    side = kernel.granule * np.ceil(free / np.ceil(free / kernel.most) / kernel.granule)
    along, across = np.ceil(free / side), np.ceil(other / kernel.fixed)
    pick = kernel.along_tokens
    return Tiling(
        np.where(pick, kernel.fixed, side), np.where(pick, side, kernel.fixed),
        np.where(pick, across, along), np.where(pick, along, across), kernel.splits, kernel.efficiency,
    )  # fmt: skip


def _parts(sizes: Sizes, tiling: Tiling, core: TileCore, kernel: TileKernel, estimated: bool = False) -> TileSeconds:
    """What the tiles take, or what the library estimates where ``estimated``."""
    p, room = kernel.estimated if estimated else kernel.value, core.l2_bytes
    missing: Floats | float = kernel.view.missing if estimated else _lost(sizes.looped, p.resident * room, p.sharpness)
    lost: Floats | float = 1.0 if estimated else (
        _lost(sizes.outputs + sizes.inputs, p.resident_output * room, p.sharpness))  # fmt: skip
    area, blocks = tiling.outputs * tiling.tokens, tiling.columns * tiling.rows * sizes.batch * tiling.splits
    split, l2_rate = tiling.splits > 1, p.l2 * core.sms * core.clock_hz
    launch = p.launch + (0.0 if estimated else p.cold_launch * missing)
    launch = launch + np.where(split, p.split_launch + p.cold_split * missing, 0.0)
    launch = launch + 8.0 * sizes.m * sizes.n * sizes.batch * np.where(split, tiling.splits, 0.0) / l2_rate
    running = np.minimum(blocks, core.sms).astype(np.intp)
    near = (1.0 - missing) * (sizes.weights + sizes.inputs) + sizes.outputs * (1.0 - lost)
    near = near + p.reread * sizes.inputs * (tiling.columns - 1.0)
    return TileSeconds(
        launch, _wave_seconds(sizes, tiling, area, blocks, core, p, missing),
        near * _seconds_per_byte(l2_rate, p.l2_stream, core, p)[running],
        _memory_bytes(sizes, tiling, area, blocks, core, p, missing) + p.write * sizes.outputs * lost, running,
        np.zeros(1) if estimated else _limited_products(sizes, tiling, area, p),
    )  # fmt: skip


def _wave_seconds(
    sizes: Sizes, tiling: Tiling, area: Floats, blocks: Floats, core: TileCore, p: TileNumbers, missing: Floats | float
) -> Floats:
    """Seconds of the waves of blocks, each as long as its products or its reads from L2."""
    products = 2.0 * area * core.sms / (core.flops * p.tensor * tiling.efficiency) * core.clock_hz
    size = sizes.value_bytes
    ragged = (sizes.k * size % LINE_BYTES > 0) | (sizes.n * np.maximum(size, 2.0) % LINE_BYTES > 0)
    products = products + p.overhead + p.cold_overhead * missing + np.where(ragged, p.ragged, 0.0)
    longer, shorter = np.maximum(tiling.tokens, tiling.outputs), np.minimum(tiling.tokens, tiling.outputs)
    reads = size * (shorter + longer * p.multicast) / p.port
    steps = np.ceil(sizes.k / tiling.splits / STEP) * STEP
    cycles = p.fill + area * p.epilogue + steps * _joined(products, reads)
    filled = blocks / core.sms
    waves = np.ceil(filled) * (1.0 - p.crowding * (1.0 - np.minimum(filled, 1.0)))
    return np.asarray(waves * cycles / core.clock_hz)


def _memory_bytes(
    sizes: Sizes, tiling: Tiling, area: Floats, blocks: Floats, core: TileCore, p: TileNumbers, missing: Floats | float
) -> Floats:
    """Bytes of operands from memory; where they do not stay in the L2, each wave fetches those of a square of tiles."""
    operands = sizes.weights + sizes.inputs
    lost = _lost(operands, p.resident_operands * core.l2_bytes, p.sharpness)
    waves = blocks / tiling.splits / core.sms
    square = 2.0 * np.sqrt(core.sms * area) * sizes.k * sizes.value_bytes
    return np.asarray(missing * np.maximum(operands, lost * p.thrash * waves * square))


def _limited_products(sizes: Sizes, tiling: Tiling, area: Floats, p: TileNumbers) -> Floats:
    """Flops that the power limit spreads: those of the GEMM, and a share of those that pad its tiles."""
    useful = 2.0 * sizes.m * sizes.n * sizes.k * sizes.batch
    padded = 2.0 * area * tiling.columns * tiling.rows * sizes.batch * sizes.k
    return np.asarray(p.padded * padded + (1.0 - p.padded) * useful)


def _memory_seconds(parts: TileSeconds, hbm_bytes_per_s: float, core: TileCore, p: TileNumbers) -> Floats:
    """Seconds of the bytes from memory and from L2, each as fast as the card and the running SMs can draw them."""
    return np.asarray(parts.away * _seconds_per_byte(hbm_bytes_per_s, 1.0, core, p)[parts.running] + parts.near)


def _seconds_per_byte(bytes_per_s: float, faster: float, core: TileCore, p: TileNumbers) -> Floats:
    """Seconds of a byte by the number of SMs that draw, each ``faster`` times as fast as from memory."""
    return np.asarray(np.sqrt(bytes_per_s**-2.0 + _drawn(p, core.sms, core.clock_hz, faster)))


@by_identity(maxsize=64)
def _drawn(p: TileNumbers, sms: int, clock_hz: float, faster: float) -> Floats:
    """Squares of the seconds of a byte that the running SMs draw, by their number."""
    drawn = np.arange(1.0, sms + 1.0) * p.stream * clock_hz
    return np.concatenate([[np.inf], (drawn * faster) ** -2.0])


def _lost(touched: Floats, room: float, sharpness: float) -> Floats:
    """Share of buffers used in a loop that is no longer in the L2 when its turn comes again."""
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(1.0 / (1.0 + (room / touched) ** sharpness))


def _joined(first: Floats, second: Floats) -> Floats:
    """Seconds of two things that overlap: their fourth powers added."""
    a, b = first * first, second * second
    a *= a
    b *= b
    total = np.asarray(a + b)
    np.sqrt(total, out=total)
    return np.sqrt(total, out=total)
