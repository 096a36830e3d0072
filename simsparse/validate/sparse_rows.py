# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows of experts and of sparse attention that are no single operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simsparse.core import DType, ops
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_attention_sparse import flex_seconds
from simsparse.devices.gpu_card import Card
from simsparse.devices.gpu_grouped import ExpertCounts, GroupedShapes
from simsparse.devices.gpu_moe import grouped_gemm_seconds
from simsparse.validate.chosen_rows import predict_topk
from simsparse.validate.comparison import Prediction
from simsparse.validate.kernels import predict_attention
from simsparse.validate.measurement import Measurement


def predict_grouped(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of a grouped GEMM, or of a loop of GEMMs over the experts that are hit."""
    return [_grouped(gpu, row) for row in rows]


def _grouped(gpu: Gpu, row: Measurement) -> Prediction | str:
    match row.text("op"):
        case "grouped_mm":
            return _grouped_mm(gpu, row)
        case "loop_of_linear":
            loop = [ops.linear(count, row.whole("n"), row.whole("k"), row.dtype()) for count in _counts(row) if count]
            return Prediction(row, row.number("s"), sum(cost.latency_s for cost in gpu.costs(loop)))
        case other:
            return f"op {other}"


def _grouped_mm(gpu: Gpu, row: Measurement) -> Prediction | str:
    seconds = grouped_seconds(gpu, _counts(row), row.whole("n"), row.whole("k"), row.dtype())
    return seconds if isinstance(seconds, str) else Prediction(row, row.number("s"), seconds)


def grouped_seconds(gpu: Gpu, counts: Sequence[int], n: int, k: int, dtype: DType) -> float | str:
    """Seconds of a grouped GEMM, the products of experts by their tokens; the reason why not."""
    model = gpu.part.kernels.moe.grouped
    if model is None:
        return f"{gpu.part.kernels.name} has no grouped GEMM on {gpu.part.architecture}"
    outputs, inputs, size = (np.array([value], np.float64) for value in (n, k, dtype.bits / 8))
    flops = np.array([gpu.part.compute.tensor[DType.BF16].si])
    shapes = GroupedShapes(ExpertCounts.of([tuple(counts)]), outputs, inputs, size, size, flops, np.array([np.inf]))
    return float(grouped_gemm_seconds(shapes, model, Card.of(gpu.part)).latency_s[0])


def predict_sparse_attention(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of FlexAttention with a mask of blocks, of attention on chosen keys, and of dense attention beside them;
    in its stead the reason why not."""
    return [_sparse_attention(gpu, row) for row in rows]


def _sparse_attention(gpu: Gpu, row: Measurement) -> Prediction | str:
    op = row.text("op")
    if op.startswith("topk_"):
        return predict_topk(gpu, row)
    return predict_attention(gpu, [row])[0] if op.startswith("sdpa_") else _flex(gpu, row)


def _flex(gpu: Gpu, row: Measurement) -> Prediction | str:
    op, model = row.text("op"), gpu.part.kernels.flex
    if not op.startswith("flex_"):
        return f"op {op}"
    if model is None:
        return f"{gpu.part.kernels.name} has no FlexAttention on {gpu.part.architecture}"
    block, head_dim = row.whole("block"), row.whole("D")
    if block not in (64, 128) or head_dim != 128:
        return f"blocks of {block} with head dim {head_dim}: only 64 and 128 with head dim 128 were measured"
    heads = row.whole("B") * row.whole("H")
    rows, kept = (np.array([heads * count], np.float64) for count in (-(-row.whole("L") // block), row.whole("blocks")))
    times = flex_seconds(rows, kept, np.array([block == 128], np.float64), model, Card.of(gpu.part))
    return Prediction(row, row.number("s"), float(times.latency_s[0]))


def _counts(row: Measurement) -> tuple[int, ...]:
    counts = row.fields.get("counts")
    if not isinstance(counts, list) or not all(isinstance(count, int) and 0 <= count < 2**40 for count in counts):
        raise row.error("counts", f"{counts!r} are not tokens by expert")
    return tuple(counts)
