# SPDX-License-Identifier: Apache-2.0
"""2:4 sparse GEMMs as PyTorch runs them: one cuSPARSELt kernel, whatever the shape.

``to_sparse_semi_structured`` weights run a kernel with tiles of 128 outputs x 256 tokens, no clusters, blocks that
stay on their SM and take tiles from a counter. Seen with the PyTorch profiler on an H100 for 1,273 shapes: m is first
padded to a multiple of 8 by two more kernels (one fills, one copies); the counter is reset by a memset when there are
more than two waves of tiles; k is split in two for a last wave that fills at most half the SMs, from k of about
5,000, and for a single wave from about 8,700 (the two thresholds read off those shapes), in four for longer k, and
into as many parts as there are SMs, though none under 1,152 long, where there would be nine parts or more.

Tokens beyond m cost time: blocks whose tile is partly empty slow all others down, most with the
emptiest tile, because their reads meet in few lines of the L2 cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import array_of
from simsparse.devices.gpu_gemm_types import Floats, GemmMachine, GemmShapes, GemmTimes, Sparse24Parameters

TILE_N, TILE_M = 128, 256
PADDING_TOKENS = (0.0, 64.0, 128.0, 192.0, 256.0)
SPLIT_K, SPLIT_LAST_WAVE_K, SPLIT_FOUR_K = 8700, 5000, 17000
MANY_PARTS, LEAST_PART_K = 9, 1152
PADDED_PASSES = 3.0
"""Times that the padded input passes through memory: zeros are written, the input is read and written over them."""
WEIGHT_BYTES = 0.5625
"""Bytes kept of one: half the values, and two bits of index for each kept 16-bit value."""


def sparse24_seconds(shapes: GemmShapes, machine: GemmMachine, sparse24: Sparse24Parameters, peak: float) -> GemmTimes:
    """Seconds of 2:4 GEMMs; ``peak`` is the card's 2:4 peak, counted in dense flop/s."""
    work = _work(shapes, sparse24, machine.sms, machine.clock_hz, machine.speed, peak)
    memory = work.moved / (sparse24.memory * machine.hbm_bytes_per_s)
    body = np.sqrt(np.sqrt(work.compute_power + memory**4))
    pad_rate = sparse24.pad_memory * machine.hbm_bytes_per_s
    launch = (
        sparse24.launch + work.is_padded * (sparse24.pad_launch + work.padding / pad_rate)
        + work.schedule + work.split + work.reduce
    )  # fmt: skip
    return GemmTimes(launch + body, work.compute, memory, launch)


class Sparse24Work(NamedTuple):
    """What each GEMM takes on a card of any memory.

    ``compute`` seconds, ``compute_power`` their fourth power; bytes ``moved``, and those of ``padding`` where the input
    ``is_padded``; seconds of the launches that ``schedule``, ``split`` and ``reduce``.
    """

    compute: Floats
    compute_power: Floats
    moved: Floats
    is_padded: NDArray[np.bool_]
    padding: Floats
    schedule: Floats
    split: Floats
    reduce: Floats


@by_identity(maxsize=16)
def _work(
    shapes: GemmShapes, sparse24: Sparse24Parameters, sms: int, clock_hz: float, speed: float, peak: float
) -> Sparse24Work:
    m, n, k, padded_m, tiles_n, tiles_m, tiles, last, splits, blocks = _grid(shapes, sms)
    lost = (sparse24.padding_0, sparse24.padding_64, sparse24.padding_128, sparse24.padding_192, 0.0)
    valid = padded_m - TILE_M * (tiles_m - 1.0)
    stall = np.interp(valid, PADDING_TOKENS, lost) * tiles_m**-sparse24.padding_share
    reads = shapes.value_bytes * (TILE_M * (1.0 + sparse24.sharing / tiles_n) + WEIGHT_BYTES * TILE_N)
    full_s, last_s = (
        _loop_seconds(running, stall, reads, sms, clock_hz, sparse24, peak)
        for running in (np.full_like(tiles, sms), blocks)
    )
    loops = k * (np.floor(tiles / sms) * full_s + np.where(last > 0, last_s / splits, 0.0))
    compute = np.maximum(loops, 2.0 * TILE_N * TILE_M * tiles * k / (speed * sparse24.sustained * peak))
    weight = WEIGHT_BYTES * shapes.value_bytes * n * k
    moved = np.where(shapes.in_l2, 0.0, weight + shapes.value_bytes * padded_m * k) + 2.0 * padded_m * n
    return Sparse24Work(
        compute, compute**4, moved, padded_m > m, PADDED_PASSES * shapes.value_bytes * padded_m * k,
        *(array_of(flags * seconds) for flags, seconds in (
            ((splits > 1) | (tiles > 2 * sms), sparse24.schedule_launch), (splits > 1, sparse24.split_launch),
            (splits > 4, sparse24.reduce_launch))),
    )  # fmt: skip


class Grid(NamedTuple):
    """What the kernel launches for each GEMM, whatever its rates.

    ``last``: tiles of the last wave if it is not full; ``splits`` of their k; ``blocks`` of that wave.
    """

    m: Floats
    n: Floats
    k: Floats
    padded_m: Floats
    tiles_n: Floats
    tiles_m: Floats
    tiles: Floats
    last: Floats
    splits: Floats
    blocks: Floats


@by_identity(maxsize=16)
def _grid(shapes: GemmShapes, sms: int) -> Grid:
    m, n, k = (size.astype(np.float64) for size in (shapes.m, shapes.n, shapes.k))
    padded_m = 8.0 * np.ceil(m / 8.0)
    tiles_n, tiles_m = np.ceil(n / TILE_N), np.ceil(padded_m / TILE_M)
    tiles = tiles_n * tiles_m
    last, splits = np.mod(tiles, sms), k_splits(tiles, k, sms)
    return Grid(m, n, k, padded_m, tiles_n, tiles_m, tiles, last, splits, np.clip(last * splits, 1.0, sms))


def k_splits(tiles: Floats, k: Floats, sms: int) -> Floats:
    """Parts that the last or only wave's k is split into."""
    last = np.mod(tiles, sms)
    single = tiles < sms
    in_two = np.where(single, k > SPLIT_K, (k > SPLIT_LAST_WAVE_K) & (last > 0)) & (2 * last <= sms)
    in_four = single & (k > SPLIT_FOUR_K) & (4 * tiles <= sms)
    few = single & (k > SPLIT_K) & (MANY_PARTS * tiles <= sms)
    splits = np.where(in_two, 2.0, 1.0)
    splits = np.where(in_four, 4.0, splits)
    return np.where(few, np.minimum(sms // np.maximum(tiles, 1.0), k // LEAST_PART_K), splits)


def _loop_seconds(
    blocks: Floats, stall: Floats, reads: Floats, sms: int, clock_hz: float, sparse24: Sparse24Parameters, peak: float
) -> Floats:
    """Seconds per k of ``blocks`` tiles that run at once: arithmetic, or L2 reads if longer.

    ``stall``: cycles that partly empty tiles cost when all SMs are busy; ``reads``: bytes of a tile.
    """
    busy = blocks / sms
    cycles = busy**sparse24.concurrency * reads / sparse24.cache + busy**sparse24.padding_concurrency * stall
    arithmetic = 2.0 * TILE_N * TILE_M * sms / (sparse24.tensor * peak)
    return np.maximum(arithmetic, cycles / clock_hz)
