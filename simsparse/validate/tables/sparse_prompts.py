# SPDX-License-Identifier: Apache-2.0
"""Table of sparse attention in training, by the Triton kernels of native sparse attention.

Columns gpu, pass (forward, backward), config, seq_len, q_heads, kv_heads, head_dim, kernel, ms: one causal sequence.
Source: github.com/XunhaoLai/native-sparse-attention-triton, commit 9bea856c (Apache-2.0). Kernels: Flash
(FlashAttention 2), Triton-Flash, Triton-TopN (each token and group of heads selects N blocks of 64 keys), Compressed
(one key of 32 tokens every 16, with the sums that select blocks) and Compressed-wo-Score (without them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_kernels import library_names, read_library
from simsparse.config.parts.gpu_tiled_attention import GpuTiledAttention, GpuTiledKernel
from simsparse.devices.gpu_card import Card
from simsparse.devices.gpu_tiled_attention import KEYS, ROW, Tiles, causal_tiles, selected_tiles, tiled_seconds
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import TABLES, TableSchema

COLUMNS = ("gpu", "pass", "config", "seq_len", "q_heads", "kv_heads", "head_dim", "kernel", "ms")
LIBRARY = "nsa-triton"
TOP = "Triton-Top"
SPAN, STRIDE = 32, 16
"""Tokens of a compressed key, and from one to the next."""
MAX_TOKENS = 1 << 24
KERNELS: Mapping[str, str] = {
    "Flash": "dense", "Triton-Flash": "triton", "Compressed": "scored", "Compressed-wo-Score": "compressed",
}  # fmt: skip

TABLES.register("nsa_triton")(
    TableSchema(frozenset(COLUMNS), lambda _: "sparse_prompt_table", lambda row: row["ms"] * 1e-3)
)


def predict_sparse_prompts(part: GpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's kernel; in its stead the reason why not."""
    if LIBRARY not in library_names(part.architecture):
        return [f"{LIBRARY} has no kernels for {part.architecture}"] * len(rows)
    model, card = read_library(LIBRARY, part.architecture).tiled, Card.of(part)
    assert model is not None
    return [_predicted(part, model, card, row) for row in rows]


def _predicted(part: GpuPart, model: GpuTiledAttention, card: Card, row: Measurement) -> Prediction | str:
    gpu = row.text("gpu").lower()
    if not part.name.removeprefix("gpu/").startswith(gpu):
        return f"measured on another card: {gpu}"
    kernel = kernel_of(model, row)
    if kernel is None:
        return f"no kernel {row.text('kernel')}, {row.text('pass')}"
    return Prediction(row, row.number("s"), float(tiled_seconds(tiles_of(row), kernel, card).latency_s[0]))


def kernel_of(model: GpuTiledAttention, row: Measurement) -> GpuTiledKernel | None:
    """The kernel of a row; None where the library has none."""
    known = {
        "dense": model.dense, "dense_backward": model.dense_backward, "triton": model.triton,
        "triton_backward": model.triton_backward, "selected": model.selected,
        "selected_backward": model.selected_backward, "compressed": model.compressed, "scored": model.scored,
        "scored_backward": model.scored_backward,
    }  # fmt: skip
    return known.get(kernel_name(row))


def kernel_name(row: Measurement) -> str:
    """The library's name of a row's kernel. Raises SpecError at a row of an unknown one."""
    kernel, direction = row.text("kernel"), row.text("pass")
    name = "selected" if kernel.startswith(TOP) else KERNELS.get(kernel)
    if name is None:
        raise row.error("kernel", f"{kernel!r}; known: {', '.join(KERNELS)}, {TOP}N")
    if direction not in ("forward", "backward"):
        raise row.error("pass", f"{direction!r}; expected forward or backward")
    return name if direction == "forward" else f"{name}_backward"


def tiles_of(row: Measurement) -> Tiles:
    """The tiles of a row. Raises SpecError at one that has none."""
    tokens, heads, kv_heads = row.whole("seq_len"), row.whole("q_heads"), row.whole("kv_heads")
    if tokens > MAX_TOKENS:
        raise row.error("seq_len", f"more than {MAX_TOKENS}")
    per_head: Mapping[str, Callable[[], tuple[int, int]]] = {
        "selected": lambda: (kv_heads * tokens, kv_heads * selected_tiles(tokens, tokens, _chosen(row))),
        "compressed": lambda: (heads * -(-tokens // ROW), heads * _compressed(tokens)),
    }
    name = kernel_name(row).removesuffix("_backward")
    whole = (heads * -(-tokens // ROW), heads * causal_tiles(tokens, tokens))
    rows, steps = per_head.get(name.replace("scored", "compressed"), lambda: whole)()
    return Tiles(*(np.array([float(value)]) for value in (rows, steps, row.whole("head_dim"))))


def _chosen(row: Measurement) -> int:
    number = row.text("kernel").removeprefix(TOP)
    if not number.isdigit() or not 0 < int(number) < MAX_TOKENS:
        raise row.error("kernel", f"{number!r:.20} is no number of blocks")
    return int(number)


def _compressed(tokens: int) -> int:
    """Tiles of one head on the compressed keys that end before the last query of each row."""
    last = np.minimum(np.arange(ROW, tokens + ROW, ROW), tokens)
    keys = np.maximum((last - SPAN) // STRIDE + 1, 0)
    return int(np.ceil(keys / KEYS).sum())
