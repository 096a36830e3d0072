# SPDX-License-Identifier: Apache-2.0
"""Tables of attention on paged caches by AIConfigurator (``*/context_attention_perf``, ``generation_attention_perf``).

Columns batch_size, isl (new tokens), num_heads, num_key_value_heads, head_dim, window_size (0: none), kv_cache_dtype,
step (past tokens; 0 in a context table), latency in ms. H200 by vLLM 0.22, H100 by vLLM 0.24, FlashAttention 3 on pages
of 64 tokens, in a replayed CUDA graph over the same buffers (ai-dynamo/aiconfigurator, commit 095f58a51c4c, and
collector/vllm/collect_attn.py at the time of each table). ``step`` is the length of the cache, the new token included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_attention import GpuPaged
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.devices.gpu_attention import AttentionShapes
from simsparse.devices.gpu_attention_paged import paged_seconds
from simsparse.devices.gpu_card import Card, Floats
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema
from simsparse.validate.tables.moe import library_of

COLUMNS = ("batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim", "window_size", "kv_cache_dtype", "step",
           "latency")  # fmt: skip
CACHE_BYTES = {"bfloat16": 2.0, "float16": 2.0, "fp8": 1.0}

TABLES.register("aic_attention")(
    TableSchema(
        frozenset(COLUMNS), lambda row: "attn_table_generation" if row["step"] else "attn_table_context",
        lambda row: row["latency"] * 1e-3,
    )
)  # fmt: skip


def predict_attention_table(part: GpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's attention; in its stead the reason why not."""
    model = _paged(part)
    if model is None:
        return [f"no table of attention was measured on {part.name}"] * len(rows)
    seconds = paged_seconds(table_shapes(rows), model, Card.of(part)).latency_s
    return [Prediction(row, row.number("s"), float(value)) for row, value in zip(rows, seconds, strict=True)]


def _paged(part: GpuPart) -> GpuPaged | None:
    library = library_of(part)
    return read_library(library, part.architecture).paged if library else None


def table_shapes(rows: Sequence[Measurement]) -> AttentionShapes:
    """The attention of each row. Raises SpecError at a row that holds none."""
    for row in rows:
        if row.text("kv_cache_dtype") not in CACHE_BYTES:
            raise row.error("kv_cache_dtype", f"{row.fields['kv_cache_dtype']!r}; known: {', '.join(CACHE_BYTES)}")
        if row.whole("num_heads") % row.whole("num_key_value_heads"):
            raise row.error("num_key_value_heads", "does not divide num_heads")
        for key in ("batch_size", "isl", "head_dim"):
            row.whole(key)

    def column(key: str) -> Floats:
        return np.array([row.count(key) for row in rows], np.float64)

    head_dim, new, past = column("head_dim"), column("isl"), column("step")
    same = np.ones(len(rows))
    return AttentionShapes(
        batch=column("batch_size"), heads=column("num_heads"), kv_heads=column("num_key_value_heads"),
        head_dim=head_dim, v_head_dim=head_dim, q_len=new, kv_len=np.maximum(new, past), causal=same,
        value_bytes=2 * same, cache_bytes=np.array([CACHE_BYTES[row.text("kv_cache_dtype")] for row in rows]),
        kv_row=2 * head_dim, window=column("window_size"), sets=same,
    )  # fmt: skip
