# SPDX-License-Identifier: Apache-2.0
"""Seconds of attention on a paged cache, as FlashAttention 3 runs it in a serving engine.

A unit of work is a tile of query rows (the queries of all heads that share keys are packed into it) against its
keys, in steps of 128 keys; a thread block fills an SM and takes units one after the other. Rules of packing, of tile
sizes and of when keys are split are those of FlashAttention 3's sources (hopper/tile_size.h, heuristics.h) as vLLM
0.22 uses them.

Left out: pages so small that gathering them costs more, prompts of unlike length in one batch.
"""

from __future__ import annotations

import numpy as np

from simsparse.config.parts.gpu_attention import GpuPaged, GpuPagedDecode, GpuPagedPrefill, GpuPagedTiles
from simsparse.devices.gpu_attention import OVERLAP, AttentionShapes
from simsparse.devices.gpu_card import Card, Floats, KernelTimes, together
from simsparse.devices.gpu_grouped import missing

STEP = 128
"""Keys of a step."""
DECODE_ROWS = 64
"""Query rows of a decode tile."""
UNSPLIT_STEPS = 4
"""Steps up to which keys are never split."""
SORTED_SEQUENCES = 992
"""Sequences up to which the scheduler of units sorts them: 31 per warp of a block of 1,024 threads."""


def paged_seconds(shapes: AttentionShapes, model: GpuPaged, card: Card) -> KernelTimes:
    """Seconds of each operator, whichever number of query tokens it has."""
    decode, prefill = decode_seconds(shapes, model.decode, card), prefill_seconds(shapes, model.prefill, card)
    return KernelTimes(*(
        np.where(shapes.q_len > 1, many, one)
        for many, one in zip(_columns(prefill), _columns(decode), strict=True)
    ))  # fmt: skip


def _columns(times: KernelTimes) -> tuple[Floats, Floats, Floats, Floats]:
    return times.latency_s, times.compute_s, times.memory_s, times.launch_s


def decode_seconds(shapes: AttentionShapes, model: GpuPagedDecode, card: Card) -> KernelTimes:
    """Seconds with one query token per sequence."""
    keys = np.where(shapes.windowed > 0, shapes.window, shapes.kv_len)
    steps = np.ceil(shapes.kv_len / STEP) - np.floor((shapes.kv_len - keys) / STEP)
    units = shapes.batch * shapes.kv_heads * np.ceil(shapes.group / DECODE_ROWS)
    splits = np.where(steps <= UNSPLIT_STEPS, 1.0, np.clip(np.floor(card.grid_sms / units), 1.0, steps))
    queue = np.ceil(units * splits / card.sms)
    tiles = [_cycles(shapes, cached) for cached in (model.half, model.byte)]
    unit, step, window = (np.where(shapes.cache_bytes > 1, *pair) for pair in zip(*tiles, strict=True))
    sequences = np.where(shapes.batch <= SORTED_SEQUENCES, unit + model.queue.si * shapes.batch, unit * model.crowd.si)
    step = step + model.head.si * shapes.group * shapes.head_dim / 128
    cycles = queue * (sequences + window * shapes.windowed + np.ceil(steps / splits) * step)
    compute = cycles / card.clock_hz
    queries = shapes.batch * shapes.heads * (shapes.head_dim + shapes.v_head_dim) * shapes.value_bytes
    moved = shapes.batch * shapes.kv_heads * keys * shapes.kv_row * shapes.cache_bytes + queries
    away = missing(shapes.sets * moved, model.resident.si * card.l2_bytes)
    memory = moved * away / (model.memory.si * card.memory_bytes_per_s)
    launch = model.launch.si + model.per_dim.si * shapes.head_dim + model.per_sequence.si * shapes.batch
    launch = launch + np.where(splits > 1, model.combine.si, 0.0)
    return KernelTimes(launch + together(OVERLAP, compute, memory), compute, memory, launch)


def _cycles(shapes: AttentionShapes, tiles: GpuPagedTiles) -> tuple[Floats, Floats, Floats]:
    """Cycles of a unit, of a step and of a window, by head dim."""
    share = np.maximum(shapes.head_dim / 64 - 1, -0.5)
    pairs = ((tiles.unit_64, tiles.unit_128), (tiles.step_64, tiles.step_128), (tiles.window_64, tiles.window_128))
    unit, step, window = (low.si + share * (high.si - low.si) for low, high in pairs)
    return np.maximum(unit, 0.0), np.maximum(step, 0.0), np.maximum(window, 0.0)


def prefill_seconds(shapes: AttentionShapes, model: GpuPagedPrefill, card: Card) -> KernelTimes:
    """Seconds with several query tokens per sequence, causal."""
    rows = np.where(shapes.head_dim <= 64, 192.0, 128.0)
    units = shapes.batch * shapes.kv_heads * np.ceil(shapes.q_len * shapes.group / rows)
    mean, most = _steps(shapes, rows)
    unit, step, window = _cycles(shapes, model.half)
    unit = unit + window * shapes.windowed + np.where(shapes.group > 1, model.packed.si, 0.0)
    step = step * np.where(shapes.windowed > 0, model.window_step.si, 1.0)
    mean_cycles, longest = unit + mean * step, unit + most * step
    even = units * mean_cycles / card.sms
    late = np.minimum(even + model.imbalance.si * longest, np.ceil(units / card.sms) * longest)
    compute = np.where(units <= card.sms, longest, np.maximum(even, late)) / card.clock_hz
    queries = shapes.batch * shapes.heads * shapes.q_len * (shapes.head_dim + shapes.v_head_dim) * shapes.value_bytes
    cached = shapes.batch * shapes.kv_heads * shapes.kv_len * shapes.kv_row * shapes.cache_bytes
    memory = (model.query.si * queries + model.key.si * cached) / card.memory_bytes_per_s
    memory = memory * np.maximum(missing(queries + cached, card.l2_bytes / 2), CACHED)
    launch = model.launch.si + model.per_sequence.si * shapes.batch
    return KernelTimes(launch + compute + memory, compute, memory, launch)


CACHED = 0.4
"""Cost of a byte that lies in L2 over one in memory; assumed."""


def _steps(shapes: AttentionShapes, rows: Floats) -> tuple[Floats, Floats]:
    """Steps of the mean unit and of the longest; causal, less those before the window.

    Sums of whole steps over the units of a sequence, taken as if units ended evenly within steps: half a step more
    than the keys fill, unless a unit's tokens divide a step.
    """
    past = shapes.kv_len - shapes.q_len
    tokens = np.minimum(rows / shapes.group, shapes.q_len)
    last = np.ceil(shapes.kv_len / STEP)
    mean_keys = past + (shapes.q_len + tokens) / 2
    full = np.maximum((mean_keys + (STEP - tokens.clip(max=STEP)) / 2) / STEP, 1.0)
    full = np.where(shapes.kv_len <= STEP, 1.0, full)
    seen = np.minimum(shapes.window + tokens - 1, shapes.kv_len)
    within = (seen + STEP - 1) / STEP
    ramp = np.clip((shapes.window - past) / np.maximum(shapes.q_len, 1), 0.0, 1.0)
    ramped = np.maximum((past + shapes.window / 2 + STEP / 2) / STEP, 1.0)
    mean = np.where(shapes.windowed > 0, np.minimum(full, ramp * ramped + (1 - ramp) * within), full)
    return mean, np.where(shapes.windowed > 0, np.minimum(last, np.ceil(within)), last)
