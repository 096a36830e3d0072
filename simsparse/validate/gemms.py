# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows that time one GEMM in a loop over sets of buffers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simsparse.core import DType, ops
from simsparse.devices.base import COUNT_LIMIT, Floats
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_card import Card
from simsparse.devices.gpu_gemm import GemmShapes, GemmUnit
from simsparse.devices.gpu_launched import Stream, launched_times
from simsparse.devices.gpu_products import UNITS
from simsparse.devices.gpu_products import WIDENED as WIDENING
from simsparse.devices.gpu_rates import gemm_times
from simsparse.devices.gpu_sparse24 import types_24
from simsparse.devices.gpu_stream import Form
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement

REPLAYS = 5
"""Replays of a graph of ``calls`` calls that a row times at least."""
SPARED_S = 0.05
"""Load after which the power that a card saved up is spent to 1/e, in a run of many measurements. Fitted to the
16-bit GEMMs of tests/validation/data/gpu, whose larger ones ran up to 18 % above the rate of the power limit."""
SPEED_STEPS = 50
"""Rates over the one of the power limit are rounded to this part of one, so that few are evaluated."""
QUANTIZED = ("bf16", "fp8_tensorwise", "fp8_rowwise")
"""Ops of section ``quant`` that are one GEMM of one type."""
WIDENED = {"int8_weight_only": DType.INT8, "int4_weight_only": DType.INT4}
"""Type of the weights of ops of section ``quant`` that have 16-bit inputs."""
SCALED = {"row-wise": GemmUnit.BYTE_ROW, "block-wise": GemmUnit.BYTE_BLOCK}
"""Units of fp8 products by their scales; those with one scale per tensor have none."""
PACKED = ("torch._weight_int4pack_mm", "torch._weight_int8pack_mm")
DEQUANTIZED = "dequantize then linear, eager"
"""Kernels of those ops: one that widens on the way, or one that writes 16-bit weights and then a linear layer."""


def predict_gemms(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's GEMM; in its stead the reason why not.

    A row's ``copies`` say over how many sets of weights and inputs its loop ran, ``calls`` for how long: a
    card that was not busy before runs faster than its power limit allows for ever.
    """
    reasons = [_reason(gpu, row) for row in rows]
    known = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    seconds = iter(_seconds(gpu, known))
    return [
        Prediction(row, row.number("s"), float(next(seconds))) if reason is None else reason
        for row, reason in zip(rows, reasons, strict=True)
    ]


def _reason(gpu: Gpu, row: Measurement) -> str | None:
    if row.section == "quant" and row.text("op") not in QUANTIZED:
        if row.text("op") not in WIDENED:
            return f"op {row.text('op')}"
        if row.text("kernel") not in (*PACKED, DEQUANTIZED):
            return f"kernel {row.text('kernel')}"
    sizes = row.whole("m"), row.whole("n"), row.whole("k")
    batch = (row.whole("batch"),) if "batch" in row.fields else ()
    if (products := math.prod((*batch, *sizes))) >= COUNT_LIMIT:
        return f"{products:.3g} products: more than 2**63"
    return gpu.supports(
        ops.matmul(*batch, *sizes, row.dtype())
        if batch
        else ops.linear(*sizes, row.dtype(), weight_dtype=_widened(row))
    ) or _no_24(gpu, row)


def _no_24(gpu: Gpu, row: Measurement) -> str | None:
    """Why the card has no kernel for the 2:4 weights of a row; None where it has."""
    if row.section == "lowp_sparse24" and row.dtype() not in types_24(gpu.part):
        return f"no kernel of {row.dtype()} 2:4 weights"
    return None


def _widened(row: Measurement) -> DType | None:
    """Type of the weights that the row's kernel widens on their way; None where it multiplies one type."""
    packed = row.section == "quant" and row.fields.get("kernel") in PACKED
    return WIDENED.get(row.text("op")) if packed else None


def _dequantizing(gpu: Gpu, rows: Sequence[Measurement]) -> Floats:
    """Seconds of the kernels that write 16-bit weights before a row's linear layer."""
    chosen = np.array([row.fields.get("kernel") == DEQUANTIZED for row in rows], np.bool_)
    seconds = np.zeros(len(rows))
    own = [row for row, one in zip(rows, chosen, strict=True) if one]
    if own:
        sizes = [row.whole("n") * row.whole("k") for row in own]
        kernels = [Stream(size, size, 2 * size, Form.WIDENING) for size in sizes]
        seconds[chosen] = launched_times(Card.of(gpu.part), gpu.part.kernels, kernels, np.zeros(len(own))).latency_s
    return seconds


def _seconds(gpu: Gpu, rows: Sequence[Measurement]) -> Floats:
    if not rows:
        return np.empty(0)
    shapes = gemm_shapes(rows)
    steady = gemm_times(gpu.part, shapes).latency_s
    budget = gpu.power_budget
    if budget is None:
        return steady + _dequantizing(gpu, rows)
    load = np.array([REPLAYS * row.whole("calls") if "calls" in row.fields else np.inf for row in rows]) * steady
    return seconds_at(gpu, shapes, 1.0 + (budget.speed - 1.0) * np.exp(-load / SPARED_S)) + _dequantizing(gpu, rows)


def seconds_at(gpu: Gpu, shapes: GemmShapes, speeds: Floats) -> Floats:
    """Seconds of each GEMM, the card at ``speeds`` times the rate that its power limit lets it hold."""
    rounded, seconds = np.round(speeds * SPEED_STEPS) / SPEED_STEPS, np.empty(len(speeds))
    for speed in np.unique(rounded).tolist():
        place = np.flatnonzero(rounded == speed)
        seconds[place] = gemm_times(gpu.part, shapes.take(place), speed).latency_s
    return seconds


def gemm_shapes(rows: Sequence[Measurement]) -> GemmShapes:
    """The GEMMs of rows. Raises SpecError."""
    m, n, k = (np.array([row.whole(name) for row in rows], np.int64) for name in ("m", "n", "k"))
    batch = np.array([row.whole("batch") if "batch" in row.fields else 1 for row in rows], np.int64)
    units = np.array([_unit(row) for row in rows], np.int64)
    sizes = np.array([row.dtype().bits / 8 for row in rows])
    weights, inputs = (np.array([_sets(row, name) for row in rows]) for name in ("weight_sets", "input_sets"))
    none = np.zeros(len(rows), np.bool_)
    sparse = np.array([row.fields.get("sparse24") is True for row in rows], np.bool_)
    narrow = [(_widened(row) or row.dtype()).bits / row.dtype().bits for row in rows]
    return GemmShapes(m, n, k, units, sizes, sparse, none, batch, np.array(narrow), weights, inputs)


def _unit(row: Measurement) -> GemmUnit:
    if (widened := _widened(row)) is not None:
        return WIDENING[widened]
    scales = "row-wise" if row.fields.get("op") == "fp8_rowwise" else row.fields.get("scales")
    return SCALED.get(str(scales), UNITS[row.dtype()]) if row.dtype() is DType.FP8 else UNITS[row.dtype()]


def _sets(row: Measurement, name: str) -> float:
    if name in row.fields:
        return float(row.whole(name))
    return row.number("copies") if "copies" in row.fields else math.inf
