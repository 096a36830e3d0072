# SPDX-License-Identifier: Apache-2.0
"""Softmax over the last dimension: three kernels of PyTorch 2.11, by the length of a row.

Up to 2,048 columns (and 8 KiB) a warp holds a row in registers. Up to nine values per thread of a
block of 1,024, a block does, with loads of single values. Longer rows are read in three passes
(maximum, sum, output) by vectors. Source: host_softmax in SoftMax.cu, PersistentSoftmax.cuh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu_pointwise import GpuSoftmaxKernels
from simsparse.core.varying_arrays import array_of, filled
from simsparse.devices.gpu_card import LANES, Card, Floats, KernelTimes, memory_seconds, together

WARP_COLUMNS, WARP_BYTES = 2048, 8192
BLOCK = 1024
"""Threads of a block; an SM holds two."""
REGISTER_VALUES = 9
"""Most values per thread that a block keeps in registers."""
PASSES = 3
VECTOR_BYTES = 16


@dataclass(frozen=True)
class SoftmaxKernels:
    """Softmaxes, one array element each: ``rows`` of ``columns`` values of ``value_bytes``; ``cached`` share in L2."""

    rows: Floats
    columns: Floats
    value_bytes: Floats
    cached: Floats


def softmax_times(card: Card, library: GpuSoftmaxKernels, kernels: SoftmaxKernels) -> KernelTimes:
    """Seconds of each softmax."""
    size = kernels.rows * kernels.columns * kernels.value_bytes
    short = (kernels.columns <= WARP_COLUMNS) & (kernels.columns * kernels.value_bytes <= WARP_BYTES)
    middle = np.ceil(kernels.columns / BLOCK) <= REGISTER_VALUES
    compute = np.where(
        short, _warp_seconds(card, library, kernels),
        np.where(middle, _register_seconds(card, library, kernels), _pass_seconds(card, library, kernels)),
    )  # fmt: skip
    launch = filled(len(size), card.launch_s + library.start.si)
    return KernelTimes.overlapped(launch, compute, memory_seconds(card, size, size, kernels.cached), 3.0)


def _warp_seconds(card: Card, library: GpuSoftmaxKernels, kernels: SoftmaxKernels) -> Floats:
    """A warp per row, padded to a power of two; wide rows take registers, so that fewer warps run."""
    width = np.maximum(32.0, 2.0 ** np.ceil(np.log2(kernels.columns)))
    operations = width * (library.warp.si + library.warp_width.si * width) + library.warp_row.si
    alone = library.warp_latency.si + width / 32.0 * library.lane_latency.si
    return together(3.0, kernels.rows * operations / card.operations_per_s, alone)


def _waves(card: Card, rows: Floats) -> tuple[Floats, Floats]:
    """Blocks that share an SM, and how often all SMs are filled with two."""
    return np.minimum(np.ceil(rows / card.sms), 2.0), np.maximum(1.0, rows / (2.0 * card.sms))


def _register_seconds(card: Card, library: GpuSoftmaxKernels, kernels: SoftmaxKernels) -> Floats:
    resident, waves = _waves(card, kernels.rows)
    values = np.ceil(kernels.columns / BLOCK) * BLOCK
    crowded = waves * resident * values * library.registers.si / (LANES * card.clock_hz)
    return array_of(np.maximum(crowded, library.row_latency.si))


def _pass_seconds(card: Card, library: GpuSoftmaxKernels, kernels: SoftmaxKernels) -> Floats:
    resident, waves = _waves(card, kernels.rows)
    steps = np.ceil(kernels.columns * kernels.value_bytes / (BLOCK * VECTOR_BYTES))
    second = library.passes.si / (LANES * card.clock_hz)
    step = BLOCK * VECTOR_BYTES / kernels.value_bytes * second / PASSES
    alone = library.row_latency.si + PASSES * steps * (library.step_latency.si + step * LANES / BLOCK)
    crowded = library.row_latency.si + resident * kernels.columns * second
    return array_of(waves * together(4.0, alone, crowded))
