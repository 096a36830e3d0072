# SPDX-License-Identifier: Apache-2.0
"""Tables of linear layers by AIConfigurator (``*/gemm_perf``) with 16-bit inputs.

Columns gemm_dtype, m, n, k, latency in ms (``int8_wo`` and ``int4_wo``: 16-bit inputs, weights of 8 and 4 bits, by
TensorRT-LLM 1.2 on the H200 and 1.0 on the A100 and the L40S); with the board's power or, over several cards,
``gpu``. H200 and H100 by vLLM 0.22 and 0.24 (ai-dynamo/aiconfigurator, commit 095f58a51c4c;
collector/vllm/collect_gemm.py). The collector captures a graph of six layers with weights of their own and one input,
and replays it: small weights and the input stay in the L2. Tables with power were taken over 0.3 s or more, others
over six replays. TensorRT-LLM's 16-bit rows ran five such layers, whose weights are random where the others' were
never set (collector/trtllm/collect_gemm.py); its rows with narrow weights are the last layer of an engine, run once
under the engine's profiler after three layers whose weights fill any L2 (collect_gemm_trt.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from simsparse.config.parts.gpu_kernels import library_names, read_library
from simsparse.core import DType, ops
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_card import Floats
from simsparse.devices.gpu_gemm import GemmShapes, GemmUnit
from simsparse.devices.gpu_gemm_types import WEIGHT_ONLY
from simsparse.validate.comparison import Prediction
from simsparse.validate.gemms import SPARED_S, seconds_at
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema

SECTION, WIDENED_SECTION = "gemm_table", "weight_only_table"
UNITS = {"bfloat16": GemmUnit.HALF, "int8_wo": GemmUnit.WEIGHT8, "int4_wo": GemmUnit.WEIGHT4}
"""Arithmetic by gemm_dtype."""
WIDENING_LIBRARY = "trtllm-1.2"
"""Library whose kernels the rows with narrow weights ran."""
LAYERS, SHORT_RUN = 6, 54
"""Layers of a graph, and calls of a layer from the first warm-up to the last timed replay of a short run."""
LAUNCH_S = -0.28e-6
"""What a kernel of those graphs takes more than one of ours. Fitted to half of the tables of H100 and H200."""
SETS = 5
"""Layers of a graph of TensorRT-LLM's 16-bit rows."""
PROFILED_S: Mapping[str, float] = {"h200": 4.4e-6, "a100": 6.6e-6, "l40s": 2.2e-6}
"""What the profiler of an engine adds to a layer, by card: the fixed seconds of rows of up to four tokens, less those
of 16-bit kernels of the architecture. Fitted to half of the table."""
PACE: Mapping[str, float] = {"h200": 1.0, "a100": 0.95, "l40s": 1.0}
"""Seconds of TensorRT-LLM's 16-bit rows over those that the other table of the same card gives: the A100 that ran them
is faster throughout. Fitted to half of the table."""
UNSET, RESTED = 1.0, 0.45
"""Weights that were never set draw less power: rate over that of random ones; what a card that rested adds to it.
Fitted to half of the tables of H100 and H200."""

TABLES.register("aic_gemm")(
    TableSchema(
        frozenset(("gemm_dtype", "m", "n", "k", "latency")),
        lambda row: WIDENED_SECTION if str(row["gemm_dtype"]).endswith("_wo") else SECTION,
        lambda row: row["latency"] * 1e-3,
    )
)  # fmt: skip


def predict_gemm_table(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's linear layer; in its stead the reason why not."""
    reasons = [_reason(gpu, row) for row in rows]
    known = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    plain, pace = seconds_at(gpu, table_shapes(known), _speeds(gpu, known)), np.array([_pace(row) for row in known])
    seconds = iter(pace * plain + np.array([launch_s(row) for row in known]))
    return [
        Prediction(row, row.number("s"), float(next(seconds))) if reason is None else reason
        for row, reason in zip(rows, reasons, strict=True)
    ]


def launch_s(row: Measurement) -> float:
    """What a kernel takes more in the row's table than one of ours."""
    return PROFILED_S[row.text("gpu")] if row.section == WIDENED_SECTION else LAUNCH_S


def _pace(row: Measurement) -> float:
    return PACE[row.text("gpu")] if "gpu" in row.fields and row.section == SECTION else 1.0


def _sets(row: Measurement) -> float:
    """Sets of weights that a row's layers take in turns; without end where nothing of them is left in the L2."""
    if row.section == WIDENED_SECTION:
        return np.inf
    return SETS if "gpu" in row.fields else LAYERS


def _reason(gpu: Gpu, row: Measurement) -> str | None:
    if (name := row.text("gemm_dtype")) not in UNITS:
        return f"no kernels for gemm_dtype {name}"
    if "gpu" in row.fields and f"/{row.text('gpu')}-" not in gpu.part.name:
        return f"measured on {row.text('gpu')}"
    op = ops.linear(row.whole("m"), row.whole("n"), row.whole("k"), DType.BF16)
    return gpu.supports(op if UNITS[name] is GemmUnit.HALF else op.with_(weight_dtype=WEIGHT_ONLY[UNITS[name]]))


def predict_widened_table(gpu: Gpu, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row whose weights are narrower than its inputs, on the card with the library that ran them."""
    part = gpu.part
    if WIDENING_LIBRARY not in library_names(part.architecture):
        return [f"{WIDENING_LIBRARY} has no kernels for {part.architecture}"] * len(rows)
    library = read_library(WIDENING_LIBRARY, part.architecture)
    return predict_gemm_table(Gpu(part.model_copy(update={"kernels": library})), rows)


def table_shapes(rows: Sequence[Measurement]) -> GemmShapes:
    """The GEMMs of rows: the layers of a graph read one input, each has a weight of its own."""
    m, n, k = (np.array([row.whole(name) for row in rows], np.int64) for name in ("m", "n", "k"))
    one, none = np.ones(len(rows)), np.zeros(len(rows), np.bool_)
    units = np.array([UNITS[row.text("gemm_dtype")] for row in rows], np.int64)
    share = np.select([units == GemmUnit.WEIGHT8, units == GemmUnit.WEIGHT4], [0.5, 0.25], 1.0)
    return GemmShapes(m, n, k, units, 2 * one, none, none, one.astype(np.int64), share,
                       np.array([_sets(row) for row in rows]), one)  # fmt: skip


def _speeds(gpu: Gpu, rows: Sequence[Measurement]) -> Floats:
    """Rate of each row's layer over the one that the power limit allows for ever."""
    if gpu.power_budget is None:
        return np.ones(len(rows))
    load = np.array([np.inf if "power" in row.fields else SHORT_RUN * row.number("s") for row in rows])
    drawn = np.array(["gpu" in row.fields and row.section == SECTION for row in rows])
    rested = np.where(drawn, gpu.power_budget.speed - 1.0, RESTED)
    return np.asarray(np.where(drawn, 1.0, UNSET) * (1.0 + rested * np.exp(-load / SPARED_S)))
