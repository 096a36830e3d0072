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

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_tile_kernels import GpuTileKernel, GpuTileView
from simsparse.core.memo import by_identity
from simsparse.devices.gpu_gemm_types import Floats, GemmShapes, GemmTimes

CHUNK = 256
"""GEMMs evaluated at once, so that the arrays stay in the processor's cache."""
RANKED = 32
"""Tiles that are timed: those that the library's estimate ranks highest."""
STEP = 64.0
"""k is padded to this many elements."""


@dataclass(frozen=True)
class TileNumbers:
    """The numbers of a GpuTileKernel in SI units."""

    launch: float
    cold_launch: float
    overhead: float
    cold_overhead: float
    fill: float
    epilogue: float
    tensor: float
    port: float
    multicast: float
    stream: float
    l2_stream: float
    l2: float
    split_launch: float
    cold_split: float
    reread: float
    write: float
    thrash: float
    resident: float
    sharpness: float
    resident_output: float
    resident_operands: float
    padded: float
    memory_power: float
    spread: float

    @classmethod
    def of(cls, part: GpuTileKernel) -> TileNumbers:
        """Those of a part."""
        return cls(*(getattr(part, field.name).si for field in fields(cls)))

    def estimated(self, view: ViewNumbers) -> TileNumbers:
        """The numbers as the library's estimate has them."""
        return replace(
            self, overhead=self.overhead * view.overhead, port=self.port * view.port, fill=self.fill * view.fill,
            stream=self.stream * view.stream, split_launch=self.split_launch * view.split,
        )  # fmt: skip


@dataclass(frozen=True)
class ViewNumbers:
    """The numbers of a GpuTileView."""

    overhead: float
    port: float
    fill: float
    stream: float
    split: float
    missing: float
    memory: float

    @classmethod
    def of(cls, part: GpuTileView) -> ViewNumbers:
        """Those of a part."""
        return cls(*(getattr(part, field.name).si for field in fields(cls)))


@dataclass(frozen=True)
class TileKernel:
    """A GpuTileKernel in SI units, its tiles as arrays (1, tiles)."""

    part: GpuTileKernel
    value: TileNumbers
    view: ViewNumbers
    along_tokens: NDArray[np.bool_]
    fixed: Floats
    most: Floats
    granule: Floats
    splits: Floats
    efficiency: Floats
    preference: Floats

    @classmethod
    def of(cls, part: GpuTileKernel) -> TileKernel:
        """The kernel that a library's YAML describes."""
        rows = [(side == "tokens", fixed, most, granule, split, efficiency, preference)
                for side, fixed, most, granule, splits, efficiency, preference in part.tiles.rows
                for split in splits]  # fmt: skip
        along, *columns = (np.array(column, np.float64)[None, :] for column in zip(*rows, strict=True))
        return cls(part, TileNumbers.of(part), ViewNumbers.of(part.view), along > 0, *columns)


class TileCard(NamedTuple):
    """What a tiled kernel needs to know of the card, SI units; ``flops`` is the peak of its products.

    ``memory`` and ``sustained``: shares of the peaks of memory and products that the card holds; ``speed``
    the rate over the one that the power limit lets it hold.
    """

    sms: int
    clock_hz: float
    flops: float
    hbm_bytes_per_s: float
    l2_bytes: float
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

    def take(self, chosen: NDArray[np.intp]) -> Tiling:
        """The tiles at the indexes ``chosen`` (GEMMs, chosen)."""
        return Tiling(*(np.take_along_axis(np.broadcast_to(each, self.rows.shape), chosen, 1) for each in self))


def tile_kernel_seconds(shapes: GemmShapes, card: TileCard, kernel: TileKernel) -> GemmTimes:
    """Seconds of GEMMs that run ``kernel``."""
    if len(shapes.m) <= CHUNK:
        return _chunk_seconds(shapes, card, kernel)
    starts = range(0, len(shapes.m), CHUNK)
    chunks = [_chunk_seconds(shapes.take(slice(start, start + CHUNK)), card, kernel) for start in starts]
    columns = zip(*((each.latency_s, each.compute_s, each.memory_s, each.launch_s) for each in chunks), strict=True)
    return GemmTimes(*map(np.concatenate, columns))


def _chunk_seconds(shapes: GemmShapes, card: TileCard, kernel: TileKernel) -> GemmTimes:
    sizes = _sizes(shapes)
    tiling, weights = _choice(shapes, kernel, card.sms, card.clock_hz, card.flops, card.hbm_bytes_per_s, card.l2_bytes)
    launch, compute, memory = _parts(sizes, tiling, card, kernel)
    overlapped, power = _joined(compute, memory), _power_seconds(sizes, tiling, card, kernel.value)
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


@by_identity(maxsize=64)
def _choice(
    shapes: GemmShapes, kernel: TileKernel, sms: int, clock_hz: float, flops: float, hbm: float, l2_bytes: float
) -> tuple[Tiling, Floats]:
    """The tiles that the library's estimate ranks highest, and the weight of each."""
    sizes, card = _sizes(shapes), TileCard(sms, clock_hz, flops, hbm, l2_bytes, 1.0, 1.0, 1.0)
    tiling = tilings(sizes.m, sizes.n, kernel)
    launch, compute, memory = _parts(sizes, tiling, card, kernel, estimated=True)
    seconds = launch + _joined(compute, memory)
    score = (1.0 - seconds / seconds.min(axis=1, keepdims=True)) / kernel.value.spread + kernel.preference
    ranked = np.argpartition(-score, RANKED, axis=1)[:, :RANKED] if score.shape[1] > RANKED else (
        np.broadcast_to(np.arange(score.shape[1]), score.shape))  # fmt: skip
    taken = np.take_along_axis(score, ranked, 1)
    weight = np.exp(taken - taken.max(axis=1, keepdims=True))
    return tiling.take(ranked), weight / weight.sum(axis=1, keepdims=True)


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


