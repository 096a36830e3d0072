# SPDX-License-Identifier: Apache-2.0
"""Reductions: sums, maxima and their places along one dimension, as PyTorch's reduce kernel runs them.

The kernel's launch decides the time: which dimension the threads of a block lie along, whether a
block's warps share an output, and whether several blocks do (``launch_grid``, which follows
ReduceConfig in PyTorch 2.11's Reduce.cuh). A thread then loads four values per step and waits for
them, so few blocks are bound by latency and many by the SM's issue rate, or by memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_pointwise import GpuReduceKernels
from simsparse.core.varying_arrays import array_of, stacked
from simsparse.devices.gpu_card import LANES, THREADS, Card, Floats, KernelTimes, memory_seconds, together

Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]

BLOCK = 512
"""Most threads of a block. Source: ReduceConfig::MAX_NUM_THREADS."""
STEP = 4
"""Values that a thread loads before it waits. Source: vt0 of gpu_reduce_kernel."""
FEW_VALUES, MANY_VALUES = 16, 256
"""Least and most values per thread where blocks share an output. Source: setReduceConfig."""


class Reduction(IntEnum):
    """What is computed over the reduced dimension."""

    SUM = 0
    MAX = 1
    ARGMAX = 2


@dataclass(frozen=True)
class ReduceKernels:
    """Reductions, one array element each: ``outputs`` of ``inputs`` values of ``value_bytes``.

    ``contiguous``: the reduced dimension is the last one in memory. ``flops`` beyond those of the
    reduction itself. ``cached``: share of the input that lies in L2.
    """

    reduction: Codes
    outputs: Floats
    inputs: Floats
    contiguous: Flags
    value_bytes: Floats
    flops: Floats
    cached: Floats


@dataclass(frozen=True)
class ReduceGrid:
    """What a reduction launches: ``blocks`` of ``threads``, ``sharing`` of them per output.

    ``steps`` of STEP loads per thread, each of ``width`` values; ``vector``: one load takes the
    STEP values; ``levels`` of a tree through shared memory.
    """

    blocks: Floats
    threads: Floats
    sharing: Floats
    steps: Floats
    width: Floats
    vector: Flags
    levels: Floats


def reduce_times(card: Card, library: GpuReduceKernels, kernels: ReduceKernels) -> KernelTimes:
    """Seconds of each reduction."""
    grid = launch_grid(card.grid_sms, kernels)
    read = kernels.outputs * kernels.inputs * kernels.value_bytes
    memory = memory_seconds(card, read, kernels.outputs * kernels.value_bytes, kernels.cached)
    launch = card.launch_s + library.start.si + library.level.si * grid.levels
    shared = np.where(grid.sharing > 1, library.shared.si, 0.0)
    compute = np.maximum(_loop_seconds(card, library, kernels, grid), kernels.flops / card.operations_per_s)
    return KernelTimes.overlapped(launch + shared, compute, memory, 4.0)


def launch_grid(sms: int, kernels: ReduceKernels) -> ReduceGrid:
    """The launch of each reduction on a card of ``sms`` SMs. Source: setReduceConfig of PyTorch's Reduce.cuh."""
    outputs, inputs, along = kernels.outputs, kernels.inputs, kernels.contiguous
    vector = along & (outputs == 1) & (inputs > LANES)
    width = np.where(along, 1.0, np.where(outputs % 4 == 0, 4.0, np.where(outputs % 2 == 0, 2.0, 1.0)))
    columns, rows = _block(np.where(along, np.where(vector, inputs // STEP, inputs), outputs // width),
                           np.where(along, outputs, inputs), BLOCK / width)  # fmt: skip
    stride = np.where(along, columns, 1.0)
    split = np.ceil(inputs / stride) >= np.minimum(rows * FEW_VALUES, MANY_VALUES)
    stride = np.where(split, stride * rows, stride)
    per_block = np.where(along, 1.0, columns * width) * np.where(split, 1.0, rows)
    blocks, threads = np.ceil(outputs / per_block), columns * rows
    sharing = np.where(split, _sharing(np.ceil(inputs / stride), blocks, sms * (THREADS // threads)), 1.0)
    values = np.ceil(inputs / (stride * sharing))
    levels = np.where((columns > 32) | split, np.log2(np.maximum(threads / 32, 1.0)), 0.0)
    steps = np.where(vector, values / STEP, np.ceil(values / STEP))
    return ReduceGrid(blocks * sharing, threads, sharing, steps, width, vector, levels)


def _block(along: Floats, across: Floats, most: Floats) -> tuple[Floats, Floats]:
    """Threads of a block along the fastest dimension and across it, powers of two."""
    columns, rows = (np.where(size < most, _power_of_two(size), most) for size in (along, across))
    few = np.minimum(columns, 32.0)
    height = np.minimum(rows, most // few)
    return np.minimum(columns, most // height), height


def _power_of_two(size: Floats) -> Floats:
    """Largest power of two not above ``size``."""
    return array_of(2.0 ** np.floor(np.log2(np.maximum(size, 1.0))))


def _sharing(values: Floats, blocks: Floats, slots: Floats) -> Floats:
    """Blocks that share an output, where a thread would have many values and the card has free places."""
    wanted = np.minimum(np.ceil(slots / blocks), np.ceil(values / FEW_VALUES))
    enough = np.maximum(wanted, np.ceil(values / MANY_VALUES))
    return np.where((values >= MANY_VALUES) & (blocks <= slots), enough, 1.0)


def _loop_seconds(card: Card, library: GpuReduceKernels, kernels: ReduceKernels, grid: ReduceGrid) -> Floats:
    """Seconds of all blocks' loops: one block's latency, and the issue of all blocks of an SM."""
    places = np.minimum(THREADS / grid.threads, 16.0)
    resident = np.minimum(np.ceil(grid.blocks / card.sms), places)
    waves = np.maximum(1.0, grid.blocks / (places * card.sms))
    operations = stacked([library.sum.si, library.max.si, library.argmax.si])[kernels.reduction]
    values, cycles = STEP * grid.width * grid.threads, 1.0 / card.clock_hz
    issue, fixed = (values * operations * cycles / LANES, grid.threads * library.thread.si * cycles / LANES)
    port = np.where(grid.vector, library.vector_port.si, library.port.si)
    load = values * kernels.value_bytes * cycles / port
    away = kernels.cached * library.cache_latency.si + (1.0 - kernels.cached) * library.memory_latency.si
    warps = np.maximum(1.0, grid.threads / LANES)
    alone = grid.steps * (away + load + issue / warps) + fixed / warps
    crowded = resident * (grid.steps * np.maximum(load, issue) + fixed)
    return array_of(waves * together(1.5, alone, crowded))
