# SPDX-License-Identifier: Apache-2.0
"""Seconds of a mixture-of-experts layer on a GPU as a serving engine's fused kernels run it.

Kernels, in order: the assignments of tokens to experts are sorted into tiles; a grouped GEMM for the gate and up
matrices; the activation; a grouped GEMM for the down matrix, which scatters; the sum of the experts' outputs.
Launches with other ranks' experts (expert parallel) run over all assignments in the kernels between the GEMMs.

Left out: the router itself, shared experts, communication between ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsparse.config.parts.gpu_moe import GpuFusedMoe, GpuGroupedMoe
from simsparse.core.varying_arrays import array_of
from simsparse.devices.gpu_card import Card, Floats, KernelTimes
from simsparse.devices.gpu_grouped import ExpertCounts, GroupedShapes, grouped_seconds, missing
from simsparse.devices.gpu_moe_tiles import RULES, ExpertTiles, TileQuestion

VALUE_BYTES = 2.0
"""Bytes of an activation between kernels (bf16 or fp16)."""
UNSORTED = 4
"""vLLM skips sorting where assignments times this are no more than the experts. Source: vLLM 0.24,
fused_moe.py, _prepare_expert_assignment."""


@dataclass(frozen=True)
class MoeShapes:
    """MoE layers, one array element each.

    ``tokens`` with ``top_k`` assignments each over ``experts`` experts, ``held`` of them on this card;
    ``counts``: tokens of the experts held here. ``d_ff``: hidden size of the part of an expert held here; ``gated``:
    1 with a gate matrix, else 0. ``flops``: tensor peak of the products. ``warm``: 1 where the layer runs in a loop
    over the same buffers, 0 where its operands come from memory.
    """

    tokens: Floats
    top_k: Floats
    d_model: Floats
    d_ff: Floats
    gated: Floats
    experts: Floats
    held: Floats
    counts: ExpertCounts
    flops: Floats
    warm: Floats


def fused_seconds(shapes: MoeShapes, model: GpuFusedMoe, card: Card) -> KernelTimes:
    """Seconds of each layer under a library's fused kernels."""
    tiles = RULES[model.tiles](TileQuestion(shapes.tokens, shapes.top_k, shapes.held))
    ups = 1.0 + shapes.gated
    gemms = (
        grouped_seconds(_gemm(shapes, model, ups * shapes.d_ff, shapes.d_model), tiles, model.gemm, card),
        grouped_seconds(_gemm(shapes, model, shapes.d_model, shapes.d_ff), tiles, model.gemm, card),
    )
    between = _between_seconds(shapes, model, card)
    launch = _launch_seconds(shapes, model) + _empty_seconds(shapes, model, card, tiles)
    return KernelTimes(
        launch + between + gemms[0].latency_s + gemms[1].latency_s,
        gemms[0].compute_s + gemms[1].compute_s, between + gemms[0].memory_s + gemms[1].memory_s, launch,
    )  # fmt: skip


def grouped_gemm_seconds(shapes: GroupedShapes, model: GpuGroupedMoe, card: Card) -> KernelTimes:
    """Seconds of grouped GEMMs that are kernels of their own."""
    experts, same = shapes.experts, np.ones(len(shapes.n))
    tiles = RULES[model.tiles](TileQuestion(experts.rows, same, experts.held))
    times = grouped_seconds(shapes, tiles, model.gemm, card)
    launch = model.launch.si * same
    return KernelTimes(launch + times.latency_s, times.compute_s, times.memory_s, launch)


def _gemm(shapes: MoeShapes, model: GpuFusedMoe, n: Floats, k: Floats) -> GroupedShapes:
    weight_bytes = model.weight_bits.si / 8
    value_bytes = min(VALUE_BYTES, weight_bytes) if model.quantize.si else VALUE_BYTES
    weights = (2.0 + shapes.gated) * shapes.d_model * shapes.d_ff * weight_bytes * shapes.counts.touched
    passed = weights + shapes.counts.rows * (shapes.d_model + shapes.d_ff) * VALUE_BYTES
    same = np.ones(len(n))
    return GroupedShapes(
        shapes.counts, n, k, weight_bytes * same, value_bytes * same, shapes.flops,
        np.where(shapes.warm > 0, passed, np.inf),
    )  # fmt: skip


def _launch_seconds(shapes: MoeShapes, model: GpuFusedMoe) -> Floats:
    assignments = shapes.tokens * shapes.top_k
    few = (shapes.held == shapes.experts) & (assignments * UNSORTED <= shapes.experts)
    return np.where(few, model.few.si, model.launch.si + model.sort.si * assignments) + model.quantize.si


def _empty_seconds(shapes: MoeShapes, model: GpuFusedMoe, card: Card, tiles: ExpertTiles) -> Floats:
    """Thread blocks that find nothing to do: grids are launched for the worst padding that can happen."""
    assignments = shapes.tokens * shapes.top_k
    padded = np.minimum(assignments + shapes.experts * (tiles.rows - 1), assignments * tiles.rows)
    idle = np.maximum(np.ceil(padded / tiles.rows) - shapes.counts.tiles(tiles.rows), 0.0)
    columns = np.ceil((1 + shapes.gated) * shapes.d_ff / tiles.outputs) + np.ceil(shapes.d_model / tiles.outputs)
    return array_of(model.gemm.empty.si / card.clock_hz * idle * columns)


def _between_seconds(shapes: MoeShapes, model: GpuFusedMoe, card: Card) -> Floats:
    """The activation, the sum of the experts' outputs, and the kernels that quantize."""
    rows = shapes.tokens * shapes.top_k
    activation = rows * (2.0 + shapes.gated) * shapes.d_ff * VALUE_BYTES
    combine = (rows + shapes.tokens) * shapes.d_model * VALUE_BYTES
    seconds = _moved(activation, model.activation.si, model, card) + _moved(combine, model.combine.si, model, card)
    if model.quantize.si:
        for values in (shapes.tokens * shapes.d_model, rows * shapes.d_ff):
            seconds = seconds + _moved(values * (VALUE_BYTES + 1.0), model.activation.si, model, card)
    return seconds


def _moved(size: Floats, share: float, model: GpuFusedMoe, card: Card) -> Floats:
    """Seconds of a kernel that moves ``size`` bytes, from L2 as far as they still lie there."""
    gemm = model.gemm
    cached = size / (gemm.port.si * card.clock_hz * card.sms)
    return cached + size / (share * card.memory_bytes_per_s) * missing(size, gemm.resident.si * card.l2_bytes)