def _parts(
    sizes: Sizes, tiling: Tiling, card: TileCard, kernel: TileKernel, estimated: bool = False
) -> tuple[Floats, Floats, Floats]:
    """Seconds of launches, of the waves of blocks, and of memory; as the library estimates them where ``estimated``."""
    p = kernel.value.estimated(kernel.view) if estimated else kernel.value
    missing: Floats | float = kernel.view.missing if estimated else (
        _lost(sizes.looped, p.resident * card.l2_bytes, p.sharpness))  # fmt: skip
    split = np.where(tiling.splits > 1, p.split_launch + p.cold_split * missing, 0.0)
    l2_rate = p.l2 * card.sms * card.clock_hz
    partial = np.where(tiling.splits > 1, 8.0 * sizes.m * sizes.n * sizes.batch * tiling.splits / l2_rate, 0.0)
    launch = p.launch + (0.0 if estimated else p.cold_launch * missing) + split + partial
    compute = _wave_seconds(sizes, tiling, card, p, missing)
    share = kernel.view.memory if estimated else card.memory
    return launch, compute, _memory_seconds(sizes, tiling, card, p, missing, share, estimated)


def _wave_seconds(sizes: Sizes, tiling: Tiling, card: TileCard, p: TileNumbers, missing: Floats | float) -> Floats:
    area = tiling.outputs * tiling.tokens
    products = 2.0 * area * card.sms / (card.flops * p.tensor * tiling.efficiency) * card.clock_hz
    products = products + p.overhead + p.cold_overhead * missing
    longer, shorter = np.maximum(tiling.tokens, tiling.outputs), np.minimum(tiling.tokens, tiling.outputs)
    reads = sizes.value_bytes * (shorter + longer * p.multicast) / p.port
    steps = np.ceil(sizes.k / tiling.splits / STEP) * STEP
    waves = np.ceil(_blocks(sizes, tiling) / card.sms)
    cycles = p.fill + area * p.epilogue + steps * _joined(products, reads)
    return np.asarray(waves * cycles / card.clock_hz)


def _blocks(sizes: Sizes, tiling: Tiling) -> Floats:
    return tiling.columns * tiling.rows * sizes.batch * tiling.splits


def _memory_seconds(
    sizes: Sizes, tiling: Tiling, card: TileCard, p: TileNumbers, missing: Floats | float, share: float,
    estimated: bool,
) -> Floats:  # fmt: skip
    """Seconds of the bytes from memory and from L2, each as fast as the card and the running SMs can draw them."""
    away = _memory_bytes(sizes, tiling, card, p, missing, estimated)
    operands = sizes.weights + sizes.inputs
    kept_output = 0.0 if estimated else sizes.outputs * (1.0 - _output_lost(sizes, card, p))
    near = (1.0 - missing) * operands + kept_output + p.reread * sizes.inputs * (tiling.columns - 1.0)
    drawn = np.minimum(_blocks(sizes, tiling), card.sms) * p.stream * card.clock_hz
    hbm, l2 = share * card.hbm_bytes_per_s, p.l2 * card.sms * card.clock_hz
    return np.asarray(
        away * np.sqrt(hbm**-2.0 + drawn**-2.0) + near * np.sqrt(l2**-2.0 + (drawn * p.l2_stream) ** -2.0)
    )


def _memory_bytes(
    sizes: Sizes, tiling: Tiling, card: TileCard, p: TileNumbers, missing: Floats | float, estimated: bool
) -> Floats:
    operands = sizes.weights + sizes.inputs
    lost = _lost(operands, p.resident_operands * card.l2_bytes, p.sharpness)
    waves = _blocks(sizes, tiling) / tiling.splits / card.sms
    square = 2.0 * np.sqrt(card.sms * tiling.outputs * tiling.tokens) * sizes.k * sizes.value_bytes
    operands = np.maximum(operands, lost * p.thrash * waves * square)
    output = 1.0 if estimated else _output_lost(sizes, card, p)
    return np.asarray(missing * operands + p.write * sizes.outputs * output)


def _output_lost(sizes: Sizes, card: TileCard, p: TileNumbers) -> Floats:
    return _lost(sizes.outputs + sizes.inputs, p.resident_output * card.l2_bytes, p.sharpness)


def _lost(touched: Floats, room: float, sharpness: float) -> Floats:
    """Share of buffers used in a loop that is no longer in the L2 when its turn comes again."""
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(1.0 / (1.0 + (room / touched) ** sharpness))


def _power_seconds(sizes: Sizes, tiling: Tiling, card: TileCard, p: TileNumbers) -> Floats:
    """Seconds over which the power limit spreads the products and the bytes."""
    useful = 2.0 * sizes.m * sizes.n * sizes.k * sizes.batch
    padded = 2.0 * tiling.outputs * tiling.tokens * tiling.columns * tiling.rows * sizes.batch * sizes.k
    products = p.padded * padded + (1.0 - p.padded) * useful
    missing = _lost(sizes.looped, p.resident * card.l2_bytes, p.sharpness)
    away = _memory_bytes(sizes, tiling, card, p, missing, estimated=False)
    traffic = p.memory_power * away / (card.memory * card.hbm_bytes_per_s)
    return np.asarray((products / (card.sustained * card.flops) + traffic) / card.speed)


def _joined(first: Floats, second: Floats) -> Floats:
    """Seconds of two things that overlap: their fourth powers added."""
    a, b = first * first, second * second
    return np.asarray(np.sqrt(np.sqrt(a * a + b * b)))
