# SPDX-License-Identifier: Apache-2.0
"""Seconds of scaled dot-product attention on a GPU, as cuDNN's kernels schedule it.

Left out: masks other than causal and windows that reach back from a token, dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsparse.config.parts.gpu_attention import GpuSdpaDecode, GpuSdpaPrefill
from simsparse.core.memo import by_identity
from simsparse.devices.gpu_card import Card, Floats, KernelTimes, together

TILE = 128
"""Rows and columns of a tile of the score matrix (profiled kernel names: 16x128, 64x128)."""
SPLIT_ABOVE = 512
"""Cached keys above which the keys of one head are split among thread blocks. Source: profiled grids."""
MOST_SPLITS = 64
"""Parts into which the keys of one head are split at most. Source: profiled grids."""
WIDTHS = (64.0, 128.0, 256.0)
"""Head dims that decode kernels are built for; others are padded. Source: profiled kernel names."""
OVERLAP = 3.0
"""Exponent of the norm that joins the times of two overlapping resources; assumed."""


@dataclass(frozen=True)
class AttentionShapes:
    """Attention operators, one array element each; dims as in OpKind.ATTENTION, ``causal`` 0 or 1.

    ``kv_row``: elements cached of one key and its value, fewer than both head dims where they share some.
    ``cache_bytes``: of an element of the cache, ``value_bytes``: of queries and outputs. ``window``: keys that a
    query looks back on, its own included; 0 without a window. ``warm``: 1 where the kernel runs in a loop over the
    same buffers, 0 where its operands come from memory.
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
    warm: Floats

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

    A thread block serves the query heads of one key-value head: four blocks an SM with head dims up to 64, two beyond.
    With head dims over 128, two blocks share the values of a head, and each reads the keys. Few heads with many keys
    are split over more blocks, whose results a second kernel combines. Blocks start one after another. Rounds of blocks
    that fill the GPU share its memory bandwidth; the blocks of the last round are bound by what one block can fetch.
    Source: derived; block shapes, grids and numbers of splits read off profiles of cuDNN 9 on an H100 and an H200.
    """
    blocks = _decode_blocks(shapes, model, card.sms, card.clock_hz)
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
def _decode_blocks(shapes: AttentionShapes, model: GpuSdpaDecode, sms: int, clock_hz: float) -> DecodeBlocks:
    keys = np.where(shapes.window > 0, np.minimum(shapes.kv_len, shapes.window), shapes.kv_len)
    units = shapes.batch * shapes.kv_heads
    splits, shared = key_splits(units, keys, sms), np.where(shapes.head_dim > 128, 2.0, 1.0)
    row = np.where(shared > 1, (shapes.kv_row + model.again.si) / 2, shapes.kv_row) * shapes.cache_bytes
    block_bytes = row * keys / splits
    narrow, wide = shapes.head_dim <= WIDTHS[0], shapes.head_dim > WIDTHS[1]
    step = np.where(narrow, model.step_64.si, np.where(wide, model.step_256.si, model.step_128.si)) / clock_hz
    block = np.ceil(np.ceil(keys / TILE) / splits) * step
    resident = sms * np.where(shapes.head_dim <= 64, 4.0, 2.0)
    blocks = units * splits * shared
    rounds = np.floor((blocks - 1) / resident)
    last = blocks - rounds * resident
    beside = 1 + model.beside.si * (np.ceil(last / sms) - 1)
    turnover = model.turnover.si * np.where(keys < TILE, model.short.si, 1.0)
    launch = model.launch.si + model.per_dim.si * np.where(narrow, WIDTHS[0], np.where(wide, WIDTHS[2], WIDTHS[1]))
    launch = launch + np.where(splits > 1, model.combine.si + model.part.si * splits, 0.0)
    launch = launch + np.where((keys > TILE) & (keys % TILE > 0), model.ragged.si, 0.0)
    launch = launch + model.start.si * np.minimum(blocks, resident)
    return DecodeBlocks(rounds, resident * block_bytes, turnover + block, last * block_bytes, block * beside,
                        (rounds + 1) * block, blocks * block_bytes, launch)  # fmt: skip


def key_splits(units: Floats, kv_len: Floats, sms: int) -> Floats:
    """Thread blocks among which the keys of one key-value head are split.

    The largest power of two with which two blocks an SM suffice, at most one a tile; one when the heads already fill
    half of the SMs or the keys are few. Source: grids of cuDNN 9 on an H100 and an H200.
    """
    fitting = 2.0 ** np.floor(np.log2(np.maximum(2 * sms / units, 1)))
    tiles = 2.0 ** np.floor(np.log2(np.ceil(kv_len / TILE)))
    split = np.minimum(np.minimum(fitting, tiles), MOST_SPLITS)
    return np.where((units > sms / 2) | (kv_len <= SPLIT_ABOVE), 1.0, split)


def prefill_seconds(shapes: AttentionShapes, model: GpuSdpaPrefill, card: Card, flops_per_s: Floats) -> KernelTimes:
    """Seconds with several query tokens per sequence; ``flops_per_s`` is each operator's peak.

    A row of tiles (128 queries against their keys) is one unit of work. Persistent thread blocks take rows as they
    come, so that the last one ends late by a share of the longest row; the prologue of the first row is in ``launch``.
    A window leaves out the tiles before it.
    """
    rows = np.ceil(shapes.q_len / TILE)
    width, mean = _row_tiles(shapes, rows)
    heads, prologue = shapes.batch * shapes.heads, model.prologue.si
    tiles, longest = rows * (mean + prologue), width + prologue
    full = np.ceil(heads * rows / card.sms) * longest
    uneven = np.maximum(longest, heads * tiles / card.sms + model.imbalance.si * longest)
    makespan = np.where(shapes.causal > 0, np.minimum(uneven, full), full) - prologue
    tile_flops = 2.0 * TILE * TILE * (_padded(shapes.head_dim) + _padded(shapes.v_head_dim))
    softmax = model.softmax.si + np.where(shapes.head_dim > 128, model.wide.si, 0.0)
    compute = makespan * (softmax / card.clock_hz + tile_flops * card.sms / (model.tensor.si * flops_per_s))
    limited = heads * rows * mean * tile_flops / (model.sustained.si * flops_per_s)
    queries = shapes.heads * shapes.q_len * (shapes.head_dim + shapes.v_head_dim) * shapes.value_bytes
    cached = shapes.kv_heads * shapes.kv_len * shapes.kv_row * shapes.cache_bytes
    memory = shapes.batch * (queries + cached) / (model.memory.si * card.memory_bytes_per_s)
    launch = np.full(compute.shape, model.launch.si)
    latency = launch + together(PREFILL_OVERLAP, compute, memory, limited)
    return KernelTimes(latency, np.maximum(compute, limited), memory, launch)


PREFILL_OVERLAP = 6.0
"""Exponent of the norm that joins products, memory and the power limit in prefill; assumed."""


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
