# SPDX-License-Identifier: Apache-2.0
"""Seconds of scaled dot-product attention on a GPU, as cuDNN's kernels schedule it.

Left out: masks other than causal, windows that reach back from a token and masks given as numbers; dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_attention import GpuSdpaDecode, GpuSdpaFewKeys, GpuSdpaPrefill
from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import array_of
from simsparse.devices.gpu_card import Card, Floats, KernelTimes, together
from simsparse.devices.gpu_grouped import missing

TILE = 128
"""Rows and columns of a tile of the score matrix (profiled kernel names: 16x128, 64x128)."""
FEW_TILE = 64
"""Keys of a tile of the kernel of few keys (profiled kernel name: 64x64)."""
SPLIT_ABOVE = 512
"""Cached keys above which the keys of one head are split among thread blocks. Source: profiled grids."""
MOST_SPLITS = 64
"""Parts into which the keys of one head are split at most. Source: profiled grids."""
WIDTHS = (64.0, 128.0, 256.0)
"""Head dims that decode kernels are built for; others are padded. Source: profiled kernel names."""
CACHED = 0.3
"""Cost of a byte that lies in L2 over one in memory; assumed."""
OVERLAP = 3.0
"""Exponent of the norm that joins the times of two overlapping resources; assumed."""


@dataclass(frozen=True)
class AttentionShapes:
    """Attention operators, one array element each; dims as in OpKind.ATTENTION, ``causal`` 0 or 1.

    ``kv_row``: elements cached of one key and its value, fewer than both head dims where they share some.
    ``cache_bytes``: of an element of the cache, ``value_bytes``: of queries and outputs. ``window``: keys that a
    query looks back on, its own included; 0 without a window. ``sets``: sets of operands that the kernel takes in
    turns in a loop; infinite where its operands come from memory. ``mask_bytes``: of an element of a mask of queries
    and keys that the kernel adds to the scores of every head; 0 without one.
    """

    batch: Floats
    heads: Floats
    kv_heads: Floats
    head_dim: Floats
    v_head_dim: Floats
    q_len: Floats
    kv_len: Floats
    causal: Floats
    value_bytes: Floats
    cache_bytes: Floats
    kv_row: Floats
    window: Floats
    sets: Floats
    mask_bytes: Floats | float = 0.0

    @property
    def group(self) -> Floats:
        """Query heads that share a key-value head."""
        return self.heads / self.kv_heads

    @property
    def windowed(self) -> Floats:
        """1 where the window leaves keys out, else 0."""
        return np.where((self.window > 0) & (self.kv_len > self.window), 1.0, 0.0)


def decode_seconds(shapes: AttentionShapes, model: GpuSdpaDecode, card: Card) -> KernelTimes:
    """Seconds with one query token per sequence.

    A thread block serves the query heads of one key-value head. Up to 128 keys, and up to 256 where the query heads of
    all sequences are no more than the SMs, a kernel with tiles of 64 keys runs, a block to an SM; else one with tiles
    of 128: four blocks an SM with head dims up to 64, two beyond. With head dims over 128, two blocks share the values
    of a head, and each reads the keys. Few heads with many keys are split over more blocks, whose results a second
    kernel combines. Blocks start one after another. Rounds of blocks that fill the GPU share its memory bandwidth; the
    blocks of the last round are bound by what one block can fetch, the slower the farther away its keys are.
    Source: derived; kernels, grids and numbers of splits read off profiles of cuDNN 9 on an H100 and an H200.
    """
    blocks = _decode_blocks(shapes, model, card.sms, card.grid_sms, card.clock_hz, card.l2_bytes)
    bandwidth = card.memory_bytes_per_s * model.memory.si
    streaming = blocks.rounds * together(OVERLAP, blocks.round_bytes / bandwidth, blocks.round_s)
    streaming += together(OVERLAP, blocks.last_bytes / bandwidth, blocks.last_s)
    return KernelTimes(blocks.launch + streaming, blocks.compute, blocks.bytes / bandwidth, blocks.launch)


class DecodeBlocks(NamedTuple):
    """Thread blocks of decode kernels on a card of any memory.

    ``rounds`` that fill the card, the bytes and seconds of one, those of the last round; seconds of ``compute`` and
    ``launch`` and ``bytes`` of all.
    """

    rounds: Floats
    round_bytes: Floats
    round_s: Floats
    last_bytes: Floats
    last_s: Floats
    compute: Floats
    bytes: Floats
    launch: Floats


@by_identity(maxsize=32)
def _decode_blocks(
    shapes: AttentionShapes, model: GpuSdpaDecode, sms: int, grid_sms: int, clock_hz: float, l2_bytes: float
) -> DecodeBlocks:
    keys = np.where(shapes.window > 0, np.minimum(shapes.kv_len, shapes.window), shapes.kv_len)
    moved = shapes.batch * shapes.kv_heads * keys * shapes.kv_row * shapes.cache_bytes
    away = missing(shapes.sets * moved, model.resident.si * l2_bytes)
    kinds = (form(shapes, keys, away, model, (sms, grid_sms), clock_hz) for form in (_few_keys, _many_keys))
    few = takes_few_keys(shapes.batch * shapes.heads, keys, grid_sms)
    return DecodeBlocks(*(np.where(few, *pair) for pair in zip(*kinds, strict=True)))


def takes_few_keys(heads: Floats, keys: Floats, sms: int) -> NDArray[np.bool_]:
    """Whether the kernel of few keys runs; ``heads``: query heads of all sequences. Source: profiles of cuDNN 9."""
    return array_of((keys <= TILE) | ((keys <= 2 * TILE) & (heads <= sms)))


def _few_keys(
    shapes: AttentionShapes,
    keys: Floats,
    away: Floats,
    model: GpuSdpaDecode,
    multiprocessors: tuple[int, int],
    clock_hz: float,
) -> DecodeBlocks:
    """The blocks of the kernel of few keys on a card of some SMs, laid out for some."""
    sms, grid_sms = multiprocessors
    few, padded = model.few, _padded_width(shapes)
    blocks = shapes.batch * shapes.kv_heads * _sharing(shapes)
    block_bytes = _row_bytes(shapes, model) * keys * np.maximum(away, CACHED)
    block = np.ceil(keys / FEW_TILE) * (_step(few, shapes) + few.away.si * away * (padded / 128) ** 2) / clock_hz
    rounds = np.floor((blocks - 1) / sms)
    launch = few.launch.si + model.per_dim.si * padded + np.where(keys % FEW_TILE > 0, model.ragged.si, 0.0)
    launch = launch + model.start.si * np.minimum(blocks, grid_sms)
    return DecodeBlocks(rounds, sms * block_bytes, block, (blocks - rounds * sms) * block_bytes, block,
                        (rounds + 1) * block, blocks * block_bytes, launch)  # fmt: skip


def _many_keys(
    shapes: AttentionShapes,
    keys: Floats,
    away: Floats,
    model: GpuSdpaDecode,
    multiprocessors: tuple[int, int],
    clock_hz: float,
) -> DecodeBlocks:
    """The blocks of the kernel of many keys on a card of some SMs, laid out for some."""
    sms, grid_sms = multiprocessors
    units, padded = shapes.batch * shapes.kv_heads, _padded_width(shapes)
    splits = key_splits(units, keys, grid_sms)
    block_bytes = _row_bytes(shapes, model) * keys / splits * np.maximum(away, CACHED)
    step = _step(model, shapes) + model.away.si * away * (padded / 128) ** 2
    block = np.ceil(np.ceil(keys / TILE) / splits) * step / clock_hz
    beside_each = np.where(shapes.head_dim <= 64, 4.0, 2.0)
    resident = sms * beside_each
    blocks = units * splits * _sharing(shapes)
    rounds = np.floor((blocks - 1) / resident)
    last = blocks - rounds * resident
    beside = 1 + model.beside.si * (np.ceil(last / sms) - 1)
    launch = model.launch.si + model.per_dim.si * padded
    launch = launch + np.where(splits > 1, model.combine.si + model.part.si * splits, 0.0)
    launch = (
        launch
        + np.where(keys % TILE > 0, model.ragged.si, 0.0)
        + model.start.si * np.minimum(blocks, grid_sms * beside_each)
    )
    return DecodeBlocks(rounds, resident * block_bytes, model.turnover.si + block, last * block_bytes, block * beside,
                        (rounds + 1) * block, blocks * block_bytes, launch)  # fmt: skip


def _padded_width(shapes: AttentionShapes) -> Floats:
    """The head dim that the decode kernel is built for."""
    return np.select([shapes.head_dim <= WIDTHS[0], shapes.head_dim <= WIDTHS[1]], WIDTHS[:2], WIDTHS[2])


def _step(model: GpuSdpaDecode | GpuSdpaFewKeys, shapes: AttentionShapes) -> Floats:
    """Cycles of a tile of keys and values in one thread block."""
    narrow, middle = shapes.head_dim <= WIDTHS[0], shapes.head_dim <= WIDTHS[1]
    return np.select([narrow, middle], [model.step_64.si, model.step_128.si], model.step_256.si)


def _sharing(shapes: AttentionShapes) -> Floats:
    """Thread blocks that share the values of a key-value head."""
    return np.where(shapes.head_dim > 128, 2.0, 1.0)


def _row_bytes(shapes: AttentionShapes, model: GpuSdpaDecode) -> Floats:
    """Bytes that a thread block reads of a key and its value."""
    shared = (shapes.kv_row + model.again.si) / 2
    return np.where(shapes.head_dim > 128, shared, shapes.kv_row) * shapes.cache_bytes


def key_splits(units: Floats, kv_len: Floats, sms: int) -> Floats:
    """Thread blocks among which the keys of one key-value head are split.

    The largest power of two with which fewer than two blocks an SM suffice, at most one per whole tile; one when the
    heads already fill half of the SMs or the keys are few. Source: grids of cuDNN 9 on an H100 and an H200.
    """
    fitting = 2.0 ** np.floor(np.log2(np.maximum((2 * sms - 1) // units, 1)))
    tiles = 2.0 ** np.floor(np.log2(np.maximum(kv_len // TILE, 1)))
    split = np.minimum(np.minimum(fitting, tiles), MOST_SPLITS)
    return np.where((units > sms / 2) | (kv_len <= SPLIT_ABOVE), 1.0, split)


def prefill_seconds(shapes: AttentionShapes, model: GpuSdpaPrefill, card: Card, flops_per_s: Floats) -> KernelTimes:
    """Seconds with several query tokens per sequence; ``flops_per_s`` is each operator's peak.

    A row of tiles (128 queries against their keys) is one unit of work. Persistent thread blocks take rows as they
    come, so that the last one ends late by a share of the longest row; a row costs cycles before its first tile.
    A window leaves out the tiles before it.
    """
    rows = np.ceil(shapes.q_len / TILE)
    width, mean = _row_tiles(shapes, rows)
    queries = shapes.heads * shapes.q_len * (shapes.head_dim + shapes.v_head_dim) * shapes.value_bytes
    cached = shapes.kv_heads * shapes.kv_len * shapes.kv_row * shapes.cache_bytes
    away = missing(shapes.sets * shapes.batch * (queries / 2 + cached), RESIDENT * card.l2_bytes)
    units, dims = shapes.batch * shapes.heads * rows, _padded(shapes.head_dim) + _padded(shapes.v_head_dim)
    row, tile_flops = _row_cycles(shapes, away, model), 2.0 * TILE * TILE * dims
    softmax = model.softmax.si + model.wide.si * np.maximum(dims / 2 - 128, 0)
    tile = softmax + tile_flops * card.sms * card.clock_hz / (model.tensor.si * flops_per_s)
    longest, evenly = row + width * tile, units * (row + mean * tile) / card.sms
    full = np.ceil(units / card.sms) * longest
    uneven = np.maximum(longest, evenly + model.imbalance.si * longest)
    compute = np.where(shapes.causal > 0, np.minimum(uneven, full), full) / card.clock_hz
    limited = units * mean * tile_flops / (model.sustained.si * flops_per_s)
    moved = shapes.batch * (queries + cached) * np.maximum(away, CACHED)
    memory = moved / (model.memory.si * card.memory_bytes_per_s)
    launch = model.launch.si + model.per_dim.si * dims / 2
    masking = _mask_seconds(shapes, model, card)
    latency = launch + together(PREFILL_OVERLAP, compute, memory, limited) + masking
    return KernelTimes(latency, np.maximum(compute, limited), memory + masking, launch)


def _mask_seconds(shapes: AttentionShapes, model: GpuSdpaPrefill, card: Card) -> Floats:
    """Seconds of reading a mask, which every head does by itself, and of adding it; nothing else hides them. Derived:
    the mask comes from memory where it is larger than what the L2 keeps."""
    elements = shapes.batch * shapes.q_len * shapes.kv_len
    away = missing(np.maximum(elements * shapes.mask_bytes, 1.0), RESIDENT * card.l2_bytes)
    moved = shapes.heads * elements * shapes.mask_bytes * np.maximum(away, CACHED)
    added = np.where(np.asarray(shapes.mask_bytes) > 0, model.mask.si * shapes.heads * elements, 0.0)
    return array_of(moved / (model.memory.si * card.memory_bytes_per_s) + added / card.operations_per_s)


PREFILL_OVERLAP = 6.0
"""Exponent of the norm that joins products, memory and the power limit in prefill; assumed."""
RESIDENT = 0.7
"""Share of the L2 that keeps the operands of a prefill in a loop; assumed."""


def _row_cycles(shapes: AttentionShapes, away: Floats, model: GpuSdpaPrefill) -> Floats:
    """Cycles of a row of tiles before its first tile and after its last."""
    wide = _padded(shapes.head_dim)
    row = model.row.si + model.row_dim.si * wide + model.away.si * away * wide / 128
    partial = np.where(shapes.q_len % TILE > 0, model.partial.si, 0.0)
    return row + np.where(shapes.causal > 0, model.diagonal.si, 0.0) + partial


def _padded(head_dim: Floats) -> Floats:
    """The head dim that a prefill kernel is built for: a multiple of 64. Source: profiled kernel names."""
    return np.ceil(head_dim / 64) * 64


def _row_tiles(shapes: AttentionShapes, rows: Floats) -> tuple[Floats, Floats]:
    """Tiles of the longest row, and of the mean row."""
    width = np.ceil(shapes.kv_len / TILE)
    mean = np.where(shapes.causal > 0, (shapes.kv_len - shapes.q_len) / TILE + (rows + 1) / 2, width)
    seen = np.ceil(np.minimum(shapes.window, shapes.kv_len) / TILE) + 1
    windowed = (shapes.causal > 0) & (shapes.windowed > 0) & (seen < width)
    ramp = seen * (seen - 1) / 2 / np.maximum(rows, 1)
    within = np.where(shapes.q_len == shapes.kv_len, np.maximum(seen - ramp, 1.0), seen)
    return np.where(windowed, seen, width), np.where(windowed, within, mean)
