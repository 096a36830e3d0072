# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows that read chosen keys of a cache, or chosen neurons of an MLP, as PyTorch runs them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from simsparse.core import ops
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_card import Card, Floats
from simsparse.devices.gpu_gemm import GemmShapes
from simsparse.devices.gpu_indexed import element_times, skip_rows_times
from simsparse.devices.gpu_launched import Gather, LaunchedKernel, Stream, launched_times
from simsparse.devices.gpu_products import UNITS
from simsparse.devices.gpu_rates import gemm_times
from simsparse.devices.gpu_stream import Function
from simsparse.validate.comparison import Prediction
from simsparse.validate.kernels import looped_attention
from simsparse.validate.measurement import Measurement

PAGES = re.compile(r"pages of (\d{1,6}) tokens")
"""``indexes`` of a row that gathers whole pages."""


def predict_topk(gpu: Gpu, row: Measurement) -> Prediction | str:
    """Seconds to gather the keys and values that ready indexes name, and, of ``topk_decode``, of attention on
    them, which the gathers left in the L2."""
    gathered = _gathered_seconds(gpu, row)
    if isinstance(gathered, str) or row.text("op") == "topk_gather_only":
        return gathered if isinstance(gathered, str) else Prediction(row, row.number("s"), gathered)
    with row.placed():
        attention = ops.attention(
            row.whole("B"), row.whole("H"), row.whole("KV"), row.whole("D"), 1, row.whole("top_k"), dtype=row.dtype()
        )
    if reason := gpu.supports(attention):
        return reason
    return Prediction(row, row.number("s"), gathered + float(looped_attention(gpu, [attention], np.ones(1))[0]))


def _gathered_seconds(gpu: Gpu, row: Measurement) -> float | str:
    """Seconds of two gathers, of keys and of values."""
    rows, head_dim, indexes = row.whole("B") * row.whole("KV") * row.whole("top_k"), row.whole("D"), row.text("indexes")
    card, model, size = Card.of(gpu.part), gpu.part.kernels.indexed, row.dtype().bits / 8
    if (page := PAGES.fullmatch(indexes)) and int(page[1]):
        tokens = int(page[1])
        return 2 * _launched(gpu, [Gather(rows / tokens, tokens * head_dim * size, size)])
    if model is None:
        return f"{gpu.part.kernels.name} has no gathers by element on {gpu.part.architecture}"
    chosen = {"one list a call": (model.inner_launch.si, model.inner.si),
              "one list a kv head": (model.each_launch.si, model.each.si)}.get(indexes)  # fmt: skip
    if chosen is None:
        return f"indexes {indexes}"
    return 2 * float(element_times(np.array([float(rows * head_dim)]), *chosen, card).latency_s[0])


def predict_contextual(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of an MLP over all neurons, over gathered ones, and by kernels that skip the others."""
    return [_contextual(gpu, row) for row in rows]


def _contextual(gpu: Gpu, row: Measurement) -> Prediction | str:
    match row.text("op"):
        case "mlp_dense":
            seconds = _mlp_seconds(gpu, row, row.whole("ff"), np.inf)
        case "mlp_index_select":
            chosen, width = row.whole("neurons"), row.whole("d") * row.dtype().bits / 8
            gathers: list[LaunchedKernel] = [Gather(chosen, width, row.dtype().bits / 8)] * _mats(row)
            seconds = _launched(gpu, gathers) + _mlp_seconds(gpu, row, chosen, 1.0)
        case "mlp_skip_rows":
            return _skip_rows(gpu, row)
        case other:
            return f"op {other}"
    return Prediction(row, row.number("s"), seconds)


def _skip_rows(gpu: Gpu, row: Measurement) -> Prediction | str:
    model = gpu.part.kernels.skip_rows
    if model is None:
        return f"{gpu.part.kernels.name} has no kernels that skip rows on {gpu.part.architecture}"
    neurons, d_model, gated = (
        np.array([float(value)]) for value in (row.whole("neurons"), row.whole("d"), _mats(row) == 3)
    )
    seconds = skip_rows_times(neurons, d_model, gated, model, Card.of(gpu.part)).latency_s
    return Prediction(row, row.number("s"), float(seconds[0]))


def _mats(row: Measurement) -> int:
    mats = row.whole("mats")
    if mats not in (2, 3):
        raise row.error("mats", f"{mats} is neither 2 (plain) nor 3 (gated)")
    return mats


def _mlp_seconds(gpu: Gpu, row: Measurement, neurons: int, weight_sets: float) -> float:
    """Products and activation of an MLP; ``weight_sets``: 1 where the kernel before wrote the weights."""
    m, d, size = row.whole("m"), row.whole("d"), row.dtype().bits / 8
    hidden, ups = m * neurons * size, _mats(row) - 1
    products = _products(gpu, row, m, [(neurons, d)] * ups + [(d, neurons)], weight_sets)
    if ups == 1:
        return products + _launched(gpu, [Stream(m * neurons, hidden, hidden)])
    silu = Stream(m * neurons, hidden, hidden, function=Function.SILU)
    return products + _launched(gpu, [silu, Stream(m * neurons, 2 * hidden, hidden, fresh=hidden)])


def _products(gpu: Gpu, row: Measurement, m: int, sides: Sequence[tuple[int, int]], weight_sets: float) -> float:
    n, k = np.array(sides, np.int64).T
    one, dtype = np.ones(len(n)), row.dtype()
    none = np.zeros(len(n), np.bool_)
    shapes = GemmShapes(
        m * one.astype(np.int64), n, k, np.full(len(n), UNITS[dtype], np.int64), dtype.bits / 8 * one, none, none,
        one.astype(np.int64), None, weight_sets * one, one,
    )  # fmt: skip
    return float(np.sum(gemm_times(gpu.part, shapes).latency_s))


def _launched(gpu: Gpu, kernels: Sequence[LaunchedKernel]) -> float:
    times: Floats = launched_times(Card.of(gpu.part), gpu.part.kernels, kernels).latency_s
    return float(times.sum())
