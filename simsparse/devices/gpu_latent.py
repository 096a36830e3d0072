# SPDX-License-Identifier: Apache-2.0
"""Seconds of latent attention as a serving engine's kernels run it: on whole caches and on selected tokens.

A unit of work is 64 query rows (heads of one query) against its keys, in steps of 64; a thread block fills an SM. Where
units leave SMs idle, the keys of a sequence are split among several. The kernels on selected tokens take a step for
every 64 slots of the selection, filled or not. Sources: github.com/deepseek-ai/FlashMLA, and vLLM 0.22, which runs
prompts on 8-bit caches by the kernel of single queries where heads are few.

Left out: the order of selected tokens in the cache, caches in the L2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu_latent import GpuLatent, GpuLatentKernel
from simsparse.devices.gpu_card import Card, Floats, KernelTimes, together

ROWS = 64
"""Query rows of a unit, and keys of a step."""
OVERLAP = 3.0
"""Exponent of the norm that joins arithmetic and memory; assumed."""


@dataclass(frozen=True)
class LatentShapes:
    """Attentions on cached latents: ``queries`` in all sequences of ``heads`` heads, each on ``slots`` slots of ``row``
    bytes; ``whole``: 1 where these are all tokens, read once by all heads; ``prompt``: 1 with many queries a sequence;
    ``value_bytes``: those of a cached value."""

    queries: Floats
    heads: Floats
    slots: Floats
    row: Floats
    value_bytes: Floats
    whole: Floats
    prompt: Floats


def latent_seconds(shapes: LatentShapes, model: GpuLatent, card: Card) -> KernelTimes:
    """Seconds of each attention."""
    narrow = shapes.value_bytes < 2
    prompts = (shapes.prompt > 0) & (~narrow | (shapes.heads >= model.prompt_heads.si))
    names = np.where(shapes.whole > 0, "whole", "selected")
    names = np.where(prompts, "prompt", np.char.add(names, np.where(narrow, "_byte", "_half")))
    kernels = {
        "whole_half": model.whole_half, "whole_byte": model.whole_byte, "selected_half": model.selected_half,
        "selected_byte": model.selected_byte, "prompt": model.prompt,
    }  # fmt: skip
    seconds = [np.zeros(len(names)) for _ in range(4)]
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        times = _kernel_seconds(shapes, kernels[name], card)
        columns = times.latency_s, times.compute_s, times.memory_s, times.launch_s
        for total, column in zip(seconds, columns, strict=True):
            total[own] = column[own]
    return KernelTimes(*seconds)


def _kernel_seconds(shapes: LatentShapes, kernel: GpuLatentKernel, card: Card) -> KernelTimes:
    units, steps = shapes.queries * np.ceil(shapes.heads / ROWS), np.ceil(shapes.slots / ROWS)
    splits = np.clip(np.floor(card.grid_sms / units), 1.0, steps) if kernel.combine else np.ones(len(units))
    unit = kernel.unit.si if kernel.unit else 0.0
    cycles = np.ceil(units * splits / card.sms) * (unit + np.ceil(steps / splits) * kernel.step.si)
    compute = cycles / card.clock_hz
    memory = shapes.queries * shapes.slots * shapes.row / (kernel.memory.si * card.memory_bytes_per_s)
    combine = np.where(splits > 1, kernel.combine.si, 0.0) if kernel.combine else 0.0
    launch = kernel.launch.si + combine + kernel.row.si * shapes.queries * shapes.heads
    return KernelTimes(launch + together(OVERLAP, compute, memory), compute, memory, launch)
