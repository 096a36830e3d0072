# SPDX-License-Identifier: Apache-2.0
"""Latent attention on whole caches and on selected tokens: counts by brute force, layers, the public tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.core import TraceBuilder, ops
from simsparse.core.kinds.key_index import KEY_INDEX
from simsparse.devices.gpu import Gpu
from simsparse.errors import MappingError, SpecError
from simsparse.models.latent import SIZES, latent_layer
from simsparse.validate.run import validate_file

H200 = load_hardware("gpu/h200-sxm5-141gb")
SERVED = Gpu(H200.model_copy(update={"kernels": read_library("vllm-0.22", "hopper")}))
HEADER = "op_name,model,mla_dtype,kv_cache_dtype,gemm_type,num_heads,batch_size,isl,tp_size,step,latency,power"
V3, V32 = "deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V3.2"


def seconds(model: str, heads: int, batch: int, q_len: int, kv_len: int, cache: str = "bf16") -> float:
    layer = latent_layer(SIZES[model], heads, batch, q_len, kv_len, cache)
    return float(SERVED.cost_arrays(layer).latency_s.sum())


@given(st.integers(1, 3), st.integers(1, 30), st.integers(1, 30), st.integers(1, 20), st.booleans())
def test_pairs_are_those_of_each_query(batch: int, q_len: int, kv_len: int, selected: int, causal: bool) -> None:
    op = ops.selected_attention(batch, 2, 1, 8, q_len, kv_len, selected, causal)
    seen = [max(kv_len - q_len + i + 1, 0) if causal else kv_len for i in range(q_len)]
    assert op.definition.pairs(op) == batch * sum(min(selected, keys) for keys in seen)
    assert op.dense_macs == op.definition.pairs(op) * 2 * 16
    index = ops.key_index(batch, 4, 16, q_len, kv_len, selected, causal)
    assert KEY_INDEX.scores(index) == batch * sum(seen)
    assert index.output_bytes == batch * q_len * selected * 4


def test_a_cache_of_latents_is_read_once_for_keys_and_values() -> None:
    one = ops.selected_attention(2, 16, 1, 576, 1, 8192, 2048, v_head_dim=512, latent_kv=True)
    two = ops.selected_attention(2, 16, 1, 576, 1, 8192, 2048, v_head_dim=512)
    assert one.kv_bytes == 2 * 2048 * 576 * 2
    assert two.kv_bytes == 2 * 2048 * (576 + 512) * 2
    assert one.definition.resident_kv_bytes(one) == 2 * 8192 * 576 * 2
    assert one.definition.after_tokens(one, 8).dims["kv_len"] == 8200


def test_weights_of_a_layer_are_those_of_the_model() -> None:
    """DeepSeek-V3 in 16 bits, 128 heads: 187.1 million parameters in attention (its report, projections alone)."""
    layer = latent_layer(SIZES["DeepSeek-V3"], 128, 1, 1, 1024)
    absorbed = 2 * 128 * 128 * 512  # of batched products, whose second operand counts as an activation
    linear = sum(op.weight_bytes for op in layer if op.kind == "linear") / 2
    sizes = 7168 * (1536 + 576) + 1536 * 128 * 192 + 128 * 128 * 7168
    assert linear == sizes
    assert linear + absorbed == pytest.approx(187.1e6, rel=1e-3)


def test_selecting_pays_at_long_caches_of_many_sequences_alone() -> None:
    assert seconds("DeepSeek-V3.2", 128, 1, 1, 8192) > seconds("DeepSeek-V3", 128, 1, 1, 8192)
    assert seconds("DeepSeek-V3.2", 128, 64, 1, 131072) < 0.4 * seconds("DeepSeek-V3", 128, 64, 1, 131072)


def test_a_selection_takes_its_slots_filled_or_not() -> None:
    few, many = (seconds("DeepSeek-V3.2", 16, 64, 1, kv_len) for kv_len in (16, 2048))
    assert few == pytest.approx(many, rel=0.05)


def test_a_framework_without_an_index_says_so() -> None:
    op = ops.key_index(1, 64, 128, 1, 8192, 2048)
    with pytest.raises(MappingError, match="has no kernel for an index of keys; serving engines have"):
        ss.estimate(op, H200)


def test_a_framework_runs_a_selection_as_attention_on_as_many_keys() -> None:
    chosen = ops.selected_attention(4, 32, 8, 128, 1, 65536, 512)
    short = ops.attention(4, 32, 8, 128, 1, 512)
    assert ss.estimate(chosen, H200).latency_s == pytest.approx(ss.estimate(short, H200).latency_s)


def test_a_layer_runs_in_a_trace() -> None:
    builder = TraceBuilder("layer")
    for op in latent_layer(SIZES["GLM-5"], 64, 8, 1, 16384):
        builder.add(op)
    result = ss.simulate(builder.build(), SERVED.part)
    assert 1e-4 < result.latency_s < 1e-3
    assert "key_index" in set(result.table()["kind"])


def table(tmp_path: Path, rows: list[str]) -> Path:
    path = tmp_path / "latent.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_rows_of_the_public_table(tmp_path: Path) -> None:
    """Four of 8,996 rows, ai-dynamo/aiconfigurator at 095f58a51c4c; the models were fitted to rows of their kind."""
    rows = [
        f"mla_generation,{V3},bfloat16,bfloat16,bfloat16,128,64,1,1,65536,1.7957,390.3",
        f"dsa_generation,{V32},bfloat16,bfloat16,bfloat16,128,64,1,1,131072,0.663,264.6",
        f"mla_context,{V3},bfloat16,bfloat16,bfloat16,128,1,8192,1,0,8.3943,401.9",
        f"dsa_context,{V32},bfloat16,bfloat16,bfloat16,128,4,3072,1,0,22.0974,430.7",
    ]
    report = validate_file(table(tmp_path, rows), H200.name)
    assert len(report.sections) == 4
    for section in report.sections:
        (row,) = section.predictions
        assert abs(row.error) < 0.15, section.name


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (f"mla_generation,{V32},bfloat16,bfloat16,bfloat16,128,64,1,1,9,1,1", "is no layer of DeepSeek-V3.2"),
        ("dsa_context,x/Y,bfloat16,bfloat16,bfloat16,128,64,1,1,9,1,1", "'Y'; known: DeepSeek-V3"),
        (f"dsa_context,{V32},bfloat16,int3,bfloat16,128,64,1,1,9,1,1", "'int3'; known: bfloat16, fp8"),
    ],
)
def test_a_row_that_is_no_layer_is_named(tmp_path: Path, row: str, expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        validate_file(table(tmp_path, [row]), H200.name)


def test_other_cards_have_no_table(tmp_path: Path) -> None:
    row = f"mla_generation,{V3},bfloat16,bfloat16,bfloat16,128,64,1,1,65536,1.7957,390.3"
    (section,) = validate_file(table(tmp_path, [row]), "gpu/l40s-48gb").sections
    assert not section.predictions
