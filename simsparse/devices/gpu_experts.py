# SPDX-License-Identifier: Apache-2.0
"""Experts of a mixture in grouped products: which operators run them, their shapes and their seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simsparse.config.parts.gpu_moe import GpuGroupedMoe
from simsparse.core import Op, OpKind
from simsparse.devices.gpu_card import Card, Floats, KernelTimes
from simsparse.devices.gpu_grouped import ExpertCounts, GroupedShapes
from simsparse.devices.gpu_moe import grouped_gemm_seconds

GROUPED = "grouped_mm"
"""Label of a MOE_FFN of which a stack leaves the products only: sorting, gathers, activations are ops of their own."""


def runs_grouped(op: Op, grouped: bool) -> bool:
    """Whether the op's products are two grouped kernels, where the library has one (``grouped``); else a loop."""
    return grouped and op.kind == OpKind.MOE_FFN and op.label == GROUPED and op.dtype.bits == 16


def grouped_shapes(ops: Sequence[Op]) -> GroupedShapes:
    """Two launches per op: gate and up as one matrix, then down; without the tensor peak, which is a card's."""
    counts = [op.expert_counts for op in ops for _ in range(2)]
    sides = [
        side
        for op in ops
        for side in (
            ((1 + op.dims["gated"]) * op.dims["d_ff"], op.dims["d_model"]),
            (op.dims["d_model"], op.dims["d_ff"]),
        )
    ]
    n, k = np.array(sides, np.float64).reshape(-1, 2).T
    size, none = np.array([op.dtype.bits / 8 for op in ops for _ in range(2)], np.float64), np.full(len(n), np.inf)
    return GroupedShapes(ExpertCounts.of(counts), n, k, size, size, none, none)


def experts_seconds(shapes: GroupedShapes, model: GpuGroupedMoe | None, card: Card, flops_per_s: float) -> KernelTimes:
    """Seconds of each launch on a card whose 16-bit tensor peak is ``flops_per_s``."""
    if model is None or not len(shapes.n):
        none: Floats = np.zeros(len(shapes.n))
        return KernelTimes(none, none, none, none)
    return grouped_gemm_seconds(replace(shapes, flops=np.full(len(shapes.n), flops_per_s)), model, card)
