"""Seconds of scaled dot-product attention on a GPU, as cuDNN's kernels schedule it.

Left out: masks other than causal, dropout, keys that an earlier kernel left in the L2 cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu import GpuDecode, GpuPrefill
from simsparse.devices.base import Floats

TILE = 128
"""Rows and columns of a tile of the score matrix (profiled kernel names: 16x128, 64x128)."""
SPLIT_FROM = 1024
"""Cached keys from which the keys of one head are split among thread blocks (profiled grids)."""
OVERLAP = 4.0
"""Exponent of the norm that joins the times of two overlapping resources; assumed."""


@dataclass(frozen=True)
class AttentionShapes:
    """Attention operators, one array element each; dims as in OpKind.ATTENTION, ``causal`` 0 or 1.

    ``kv_row``: elements cached of one key and its value, fewer than both head dims where they share some.
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
    kv_row: Floats


@dataclass(frozen=True)
class AttentionTimes:
    """Seconds of each operator, and of what it consists of; compute and memory overlap."""

    latency_s: Floats
    compute_s: Floats
    memory_s: Floats
    launch_s: Floats


def decode_seconds(shapes: AttentionShapes, model: GpuDecode, sms: int, hbm_bytes_per_s: float) -> AttentionTimes:
    """Seconds with one query token a sequence.

    A thread block serves the query heads of one key-value head, two blocks an SM (four with head
    dims up to 64). Few heads with many keys are split over more blocks, whose results a second
    kernel combines. Rounds of blocks that fill the GPU share its memory bandwidth; the blocks of
    the last round are bound by what one block can fetch. Source: derived; block shapes, packing of
    heads and numbers of splits read off profiles of cuDNN 9 on an H100.
    """
    units = shapes.batch * shapes.kv_heads
    splits = key_splits(units, shapes.kv_len, sms)
    tiles = np.ceil(shapes.kv_len / splits / TILE)
    row_bytes = shapes.kv_row * shapes.value_bytes
    block_bytes = row_bytes * shapes.kv_len / splits
    block_s = tiles * (model.tile_latency.si + TILE * row_bytes / model.tile_bandwidth.si)
    resident = sms * np.where(shapes.head_dim <= 64, 4, 2)
    rounds = np.floor((units * splits - 1) / resident)
    last = units * splits - rounds * resident
    bandwidth = hbm_bytes_per_s * model.memory.si
    streaming = rounds * _overlap(resident * block_bytes / bandwidth, model.turnover.si + block_s)
    streaming += _overlap(last * block_bytes / bandwidth, block_s)
    launch = model.launch.si + np.where(splits > 1, model.combine.si, 0.0)
    compute = (rounds + 1) * block_s
    return AttentionTimes(launch + streaming, compute, units * splits * block_bytes / bandwidth, launch)


def key_splits(units: Floats, kv_len: Floats, sms: int) -> Floats:
    """Thread blocks among which the keys of one key-value head are split.

    The largest power of two with which two blocks an SM suffice, at most one a tile; one when the
    heads already fill half of the SMs or the keys are few. Source: grids of cuDNN 9 on an H100.
    """
    fitting = 2.0 ** np.floor(np.log2(np.maximum(2 * sms / units, 1)))
    split = np.minimum(fitting, np.ceil(kv_len / TILE))
    return np.where((units > sms / 2) | (kv_len < SPLIT_FROM), 1.0, split)


def prefill_seconds(
    shapes: AttentionShapes, model: GpuPrefill, sms: int, flops_per_s: Floats, hbm_bytes_per_s: float
) -> AttentionTimes:
    """Seconds with several query tokens a sequence; ``flops_per_s`` is each operator's peak.

    A row of tiles (128 queries against their keys) is one unit of work. Persistent thread blocks
    take rows as they come, so that the last one ends late by a share of the longest row.
    """
    rows = np.ceil(shapes.q_len / TILE)
    width = np.ceil(shapes.kv_len / TILE)
    heads = shapes.batch * shapes.heads
    before = (shapes.kv_len - shapes.q_len) / TILE
    tiles = rows * before + rows * (rows + 1) / 2 + rows * model.prologue.si
    longest = width + model.prologue.si
    full = np.ceil(heads * rows / sms) * longest
    causal = np.maximum(longest, heads * tiles / sms + model.imbalance.si * longest)
    makespan = np.where(shapes.causal > 0, np.minimum(causal, full), full)
    tile_flops = 2.0 * TILE * TILE * (shapes.head_dim + shapes.v_head_dim)
    tile_s = model.tile_latency.si + tile_flops * sms / (model.tensor.si * flops_per_s)
    compute = tile_s * makespan
    queries = shapes.heads * shapes.q_len * (shapes.head_dim + shapes.v_head_dim)
    moved = shapes.batch * shapes.value_bytes * (queries + shapes.kv_heads * shapes.kv_len * shapes.kv_row)
    memory = moved / hbm_bytes_per_s
    launch = np.full(compute.shape, model.launch.si)
    return AttentionTimes(launch + np.maximum(compute, memory), compute, memory, launch)


def _overlap(a: Floats, b: Floats) -> Floats:
    """Seconds of two resources that work at the same time, a little over the longer of the two."""
    return np.asarray((a**OVERLAP + b**OVERLAP) ** (1 / OVERLAP), np.float64)
