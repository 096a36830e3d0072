# SPDX-License-Identifier: Apache-2.0
"""Seconds of kernels that read what an index names, one element or one row of weights at a time.

Left out: how the index itself came about; bytes of gathers, whose addresses take longer.
"""

from __future__ import annotations

import numpy as np

from simsparse.config.parts.gpu_indexed import GpuSkipRows
from simsparse.core.varying_arrays import filled
from simsparse.devices.gpu_card import Card, Floats, KernelTimes

UP_ROWS, DOWN_ROWS = 16.0, 32.0
"""Neurons of a thread block of the first kernel, and of a step of the second."""
UP_DEPTH, MOST_PARTS, FILLED = 256.0, 8.0, 4.0
"""Step along the inputs, parts of them that different blocks sum at most, and blocks per SM that are enough."""
MOST_SPLITS = 16.0
"""Parts of the neurons among which the second kernel is split at most."""


def element_times(elements: Floats, launch_s: float, cycles: float, card: Card) -> KernelTimes:
    """Seconds of kernels that gather ``elements`` one by one, ``cycles`` of an SM each."""
    compute, none = elements * cycles / card.cycles_per_s, np.zeros(len(elements))
    launch = np.full(len(elements), launch_s)
    return KernelTimes(launch + compute, compute, none, launch)


def skip_rows_times(neurons: Floats, d_model: Floats, gated: Floats, model: GpuSkipRows, card: Card) -> KernelTimes:
    """Seconds of an MLP of up to 16 tokens over its chosen ``neurons``, rows of 16-bit weights.

    The first kernel multiplies the rows of up (and gate) and leaves partial sums; the second adds these up for every
    piece of the outputs, activates and multiplies the rows of down.
    """
    rate, row = model.memory.si * card.memory_bytes_per_s, 2.0 * d_model
    first = neurons * row * (1 + gated) / rate
    share = np.ceil(neurons / np.clip(np.ceil(neurons / DOWN_ROWS), 1.0, MOST_SPLITS))
    steps, parts = np.ceil(share / DOWN_ROWS), _parts(neurons, d_model, card)
    second = steps * (model.step.si + parts * (1 + gated) * model.part.si) / card.clock_hz
    memory = neurons * row / rate
    launch = filled(len(neurons), model.launch.si)
    latency = launch + first + np.maximum(second, memory)
    return KernelTimes(latency, second, first + memory, launch)


def _parts(neurons: Floats, d_model: Floats, card: Card) -> Floats:
    """Parts of the inputs: doubled until the blocks fill the card."""
    parts, blocks = np.ones(len(neurons)), np.ceil(neurons / UP_ROWS)
    for _ in range(int(np.log2(MOST_PARTS))):
        fits = (d_model / (2 * parts)) % UP_DEPTH == 0
        parts = np.where((blocks * parts < FILLED * card.grid_sms) & fits, 2 * parts, parts)
    return parts
