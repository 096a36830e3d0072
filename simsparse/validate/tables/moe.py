# SPDX-License-Identifier: Apache-2.0
"""Tables of fused MoE kernels by AIConfigurator (``*/moe_perf``, columns moe_dtype, num_tokens, ..., latency in ms).

Which kernels a table holds is not in its columns but in the collector of its time (ai-dynamo/aiconfigurator, commit
095f58a51c4c and its history): H200 by vLLM 0.22 (fused_experts on ready expert ids), H100 and L40S by vLLM 0.24 (the
FusedMoE layer, router included), A100 by SGLang 0.5.10, w4a16_mxfp4 by TensorRT-LLM 1.2. Traps: under vLLM 0.24 the
Nemotron shapes have no gate matrix; under SGLang with expert parallelism only tokens with a local expert take part, and
their assignments to other ranks run on local expert 0. Layers run in a replayed CUDA graph over the same buffers; a
power-law row is the mean over five routings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.config.parts.gpu_moe import GpuFusedMoe
from simsparse.core import DType
from simsparse.devices.gpu_card import Card, Floats
from simsparse.devices.gpu_grouped import ExpertCounts
from simsparse.devices.gpu_moe import MoeShapes, fused_seconds
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema
from simsparse.validate.tables.moe_routing import Load, TokenCounts, balanced_ids, drawn_counts, first_tokens

DRAWS = 5
"""Routings that a power-law row is the mean of."""
LIBRARIES: Mapping[str, str] = {"h200": "vllm-0.22", "h100": "vllm-0.24", "l40s": "vllm-0.24", "a100": "sglang-0.5.10"}
"""Library of the table of each card (start of the part's name)."""
WEIGHT_ONLY = {"w4a16_mxfp4": "trtllm-1.2"}
TYPES = {"bfloat16": "bf16", "fp8": "fp8", "fp8_block": "fp8-block", "w4a16_mxfp4": "mxfp4"}
PEAKS = {"bf16": DType.BF16, "fp8": DType.FP8, "fp8-block": DType.FP8, "mxfp4": DType.BF16}
GATELESS = ((2688, 1856, 6, 128), (2048, 5120, 22, 512))
"""Hidden size, expert size, top_k and experts of the Nemotron layers, which have no gate matrix."""
MAX_ASSIGNMENTS, MAX_EXPERTS = 1 << 25, 1 << 14
"""Assignments of tokens and experts beyond which a row is refused, so that a damaged one can't fill the memory."""
COLUMNS = ("moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size",
           "distribution", "latency")  # fmt: skip

TABLES.register("aic_moe")(TableSchema(frozenset(COLUMNS), lambda _: "moe_table", lambda row: row["latency"] * 1e-3))


@dataclass(frozen=True)
class _RoutedLayer:
    """A row's layer under one routing: tokens that take part, counts of the experts held here, those touched."""

    tokens: int
    counts: tuple[int, ...]
    touched: int


def predict_moe_table(part: GpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's layer; in its stead the reason why not."""
    by_model: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        by_model.setdefault(_library(part, row), []).append(i)
    found: dict[int, Prediction | str] = {}
    for (library, kind), places in by_model.items():
        own = [rows[i] for i in places]
        found |= dict(zip(places, _predicted(part, library, kind, own), strict=True))
    return [found[i] for i in range(len(rows))]


def library_of(part: GpuPart) -> str:
    """Library of the tables of a card; empty where there is none."""
    card = part.name.removeprefix("gpu/")
    return next((name for start, name in LIBRARIES.items() if card.startswith(start)), "")


def _library(part: GpuPart, row: Measurement) -> tuple[str, str]:
    dtype = row.text("moe_dtype")
    return WEIGHT_ONLY.get(dtype) or library_of(part), TYPES.get(dtype, "")


def _predicted(part: GpuPart, library: str, kind: str, rows: Sequence[Measurement]) -> Sequence[Prediction | str]:
    model = fused_model(library, part.architecture, kind)
    if model is None:
        return [f"no table of {kind or 'this dtype'} was measured on {part.name}"] * len(rows)
    seconds = table_seconds(part, library, model, PEAKS[kind], rows)
    return [Prediction(row, row.number("s"), float(value)) for row, value in zip(rows, seconds, strict=True)]


def fused_model(library: str, architecture: str, kind: str) -> GpuFusedMoe | None:
    """The library's fused kernel for weights of ``kind``; None where it has none."""
    moe = read_library(library, architecture).moe if library else None
    return None if moe is None else moe.fused.get(kind)


def table_seconds(part: GpuPart, library: str, model: GpuFusedMoe, dtype: DType, rows: Sequence[Measurement]) -> Floats:
    """Seconds of each row under the library's model, the mean over its routings."""
    shapes, owner = moe_layers(rows, library, part.compute.tensor[dtype].si)
    times = fused_seconds(shapes, model, Card.of(part))
    return np.bincount(owner, times.latency_s, len(rows)) / np.bincount(owner, minlength=len(rows))


def moe_layers(rows: Sequence[Measurement], library: str, flops: float) -> tuple[MoeShapes, NDArray[np.int64]]:
    """The layers of rows under their routings, on a card of ``flops`` peak, and the row of each."""
    layers = [_layers(row, library) for row in rows]
    owner = np.repeat(np.arange(len(rows)), [len(own) for own in layers])
    return _shapes(library, flops, [(rows[i], layer) for i, own in enumerate(layers) for layer in own]), owner


def _layers(row: Measurement, library: str) -> tuple[_RoutedLayer, ...]:
    load = Load(
        row.whole("num_tokens"), row.whole("num_experts"), row.whole("topk"), row.whole("moe_ep_size"), _alpha(row)
    )
    if load.tokens * load.top_k > MAX_ASSIGNMENTS or load.experts > MAX_EXPERTS:
        raise row.error("num_tokens", f"more than {MAX_ASSIGNMENTS} assignments or {MAX_EXPERTS} experts")
    if load.top_k > load.experts or load.experts % load.ranks:
        raise row.error("num_experts", f"{load.experts} are not at least topk, or moe_ep_size does not divide them")
    return _routed(load, library.startswith("sglang"))


def _alpha(row: Measurement) -> float | None:
    """Exponent of the row's power law; None of a balanced row."""
    law = row.text("distribution")
    if law == "balanced":
        return None
    try:
        alpha = float(law.removeprefix("power_law_"))
    except ValueError:
        alpha = 1.0
    if not law.startswith("power_law_") or not 0 < alpha < 10 or alpha == 1:
        raise row.error("distribution", f"{law!r}; expected balanced, or power_law_ and an exponent other than 1")
    return alpha


@lru_cache(maxsize=1 << 16)
def _routed(load: Load, projected: bool) -> tuple[_RoutedLayer, ...]:
    """Layers of one or more routings; ``projected``: assignments to other ranks run on local expert 0."""
    rng = np.random.default_rng([load.tokens, load.experts, load.top_k, load.ranks, int(100 * (load.alpha or 0))])
    own = load.experts // load.ranks
    found = [_routing(load, projected, rng) for _ in range(1 if load.alpha is None else DRAWS)]
    touched = int(np.any([counts[:own] > 0 for _, counts in found], axis=0).sum())
    return tuple(_RoutedLayer(tokens, tuple(counts[:own].tolist()), touched) for tokens, counts in found)


def _routing(load: Load, projected: bool, rng: np.random.Generator) -> tuple[int, TokenCounts]:
    """Tokens that take part, and counts of the experts of the first rank."""
    ids = None
    if load.alpha is None:
        ids = balanced_ids(load)
        counts = np.bincount(ids.ravel(), minlength=load.experts)
    else:
        drawn = Load(load.tokens, load.experts, load.top_k, load.ranks, load.alpha)
        counts = drawn_counts(drawn, rng)
    if not projected or load.ranks == 1:
        return load.tokens, counts
    own = load.experts // load.ranks
    tokens = int(((first_tokens(counts, load) if ids is None else ids) < own).any(axis=1).sum())
    local = counts[:own].copy()
    local[0] += tokens * load.top_k - local.sum()
    return tokens, local


def _shapes(library: str, flops: float, layers: Sequence[tuple[Measurement, _RoutedLayer]]) -> MoeShapes:
    def column(key: str) -> Floats:
        return np.array([row.whole(key) for row, _ in layers], np.float64)

    experts, ranks = column("num_experts"), column("moe_ep_size")
    held = experts / ranks
    gateless = [_gateless(row) and library == "vllm-0.24" for row, _ in layers]
    counts = ExpertCounts.of([layer.counts for _, layer in layers], [layer.touched for _, layer in layers])
    same = np.ones(len(layers))
    return MoeShapes(
        tokens=np.array([layer.tokens for _, layer in layers], np.float64), top_k=column("topk"),
        d_model=column("hidden_size"), d_ff=column("inter_size") / column("moe_tp_size"),
        gated=1.0 - np.array(gateless, np.float64), experts=held if library.startswith("sglang") else experts,
        held=held, counts=counts, flops=flops * same, warm=same,
    )  # fmt: skip


def _gateless(row: Measurement) -> bool:
    keys = ("hidden_size", "inter_size", "topk", "num_experts")
    return tuple(row.whole(key) for key in keys) in GATELESS
