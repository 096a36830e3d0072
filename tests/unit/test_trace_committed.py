# SPDX-License-Identifier: Apache-2.0
"""The committed traces: whole, readable without torch, and equal to closed forms of their models."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simsparse.core import Op, OpKind, Trace
from simsparse.trace import load_trace
from simsparse.trace.file import trace_text

FOLDER = Path(__file__).resolve().parents[2] / "traces"
MANIFEST: dict[str, dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text())
LLAMA = {"hidden": 4096, "ffn": 11008, "layers": 32, "kv": 4096, "vocab": 32000}
MIXTRAL = {"hidden": 4096, "ffn": 14336, "layers": 32, "kv": 1024, "vocab": 32000}


def committed(name: str) -> Trace:
    return load_trace(FOLDER / f"{name}.trace")


def of_kind(trace: Trace, kind: str) -> list[Op]:
    return [op for op in trace.ops if op.kind == kind]


def test_the_manifest_names_every_trace_and_no_other() -> None:
    assert {f"{name}.trace" for name in MANIFEST} == {path.name for path in FOLDER.glob("*.trace")}


@pytest.mark.parametrize("name", MANIFEST)
def test_a_trace_is_the_one_that_the_manifest_describes(name: str) -> None:
    entry, path, trace = MANIFEST[name], FOLDER / f"{name}.trace", committed(name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    assert hashlib.sha256(trace_text(trace).encode()).hexdigest() == entry["text_sha256"]
    assert (len(trace.ops), path.stat().st_size) == (entry["ops"], entry["bytes"])
    assert {key: trace.meta[key] for key in ("model", "phase", "batch")} == {
        key: entry[key] for key in ("model", "phase", "batch")
    }
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("name", MANIFEST)
def test_nothing_is_left_out_and_only_trained_routers_are_called_recorded(name: str) -> None:
    trace = committed(name)
    assert trace.meta["other_share"] == 0
    origins = {op.routing.origin for op in trace.ops if op.routing}
    assert origins == set(MANIFEST[name]["routing"])
    recorded = {"recorded"} if trace.meta["weights"] == "trained" else set()
    assert all(origin in recorded or origin.startswith("generated:counts:") for origin in origins)


def test_traces_load_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from simsparse.trace import load_trace; "
        "[load_trace(path) for path in sys.argv[1:]]"
    )
    subprocess.run([sys.executable, "-c", code, *map(str, FOLDER.glob("*.trace"))], check=True)


def attention_macs(batch: int, q_len: int, kv_len: int, hidden: int) -> int:
    """Query-key and score-value products of a causal layer: each query sees itself and what is before."""
    pairs = sum(kv_len - q_len + i + 1 for i in range(q_len))
    return 2 * batch * pairs * hidden


@pytest.mark.parametrize(
    ("name", "batch", "q_len", "kv_len"),
    [("llama2-7b-prefill", 1, 2048, 2048), ("llama2-7b-decode-b1", 1, 1, 513), ("llama2-7b-decode-b8", 8, 1, 2049)],
)
def test_llama_matches_its_closed_form(name: str, batch: int, q_len: int, kv_len: int) -> None:
    trace, m = committed(name), LLAMA
    per_layer = 4 * m["hidden"] ** 2 + 3 * m["hidden"] * m["ffn"]
    weights = m["layers"] * per_layer + m["vocab"] * m["hidden"]
    assert trace.weight_bytes == 2 * weights
    macs = m["layers"] * (batch * q_len * per_layer + attention_macs(batch, q_len, kv_len, m["hidden"]))
    macs += batch * m["vocab"] * m["hidden"]
    products = [op for op in trace.ops if op.kind not in (OpKind.ELEMENTWISE, OpKind.OTHER)]
    assert sum(op.flops for op in products) == 2 * macs
    assert sum(op.kv_bytes for op in trace.ops) == batch * kv_len * m["layers"] * 2 * m["kv"] * 2


@pytest.mark.parametrize(
    ("name", "batch", "q_len", "kv_len"),
    [("mixtral-8x7b-prefill", 1, 2048, 2048), ("mixtral-8x7b-decode-b1", 1, 1, 513),
     ("mixtral-8x7b-decode-b8", 8, 1, 2049)],
)  # fmt: skip
def test_mixtral_matches_its_closed_form(name: str, batch: int, q_len: int, kv_len: int) -> None:
    trace, m = committed(name), MIXTRAL
    tokens, expert = batch * q_len, 3 * m["hidden"] * m["ffn"]
    shared = 2 * m["hidden"] ** 2 + 2 * m["hidden"] * m["kv"] + 8 * m["hidden"]
    layers = of_kind(trace, OpKind.MOE_FFN)
    assert len(layers) == m["layers"]
    assert all(sum(op.routing.counts) == 2 * tokens for op in layers if op.routing)
    hit = sum(len(op.expert_counts) for op in layers)
    head = m["vocab"] * m["hidden"]
    assert trace.weight_bytes == 2 * (m["layers"] * shared + hit * expert + head)
    macs = m["layers"] * (tokens * (shared + 2 * expert) + attention_macs(batch, q_len, kv_len, m["hidden"]))
    products = [op for op in trace.ops if op.kind != OpKind.ELEMENTWISE]
    assert sum(op.flops for op in products) == 2 * (macs + batch * head)
    assert sum(op.kv_bytes for op in trace.ops) == batch * kv_len * m["layers"] * 2 * m["kv"] * 2


def test_a_decode_step_appends_one_token_and_gathers_one_row_a_sequence() -> None:
    ops = committed("llama2-7b-decode-b8").ops
    appended = [op for op in ops if op.label == "kv_append"]
    assert len(appended) == 32
    assert {op.dims["write_bytes"] for op in appended} == {8 * 2 * 4096 * 2}
    embedding = next(op for op in ops if op.label == "embedding")
    assert embedding.dims["read_bytes"] == 8 * 4096 * 2 + 8 * 8


def test_a_llama_layer_is_fifteen_ops_in_a_dataflow_graph() -> None:
    trace = committed("llama2-7b-decode-b1")
    layer = [op for op in trace.ops if op.module.startswith("model.layers.7.") or op.module == "model.layers.7"]
    assert [op.label or op.name.rsplit(".", 1)[-1] for op in layer] == [
        "rmsnorm", "q_proj", "k_proj", "v_proj", "rope", "kv_append", "attention", "o_proj", "add", "rmsnorm",
        "gate_proj", "up_proj", "silu_mul", "down_proj", "add",
    ]  # fmt: skip
    named = {op.name.removeprefix("model.layers.7."): {dep.split("layers.7.")[-1] for dep in op.deps} for op in layer}
    assert named["self_attn.attention"] == {"self_attn.rope", "self_attn.kv_append"}
    assert named["mlp.silu_mul"] == {"mlp.gate_proj", "mlp.up_proj"}
    assert named["add.1"] == {"add", "mlp.down_proj"}


@pytest.mark.parametrize(
    ("name", "pattern", "group"),
    [("minilm-2-4", "2:4", "4"), ("minilm-2-4-wanda", "2:4", "4"), ("minilm-4-8-wanda", "4:8", "8"),
     ("minilm-half-wanda", "unstructured:0.5", None)],
)  # fmt: skip
def test_minilm_weights_are_measured_to_be_what_they_were_pruned_to(name: str, pattern: str, group: str | None) -> None:
    trace = committed(name)
    linear = of_kind(trace, OpKind.LINEAR)
    assert len(linear) == 36
    assert {str(op.weight_sparsity) for op in linear} == {pattern}
    assert all(op.stats["density"] == 0.5 for op in linear)
    if group is not None:
        half = int(group) // 2
        assert all(op.stats["weight"]["groups"][group][half] == 1.0 for op in linear)
        assert all(pattern in op.stats["nm"] for op in linear)
    assert trace.meta["accuracy"] == MANIFEST[name]["accuracy"]
    assert 0.4 < trace.meta["accuracy"]["spearman"] < 0.95


@pytest.mark.parametrize(("name", "pattern"), [("crepe-full", "dense"), ("crepe-full-2-4", "2:4")])
def test_crepe_has_zeros_of_padding_only_where_its_layers_read(name: str, pattern: str) -> None:
    trace = committed(name)
    convolutions = of_kind(trace, OpKind.CONV2D)
    assert {str(op.weight_sparsity) for op in convolutions} == {pattern}
    assert [op.stats["input_density"] for op in convolutions] == [1.0] * 6
    lengths = [1024, 128, 64, 32, 16, 8]
    shares = [508 / 1532, *(63 / (length + 63) for length in lengths[1:])]
    assert [op.stats["padding"] for op in convolutions] == pytest.approx(shares, abs=1e-4)


def test_efficientnet_feeds_its_projections_zeros() -> None:
    convolutions = of_kind(committed("efficientnet-lite0"), OpKind.CONV2D)
    projections = [op.stats["input_density"] for op in convolutions if op.name.endswith("_project_conv")]
    assert len(projections) == 16
    assert 0.2 < sum(projections) / 16 < 0.6
    assert all(op.weight_sparsity.is_dense for op in convolutions)


def test_the_cnn_matches_its_closed_form() -> None:
    trace = committed("cnn-small")
    macs = {"stem": (3, 16, 3, 32), "blocks.0.conv1": (16, 16, 3, 32), "blocks.0.conv2": (16, 16, 3, 32),
            "blocks.1.conv1": (16, 32, 3, 16), "blocks.1.conv2": (32, 32, 3, 16), "blocks.1.shortcut": (16, 32, 1, 16),
            "blocks.2.conv1": (32, 64, 3, 8), "blocks.2.conv2": (64, 64, 3, 8),
            "blocks.2.shortcut": (32, 64, 1, 8)}  # fmt: skip
    convolutions = {op.name: op.dense_macs for op in of_kind(trace, OpKind.CONV2D)}
    assert convolutions == {name: 16 * math.prod((i, o, k, k, w, w)) for name, (i, o, k, w) in macs.items()}
