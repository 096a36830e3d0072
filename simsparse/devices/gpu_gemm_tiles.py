# SPDX-License-Identifier: Apache-2.0
"""Dense tensor-core GEMMs: the fastest of a list of tiles, splits of k and cluster shapes.

A kernel cuts the output into tiles of ``n`` x ``m``, a thread block each, and k into ``splits``.
Blocks run in waves of one a streaming multiprocessor. Along k a block needs the time of its
multiply-accumulates or that of reading its share of the operands from L2, whichever is longer;
blocks of a cluster read each operand tile once between them. Over the whole kernel stand the bytes
that must come from device memory and the arithmetic rate that the power limit lets the card hold.
Arithmetic and memory overlap: their times add up as fourth powers. The library's choice is not
always the fastest: the time is the mean over the candidates, weighted towards the fastest on the card as its file
states it.

Tiles, splits and cluster shapes are those that cuBLAS 13 launched on an H100 for 1,273 shapes (read
with the PyTorch profiler), thinned out until the error rose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import array_of
from simsparse.devices.gpu_gemm_types import (
    Floats,
    GemmMachine,
    GemmShapes,
    GemmTimes,
    GemmUnit,
    TensorParameters,
)

TILES = (
    (64, 8, (1, 8)), (64, 16, (1, 4, 8)), (64, 24, (1, 4)), (64, 32, (1, 4)), (64, 48, (1, 4)), (64, 64, (1, 2, 4, 8)),
    (64, 80, (1,)), (80, 64, (1, 4)), (80, 128, (1, 2)), (96, 64, (1, 8)), (112, 64, (1, 8)), (112, 128, (1, 4)),
    (128, 8, (1,)), (128, 16, (1, 4)), (128, 24, (1,)), (128, 32, (1, 4, 8)), (128, 64, (1, 4)), (128, 96, (1,)),
    (128, 128, (1,)), (128, 256, (1,)), (144, 128, (1,)), (168, 128, (1,)), (192, 8, (1,)), (192, 16, (1,)),
    (192, 64, (1,)), (192, 96, (1,)), (192, 128, (1,)), (256, 64, (1,)), (256, 96, (1,)), (256, 128, (1,)),
    (320, 128, (1,)),
)  # fmt: skip
"""Outputs and tokens of a tile, and the splits of k it is tried with."""
_ROWS = np.array([(n, m, split) for n, m, splits in TILES for split in splits], dtype=np.float64)
TILE_N, TILE_M, SPLITS = (_ROWS[None, :, column] for column in range(3))
CHUNK = 512
"""GEMMs evaluated at once, so that the arrays stay in the processor's cache."""


@dataclass(frozen=True)
class TileGrid:
    """What every candidate launches for every GEMM: arrays (GEMMs, candidates).

    ``tiles`` of the output, thread ``blocks`` (tiles times splits, rounded up to whole clusters) and
    the ``elements`` of x and w that a block reads itself per k of its part.
    """

    tiles: Floats
    blocks: Floats
    elements: Floats


class TensorCard(NamedTuple):
    """A card for dense GEMMs of one kind; ``peak`` of its tensor cores, flop/s."""

    machine: GemmMachine
    tensor: TensorParameters
    peak: float

    @classmethod
    def of(cls, machine: GemmMachine, unit: GemmUnit) -> TensorCard:
        """The card as GEMMs of ``unit`` find it."""
        gemm = machine.gemm
        tensor = {GemmUnit.HALF: gemm.half, GemmUnit.TF32: gemm.half, GemmUnit.INT8: gemm.int8}.get(unit, gemm.fp8)
        return cls(machine, tensor, machine.flops[unit])


def dense_seconds(shapes: GemmShapes, card: TensorCard, chosen_for: TensorCard) -> GemmTimes:
    """Seconds of dense GEMMs on tensor cores, by kernels that the library takes for the card ``chosen_for``."""
    if len(shapes.m) <= CHUNK:
        return GemmTimes(*_chunk_seconds(shapes, card, chosen_for))
    chunks = [
        _chunk_seconds(shapes.take(slice(start, start + CHUNK)), card, chosen_for)
        for start in range(0, len(shapes.m), CHUNK)
    ]
    return GemmTimes(*(np.concatenate(column) for column in zip(*chunks, strict=True)))


