# SPDX-License-Identifier: Apache-2.0
"""Top-k along the last dimension, and sorts of rows.

Few columns: one block per row selects by radix, a second kernel sorts. Many columns and few rows:
several blocks per row in passes of eight bits, a score of kernels, then a sort of the k. A sort alone is
one kernel up to 4,096 columns, and passes of eight bits over the whole beyond. Source:
should_use_multiblock in TensorTopK.cu, and Sort.cpp, of PyTorch 2.11.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_pointwise import GpuTopkKernels
from simsparse.core.varying_arrays import array_of
from simsparse.devices.gpu_card import Card, Floats, KernelTimes

Flags = NDArray[np.bool_]

MULTI_BLOCK = ((20, 20_000), (40, 10_000), (80, 8_000), (200, 5_000), (800, 3_000))
"""Up to so many rows, rows of at least so many columns take several blocks each."""
MULTI_BLOCK_COLUMNS = 800
"""The same for any number of rows."""
BLOCK = 1024
DRAWN_ROWS = 64.0
"""Rows among which one surely needs all passes of the selection; one row alone often needs fewer."""
SORT_UNIT = 1024.0
BITONIC, ONE_BLOCK = 32, 4096
"""Most columns that a sort takes in one step, and in one block."""
INDEX_BYTES = 8.0


@dataclass(frozen=True)
class TopkKernels:
    """Top-k selections, one array element each: ``kept`` of ``columns`` values of ``value_bytes`` in ``rows`` rows."""

    rows: Floats
    columns: Floats
    kept: Floats
    value_bytes: Floats


@dataclass(frozen=True)
class SortKernels:
    """Sorts with indexes, one array element each: ``rows`` of ``columns`` values of ``value_bytes``."""

    rows: Floats
    columns: Floats
    value_bytes: Floats


def topk_times(card: Card, library: GpuTopkKernels, kernels: TopkKernels) -> KernelTimes:
    """Seconds of each selection; those of one block per row are two launches."""
    multi = several_blocks(kernels.rows, kernels.columns)
    launch = np.where(multi, library.multi_launch.si, 2.0 * card.launch_s + library.sort.si)
    compute = np.where(multi, _multi_seconds(card, library, kernels), _single_seconds(card, library, kernels))
    return KernelTimes.overlapped(launch, compute, np.zeros(len(launch)), 1.0)


def sort_times(card: Card, library: GpuTopkKernels, kernels: SortKernels) -> KernelTimes:
    """Seconds of each sort: one block per row, or a pass over all values and indexes per byte of a value."""
    passes, size = kernels.value_bytes, kernels.rows * kernels.columns * (kernels.value_bytes + INDEX_BYTES)
    whole = kernels.columns > ONE_BLOCK
    block = np.where(kernels.columns <= BITONIC, library.sort.si, library.block_sort.si)
    launch = np.where(whole, passes * library.sort_pass.si, card.launch_s + block)
    waves = np.maximum(1.0, kernels.rows / card.sms) - 1.0
    moved = passes * 2.0 * size / (library.passes.si * card.memory_bytes_per_s)
    return KernelTimes.overlapped(launch, np.where(whole, moved, waves * block), np.zeros(len(launch)), 1.0)


def several_blocks(rows: Floats, columns: Floats) -> Flags:
    """Whether a row is spread over several blocks."""
    least = np.full(len(rows), MULTI_BLOCK_COLUMNS)
    for most_rows, columns_needed in reversed(MULTI_BLOCK):
        least = np.where(rows <= most_rows, columns_needed, least)
    return array_of(columns >= least)


def _single_seconds(card: Card, library: GpuTopkKernels, kernels: TopkKernels) -> Floats:
    """One block per row; a block of 1,024 threads walks through longer rows, at 0.3 of the first pass each time."""
    warps = np.ceil(np.minimum(kernels.columns, BLOCK) / 32.0)
    walk = 0.7 + 0.3 * np.ceil(kernels.columns / BLOCK)
    drawn = np.minimum(1.0, np.log2(kernels.rows) / np.log2(DRAWN_ROWS))
    crowd = kernels.rows / card.sms * warps * library.warp.si
    return array_of(walk * (library.block.si * (1.0 + library.drawn.si * drawn) + crowd))


def _multi_seconds(card: Card, library: GpuTopkKernels, kernels: TopkKernels) -> Floats:
    """A pass per byte of a value and one to gather, then sorts of ``kept`` values, one row an SM."""
    moved = kernels.rows * kernels.columns * kernels.value_bytes * (kernels.value_bytes + 1.0)
    sorts = kernels.kept / SORT_UNIT * np.maximum(1.0, kernels.rows / card.sms)
    return array_of(moved / (library.passes.si * card.memory_bytes_per_s) + library.sort_unit.si * sorts)
