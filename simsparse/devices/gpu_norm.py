# SPDX-License-Identifier: Apache-2.0
"""Fused normalisations over the last dimension: layer norm and RMS norm in one kernel.

A block of 128 threads takes a row: a first pass for its statistics, a second one for the outputs.
Each pass loads four values per thread and step. Few rows are bound by the latency of their steps;
many rows by memory, which is read twice where the rows in flight do not fit the L2. Source:
vectorized_layer_norm_kernel of PyTorch 2.11.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu_pointwise import GpuNormKernels
from simsparse.core.varying_arrays import array_of, filled, stacked
from simsparse.devices.gpu_card import LANES, Card, Floats, KernelTimes, memory_seconds, together

Codes = NDArray[np.int64]

STEP = 512
"""Values of a row that a block loads per step: 128 threads, four values each."""
PLACES = 16
"""Blocks of 128 threads that an SM holds."""
REREAD = (0.3, 0.5)
"""Shares of the L2 that the rows in flight may take before the second pass reads memory: nothing, everything.
Source: fit to RMS norms of 2,048 to 16,384 columns on an H200."""


class Norm(IntEnum):
    """Which statistics a norm takes."""

    RMS = 0
    LAYER = 1


@dataclass(frozen=True)
class NormKernels:
    """Norms, one array element each: ``rows`` of ``columns`` values of ``value_bytes``; ``cached`` share in L2."""

    norm: Codes
    rows: Floats
    columns: Floats
    value_bytes: Floats
    cached: Floats


def norm_times(card: Card, library: GpuNormKernels, kernels: NormKernels) -> KernelTimes:
    """Seconds of each norm."""
    size = kernels.rows * kernels.columns * kernels.value_bytes
    flight = np.minimum(kernels.rows, PLACES * card.sms) * kernels.columns * kernels.value_bytes / card.l2_bytes
    again = np.clip((flight - REREAD[0]) / (REREAD[1] - REREAD[0]), 0.0, 1.0) * (1.0 - kernels.cached)
    memory = memory_seconds(card, size * (1.0 + again), size, kernels.cached)
    launch = filled(len(size), card.launch_s + library.start.si)
    return KernelTimes.overlapped(launch, _loop_seconds(card, library, kernels), memory, 3.0)


def _loop_seconds(card: Card, library: GpuNormKernels, kernels: NormKernels) -> Floats:
    steps = np.ceil(kernels.columns / STEP)
    away = kernels.cached * library.cache_latency.si + (1.0 - kernels.cached) * library.memory_latency.si
    chain = stacked([library.rms_chain.si, library.layer_chain.si])[kernels.norm]
    operations = stacked([library.rms.si, library.layer.si])[kernels.norm]
    alone = library.row_latency.si + steps * (away + chain)
    resident = np.minimum(np.ceil(kernels.rows / card.sms), PLACES)
    crowded = resident * (steps * STEP * operations / LANES + library.row.si) / card.clock_hz
    waves = np.maximum(1.0, kernels.rows / (PLACES * card.sms))
    return array_of(waves * together(2.5, alone, crowded))
