# SPDX-License-Identifier: Apache-2.0
"""Seconds of FlexAttention with a mask of blocks: rows of blocks, each a start, its kept blocks and an end.

Left out: what the edges of causal and windowed masks cost beyond a whole block (2 to 4 % at 8,192 tokens), rows longer
than the mean on a card that few rows fill, bytes (a kept block is bound by its products).
"""

from __future__ import annotations

import numpy as np

from simsparse.config.parts.gpu_attention import GpuFlexAttention
from simsparse.core.varying_arrays import filled
from simsparse.devices.gpu_card import Card, Floats, KernelTimes


def flex_seconds(rows: Floats, kept: Floats, wide: Floats, model: GpuFlexAttention, card: Card) -> KernelTimes:
    """Seconds of each launch: ``rows`` of blocks over all heads, ``kept`` blocks over all rows.

    ``wide``: 1 with blocks of 128 x 128 scores, else 0 with 64 x 64; head dim 128.
    """
    unit = np.where(wide > 0, model.unit_128.si, model.unit_64.si)
    step = np.where(wide > 0, model.step_128.si, model.step_64.si)
    even, alone = (rows * unit + kept * step) / card.sms, unit + kept / np.maximum(rows, 1.0) * step
    compute = np.maximum(even, alone) / card.clock_hz
    launch = filled(len(rows), model.launch.si)
    return KernelTimes(launch + compute, compute, np.zeros(len(rows)), launch)
