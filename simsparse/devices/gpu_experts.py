# SPDX-License-Identifier: Apache-2.0
"""Experts of a mixture in one go: which kernels run them, their shapes and their seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_moe import GpuFusedMoe, GpuGroupedMoe
from simsparse.core import DType, Op, OpKind
from simsparse.core.varying_arrays import filled
from simsparse.devices.gpu_card import Card, Floats, KernelTimes
from simsparse.devices.gpu_grouped import ExpertCounts, GroupedShapes
from simsparse.devices.gpu_moe import MoeShapes, fused_seconds, grouped_gemm_seconds
from simsparse.devices.gpu_rates import peak

GROUPED = "grouped_mm"
"""Label of a MOE_FFN of which a stack leaves the products only: sorting, gathers, activations are ops of their own."""


LOOP = "loop"
"""Label of a MOE_FFN whose experts run one after the other, as a graph of their own."""
FUSED_TYPES = {DType.BF16: "bf16", DType.FP16: "bf16", DType.FP8: "fp8"}
"""Type of weights of a fused kernel by the type of an op's elements."""


@dataclass(frozen=True)
class ExpertKernels:
    """What a card's libraries have for experts: a grouped product, fused kernels by type of weights."""

    grouped: bool = False
    fused: frozenset[str] = frozenset()

    def groups(self, op: Op) -> bool:
        """Whether the products of an op with dense weights are two grouped kernels."""
        return self.grouped and op.kind == OpKind.MOE_FFN and op.label == GROUPED and op.dtype.bits == 16

    def fuses(self, op: Op) -> bool:
        """Whether an op with dense weights runs fused kernels, gathering and scattering included."""
        return op.kind == OpKind.MOE_FFN and op.label not in (GROUPED, LOOP) and FUSED_TYPES.get(op.dtype) in self.fused


def expert_kernels(part: GpuPart) -> ExpertKernels:
    """What a card has for experts; one object for all cards that have the same."""
    types = frozenset(part.fused_experts).intersection(FUSED_TYPES.values())
    return _expert_kernels(part.kernels.moe.grouped is not None, types)


@cache
def _expert_kernels(grouped: bool, fused: frozenset[str]) -> ExpertKernels:
    return ExpertKernels(grouped, fused)


@dataclass(frozen=True)
class FusedExperts:
    """Layers that run fused kernels of one type of elements, without the tensor peak, which is a card's."""

    dtype: DType
    shapes: MoeShapes

    @classmethod
    def of(cls, dtype: DType, ops: Sequence[Op]) -> FusedExperts:
        """The layers of ``ops``, operands in memory."""

        def column(name: str) -> Floats:
            return np.array([op.dims[name] for op in ops], np.float64)

        counts = ExpertCounts.of([op.routing.counts for op in ops if op.routing])
        none, experts = np.zeros(len(ops)), column("experts")
        return cls(dtype, MoeShapes(
            column("tokens"), column("top_k"), column("d_model"), column("d_ff"), column("gated"), experts, experts,
            counts, none, none,
        ))  # fmt: skip

    def seconds(self, part: GpuPart) -> KernelTimes:
        """Seconds of each layer."""
        flops = filled(len(self.shapes.tokens), peak(part, self.dtype))
        return fused_seconds(replace(self.shapes, flops=flops), self._model(part.fused_experts), Card.of(part))

    def _model(self, models: Mapping[str, GpuFusedMoe]) -> GpuFusedMoe:
        return models[FUSED_TYPES[self.dtype]]


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
    return grouped_gemm_seconds(replace(shapes, flops=filled(len(shapes.n), flops_per_s)), model, card)