def launch_grid(m: Floats, n: Floats, batch: Floats, block_limit: float) -> TileGrid:
    """Grids of all candidates for GEMMs given as columns (GEMMs, 1), those of a batch side by side.

    Clusters of 8, or of 4 where m is one tile, as long as ``block_limit`` blocks hold the whole
    GEMM; pairs else, along m where that wastes no more. Source: cluster shapes seen on an H100.
    """
    tiles_n, tiles_m = np.ceil(n * (1.0 / TILE_N)), np.ceil(m * (1.0 / TILE_M))
    n2, n4, m2, m4 = (_multiple(tiles, size) for tiles in (tiles_n, tiles_m) for size in (2.0, 4.0))
    limit, many = block_limit / (SPLITS * batch), tiles_m > 1.0
    pairs_m, blocks = tiles_n * m2, n2 * tiles_m
    along_m = many & ((pairs_m < blocks) | ((pairs_m == blocks) & (TILE_N >= TILE_M)))
    elements = np.where(along_m, TILE_N / 2.0 + TILE_M, TILE_N + TILE_M / 2.0)
    np.copyto(blocks, pairs_m, where=along_m)
    for count, cluster_n, cluster_m in ((n4 * tiles_m, 4.0, 1.0), (n2 * m4, 2.0, 4.0), (n4 * m2, 4.0, 2.0)):
        fits = count <= limit if cluster_m == 1.0 else many & (count <= limit)
        np.copyto(blocks, count, where=fits)
        np.copyto(elements, TILE_N / cluster_m + TILE_M / cluster_n, where=fits)
    return TileGrid(batch * tiles_n * tiles_m, batch * blocks * SPLITS, elements)


@by_identity(maxsize=16)
def _grid(shapes: GemmShapes, block_limit: float) -> TileGrid:
    m, n, _, _, batch = shapes.columns
    return launch_grid(m, n, batch, block_limit)


def _multiple(tiles: Floats, size: float) -> Floats:
    return np.ceil(tiles * (1.0 / size)) * size


def _chunk_seconds(
    shapes: GemmShapes, card: TensorCard, chosen_for: TensorCard
) -> tuple[Floats, Floats, Floats, Floats]:
    sms = chosen_for.machine.sms
    times = _candidates(shapes, card, sms)
    known = times if chosen_for is card else _candidates(shapes, chosen_for, sms)
    fastest = known.latency.argmin(axis=1)
    pick = (np.arange(len(fastest)), fastest)
    weight = np.exp((1.0 - known.latency / known.latency[pick][:, None]) / chosen_for.tensor.spread)
    typical = (weight * times.latency).sum(axis=1) / weight.sum(axis=1)
    scale = typical / times.latency[pick]
    return typical, times.compute[pick] * scale, times.memory[pick] * scale, times.launch[0, fastest] * scale


class _Candidates(NamedTuple):
    """Seconds of every candidate for every GEMM: arrays (GEMMs, candidates); ``launch`` (1, candidates)."""

    latency: Floats
    compute: Floats
    memory: Floats
    launch: Floats


def _candidates(shapes: GemmShapes, card: TensorCard, known_sms: int) -> _Candidates:
    """Of kernels whose clusters are chosen for ``known_sms`` multiprocessors."""
    machine, tensor, peak = card
    m, n, k, value_bytes, batch = shapes.columns
    away = np.where(shapes.in_l2, 0.0, 1.0)[:, None]
    grid = _grid(shapes, tensor.clustered * known_sms)
    compute = _loop_seconds(grid, k, value_bytes, machine, tensor, peak)
    moved = batch * (away * value_bytes * k * (n * shapes.stored[:, None] + m) + 2.0 * m * n)
    memory = moved * _seconds_per_byte(grid, away, machine, tensor)
    launch = array_of(tensor.launch + tensor.split_launch * (SPLITS > 1.0), np.float64)
    return _Candidates(launch + _fourth_root(_fourth_power(compute) + _fourth_power(memory)), compute, memory, launch)


def _loop_seconds(
    grid: TileGrid, k: Floats, value_bytes: Floats, machine: GemmMachine, tensor: TensorParameters, peak: float
) -> Floats:
    """Seconds of the k loops of all waves, or of the arithmetic at the sustained rate if longer."""
    flops = 2.0 * TILE_N * TILE_M
    arithmetic = flops * machine.sms / (tensor.tensor * peak) + tensor.overhead / machine.clock_hz
    read = grid.elements * (value_bytes / (tensor.port * machine.clock_hz))
    waves = np.ceil(grid.blocks * (1.0 / machine.sms))
    sustained = grid.tiles * (flops / (machine.speed * tensor.sustained * peak))
    return array_of(k * np.maximum(waves * (np.maximum(arithmetic, read) / SPLITS), sustained))


def _seconds_per_byte(grid: TileGrid, away: Floats, machine: GemmMachine, tensor: TensorParameters) -> Floats:
    """Seconds of a byte of device memory, from the card's rate and what the running SMs can draw."""
    card = 1.0 / (tensor.memory * machine.hbm_bytes_per_s)
    running = np.minimum(grid.blocks, machine.sms)
    drawn = away / (running * (tensor.stream * machine.clock_hz))
    return _fourth_root(card**4 + _fourth_power(drawn))


def _fourth_power(value: Floats) -> Floats:
    square = value * value
    return square * square


def _fourth_root(value: Floats) -> Floats:
    return array_of(np.sqrt(np.sqrt(value)))
