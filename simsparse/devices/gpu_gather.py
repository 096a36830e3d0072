# SPDX-License-Identifier: Apache-2.0
"""Kernels that move rows by index: embedding and index_select, index_add.

More than 16 rows: thread blocks of one piece of a row each (gather), or an atomic addition per
element (index_add). Up to 16 rows: every thread walks through all rows. Source: Indexing.cu and
IndexKernelUtils.cu of PyTorch 2.11.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_pointwise import GpuGatherKernels
from simsparse.devices.gpu_card import Card, Floats, KernelTimes, memory_seconds

Flags = NDArray[np.bool_]

FEW_ROWS = 16
PIECE_BYTES = 4096
"""Bytes of a row that one block copies: 256 threads of 16 bytes."""


@dataclass(frozen=True)
class GatherKernels:
    """Kernels by index, one array element each: ``rows`` of ``row_bytes`` and values of ``value_bytes``.

    ``adds``: the rows are added to the rows of a target (index_add), else copied. ``cached``: share
    of the rows that lies in L2.
    """

    rows: Floats
    row_bytes: Floats
    value_bytes: Floats
    adds: Flags
    cached: Floats


def gather_times(card: Card, library: GpuGatherKernels, kernels: GatherKernels) -> KernelTimes:
    """Seconds of each kernel: the index, then the row it points to, then the blocks' rate or the memory's."""
    size = kernels.rows * kernels.row_bytes
    few = kernels.rows <= FEW_ROWS
    away = kernels.cached * library.cache_latency.si + (1.0 - kernels.cached) * library.memory_latency.si
    launch = card.launch_s + library.start.si + np.where(few, 0.0, 2.0 * away)
    compute = np.where(few, kernels.rows * library.row_latency.si, _issue_seconds(card, library, kernels))
    memory = memory_seconds(card, size * (1.0 + kernels.adds), size, kernels.cached)
    waits = (1.0 - kernels.cached) * card.memory_latency_s
    random = (memory - waits) / np.where(kernels.cached < 1, library.random.si, 1.0)
    return KernelTimes.overlapped(launch, compute, np.where(few, 0.0, random), 3.0)


def _issue_seconds(card: Card, library: GpuGatherKernels, kernels: GatherKernels) -> Floats:
    """Seconds to start all blocks of a gather, or to issue all additions."""
    blocks = kernels.rows * np.ceil(kernels.row_bytes / PIECE_BYTES)
    elements = kernels.rows * kernels.row_bytes / kernels.value_bytes
    return np.where(kernels.adds, elements * library.addition.si, blocks * library.block.si) / card.cycles_per_s
