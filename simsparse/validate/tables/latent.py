# SPDX-License-Identifier: Apache-2.0
"""Tables of layers of latent attention by AIConfigurator (``*/mla_*_module_perf``, ``dsa_*_module_perf``).

Columns op_name (mla or dsa, context or generation), model, kv_cache_dtype, num_heads (of one GPU), batch_size, isl (new
tokens of a sequence), step (tokens before them), latency in ms: a whole layer with its projections in 16 bits, vLLM
0.22 on an H200 (ai-dynamo/aiconfigurator, commit 095f58a51c4c). ``step`` of a generation is the length of the cache.
Prompts of a DSA layer are not replayed as a graph: the host launches their kernels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.config.parts.gpu_latent import GpuLatent
from simsparse.core import Op
from simsparse.devices.gpu import Gpu
from simsparse.models.latent import SIZES, LatentSizes, latent_layer
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema
from simsparse.validate.tables.moe import library_of

COLUMNS = ("op_name", "model", "mla_dtype", "kv_cache_dtype", "gemm_type", "num_heads", "batch_size", "isl", "step",
           "latency")  # fmt: skip
CACHES = {"bfloat16": "bf16", "fp8": "fp8"}
DENSE = "mla"

TABLES.register("aic_latent")(
    TableSchema(frozenset(COLUMNS), lambda row: f"{row['op_name']}_table", lambda row: row["latency"] * 1e-3)
)  # fmt: skip


def predict_latent_table(part: GpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's layer, its operators one after the other; in its stead the reason why not."""
    library = library_of(part)
    served = read_library(library, part.architecture) if library else None
    if served is None or served.latent is None:
        return [f"no table of latent attention was measured on {part.name}"] * len(rows)
    gpu = Gpu(part.model_copy(update={"kernels": served}))
    layers = [_layer(row) for row in rows]
    owner = np.repeat(np.arange(len(rows)), [len(own) for own in layers])
    costs = gpu.cost_arrays([op for own in layers for op in own])
    seconds = np.bincount(owner, costs.latency_s, len(rows))
    return [Prediction(row, row.number("s"), _layer_seconds(row, float(total), served.latent))
            for row, total in zip(rows, seconds, strict=True)]  # fmt: skip


def _layer(row: Measurement) -> list[Op]:
    """The operators of a row. Raises SpecError at a row that holds none."""
    sizes, cache = _sizes(row), row.text("kv_cache_dtype")
    if cache not in CACHES:
        raise row.error("kv_cache_dtype", f"{cache!r}; known: {', '.join(CACHES)}")
    new, before = row.whole("isl"), row.count("step")
    kv_len = max(before, 1) if _generates(row) else new + before
    with row.placed():
        return latent_layer(sizes, row.whole("num_heads"), row.whole("batch_size"), new, kv_len, CACHES[cache])


def _sizes(row: Measurement) -> LatentSizes:
    model = row.text("model").rpartition("/")[2]
    if model not in SIZES:
        raise row.error("model", f"{model!r}; known: {', '.join(SIZES)}")
    if bool(SIZES[model].selected) == row.text("op_name").startswith(DENSE):
        raise row.error("op_name", f"{row.text('op_name')!r} is no layer of {model}")
    return SIZES[model]


def _generates(row: Measurement) -> bool:
    return row.text("op_name").endswith("generation")


def _layer_seconds(row: Measurement, ops: float, latent: GpuLatent) -> float:
    """Seconds of a layer whose operators take ``ops``: prompts have more kernels round their attention."""
    if _generates(row):
        return ops
    if row.text("op_name").startswith(DENSE):
        return ops + latent.around.si + latent.around_token.si * row.whole("batch_size") * row.whole("isl")
    return max(ops, latent.host.si)
