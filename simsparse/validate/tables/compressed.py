# SPDX-License-Identifier: Apache-2.0
"""Tables of layers on compressed caches by AIConfigurator (``dsv4_csa_*``, ``dsv4_hca_*``, ``msa_*`` of vLLM 0.24).

Columns op (dsv4_csa, dsv4_hca or msa, context or generation), model, kv_cache_dtype, num_heads (of one GPU),
batch_size, isl, step (tokens cached), compress_ratio, latency in ms: a whole layer with its projections, measured on an
H200 (ai-dynamo/aiconfigurator, commit 095f58a51c4c, Apache-2.0). Generation on compressed caches is modelled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.core import Op
from simsparse.devices.gpu import Gpu
from simsparse.models.compressed import SIZES, compressed_layer
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema

COLUMNS = ("op", "model", "mla_dtype", "kv_cache_dtype", "gemm_type", "num_heads", "batch_size", "isl", "step",
           "compress_ratio", "latency")  # fmt: skip
LIBRARY = "vllm-0.24"
CARD = "gpu/h200"
SECTIONS = tuple(f"{op}_{phase}_table" for op in ("dsv4_csa", "dsv4_hca", "msa") for phase in ("context", "generation"))

TABLES.register("aic_compressed")(
    TableSchema(frozenset(COLUMNS), lambda row: f"{row['op']}_table", lambda row: row["latency"] * 1e-3)
)


def predict_compressed_table(part: GpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's layer, its operators one after the other; in its stead the reason why not."""
    if not part.name.startswith(CARD):
        return [f"no table of compressed caches was measured on {part.name}"] * len(rows)
    gpu = Gpu(part.model_copy(update={"kernels": read_library(LIBRARY, part.architecture)}))
    layers = [layer_of(row) for row in rows]
    modelled = [own if isinstance(own, list) else [] for own in layers]
    owner = np.repeat(np.arange(len(rows)), [len(own) for own in modelled])
    costs = gpu.cost_arrays([op for own in modelled for op in own])
    seconds = np.bincount(owner, costs.latency_s, len(rows))
    return [own if isinstance(own, str) else Prediction(row, row.number("s"), float(total))
            for row, own, total in zip(rows, layers, seconds, strict=True)]  # fmt: skip


def layer_of(row: Measurement) -> list[Op] | str:
    """The operators of a row, or why it has none. Raises SpecError at a row of an unknown model."""
    op, model = row.text("op"), row.text("model").rpartition("/")[2].removesuffix("-FP8")
    if not op.startswith("dsv4_") or not op.endswith("_generation"):
        return f"{op} has no model"
    if model not in SIZES:
        raise row.error("model", f"{model!r}; known: {', '.join(SIZES)}")
    every = round(row.number("compress_ratio"))
    with row.placed():
        return compressed_layer(SIZES[model], row.whole("num_heads"), row.whole("batch_size"), row.whole("step"), every)
