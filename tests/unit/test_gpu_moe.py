# SPDX-License-Identifier: Apache-2.0
"""Grouped and fused experts, attention on a paged cache, and the tables that they are compared with."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu_kernels import libraries, read_library
from simsparse.core import DType, Routing, Sparsity, ops
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_attention import AttentionShapes
from simsparse.devices.gpu_attention_paged import paged_seconds
from simsparse.devices.gpu_card import Card
from simsparse.devices.gpu_grouped import ExpertCounts, GroupedShapes
from simsparse.devices.gpu_moe import MoeShapes, fused_seconds, grouped_gemm_seconds
from simsparse.devices.gpu_moe_tiles import RULES, TileQuestion
from simsparse.errors import SpecError
from simsparse.validate import validate, validate_file
from simsparse.validate.tables.moe_routing import Load, balanced_ids, drawn_counts, first_tokens

H200 = load_hardware("gpu/h200-sxm5-141gb")
CARD = Card.of(H200)
MOE = "moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,distribution,latency"


def layer(counts, tokens=None, top_k=1.0, d_model=2048, d_ff=768, warm=0.0):
    one = np.ones(1)
    return MoeShapes(
        tokens=(tokens or sum(counts) / top_k) * one, top_k=top_k * one, d_model=d_model * one, d_ff=d_ff * one,
        gated=one, experts=len(counts) * one, held=len(counts) * one, counts=ExpertCounts.of([tuple(counts)]),
        flops=989e12 * one, warm=warm * one,
    )  # fmt: skip


def fused(shapes, dtype="bf16"):
    return float(fused_seconds(shapes, read_library("vllm-0.22", "hopper").moe.fused[dtype], CARD).latency_s[0])


@given(st.lists(st.integers(0, 500), min_size=1, max_size=40), st.sampled_from([16, 64, 128]))
def test_every_token_lies_in_one_tile(counts, rows):
    found = ExpertCounts.of([(7, 0), tuple(counts)])
    tiles = found.tiles(np.array([16.0, rows]))
    assert tiles.tolist() == [1.0, sum(-(-count // rows) for count in counts)]
    assert found.rows.tolist() == [7.0, sum(counts)]
    assert found.hit.tolist() == [1.0, sum(count > 0 for count in counts)]


@given(st.integers(1, 300), st.integers(1, 8), st.integers(0, 4), st.sampled_from([0.6, 1.01, 1.2]), st.integers(0, 99))
def test_drawn_routing_assigns_every_token(tokens, top_k, log_ranks, alpha, seed):
    load = Load(tokens, 64, top_k, 1 << log_ranks, alpha)
    counts = drawn_counts(load, np.random.default_rng(seed))
    assert counts.sum() == tokens * top_k
    assert 0 <= counts.min() <= counts.max() <= tokens
    by_rank = counts.reshape(load.ranks, -1).sum(axis=1)
    assert by_rank[0] == by_rank.max()
    ids = first_tokens(counts, load)
    assert np.array_equal(np.bincount(ids.ravel(), minlength=64), counts)


@given(st.integers(1, 300), st.sampled_from([(64, 4), (128, 8), (60, 4), (8, 2)]))
def test_balanced_routing_names_an_expert_once_per_token(tokens, layer):
    experts, top_k = layer
    ids = balanced_ids(Load(tokens, experts, top_k, 1, None))
    assert all(len(set(own)) == top_k for own in ids.tolist())
    if tokens >= experts:
        assert len(np.unique(ids)) == experts


@pytest.mark.parametrize("name", sorted(RULES))
def test_tiles_hold_whole_instructions(name):
    tokens = np.array([1.0, 17.0, 100.0, 513.0, 5000.0])
    tiles = RULES[name](TileQuestion(tokens, np.full(5, 8.0), np.full(5, 64.0)))
    assert (tiles.rows % 16 == 0).all()
    assert (np.diff(tiles.rows) >= 0).all()
    assert (tiles.outputs % 32 == 0).all()


def test_vllm_tiles_are_those_of_its_source():
    tiles = RULES["vllm"](TileQuestion(np.array([32.0, 96.0, 512.0, 513.0]), np.full(4, 8.0), np.full(4, 128.0)))
    assert tiles.rows.tolist() == [16, 32, 64, 128]
    assert tiles.outputs.tolist() == [64, 128, 128, 128]


@given(st.lists(st.integers(1, 200), min_size=2, max_size=64))
def test_fused_experts_take_at_least_their_weights(counts):
    seconds = fused(layer(counts))
    weights = len(counts) * 3 * 2048 * 768 * 2
    assert seconds > weights / H200.memory.bandwidth.si


def test_spread_tokens_are_dearer_than_gathered_ones():
    spread, gathered = [1] * 64, [64] + [0] * 63
    assert fused(layer(spread)) > 3 * fused(layer(gathered))


def test_eight_bit_experts_are_faster_where_weights_count():
    assert fused(layer([4] * 128, d_ff=2048), "fp8") < 0.75 * fused(layer([4] * 128, d_ff=2048))


def test_a_grouped_gemm_beats_a_loop_on_many_small_experts_and_is_near_it_on_large_ones():
    def ratio(counts, n, k):
        shape = {"section": "grouped_gemm", "counts": counts, "n": n, "k": k, "dtype": "bf16", "s": 1.0}
        rows = [{**shape, "op": op} for op in ("loop_of_linear", "grouped_mm")]
        loop, grouped = (row.predicted for row in validate(rows, H200.name).section("grouped_gemm").predictions)
        return loop / grouped

    assert ratio([8] * 128, 768, 2048) > 1.6
    assert 0.6 < ratio([512] * 8, 14336, 4096) < 1.3


@given(
    st.integers(1, 256), st.sampled_from([(8, 1), (32, 8), (64, 64)]), st.sampled_from([64, 128]), st.integers(5, 15)
)
def test_paged_decode_takes_at_least_its_cache(batch, heads, head_dim, log_length):
    one, keys = np.ones(1), 2.0**log_length
    shapes = AttentionShapes(
        batch=batch * one, heads=heads[0] * one, kv_heads=heads[1] * one, head_dim=head_dim * one,
        v_head_dim=head_dim * one, q_len=one, kv_len=keys * one, causal=one, value_bytes=2 * one, cache_bytes=2 * one,
        kv_row=2 * head_dim * one, window=0 * one, sets=np.inf * one,
    )  # fmt: skip
    model = read_library("vllm-0.22", "hopper").paged
    seconds = paged_seconds(shapes, model, CARD).latency_s[0]
    assert seconds > batch * heads[1] * keys * 2 * head_dim * 2 / H200.memory.bandwidth.si
    windowed = paged_seconds(replace(shapes, window=np.full(1, 128.0)), model, CARD).latency_s[0]
    assert keys < 8192 or windowed <= seconds


def test_an_engine_calls_the_framework_for_what_it_has_no_kernel_for():
    engine, framework = read_library("vllm-0.22", "hopper"), read_library("pytorch-2.11", "hopper")
    assert engine.norm == framework.norm
    assert engine.paged is not None
    assert framework.paged is None


@pytest.mark.parametrize(("name", "architecture"), libraries())
def test_every_library_loads(name, architecture):
    assert read_library(name, architecture).name == name


def test_a_table_is_read_by_its_header(tmp_path):
    path = tmp_path / "moe.csv.gz"
    rows = ["bfloat16,64,2048,768,8,128,1,1,balanced,0.25", "bfloat16,64,2048,768,8,128,1,1,power_law_1.2,0.25"]
    path.write_bytes(gzip.compress("\n".join([MOE, *rows]).encode()))
    found = validate_file(path, H200.name).section("moe_table")
    even, skewed = (row.predicted for row in found.predictions)
    assert 1e-4 < skewed < even < 6e-4
    assert found.predictions[0].row.number("s") == 0.25e-3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n", "x.csv:1: no table has these columns"),
        (f"{MOE}\nbfloat16,64\n", "x.csv:2: has not as many fields as the header"),
        (f"{MOE}\nbfloat16,64,2048,768,8,128,1,1,balanced,soon\n", "x.csv:2: holds text where its seconds should be"),
        (f"{MOE}\nbfloat16,64,2048,768,8,128,1,3,balanced,1\n", "moe_ep_size does not divide them"),
        (f"{MOE}\nbfloat16,64,2048,768,8,128,1,1,zipf,1\n", "'zipf'; expected balanced, or power_law_"),
        (f"{MOE}\nbfloat16,99999999,2048,768,8,128,1,1,balanced,1\n", "more than 33554432 assignments"),
    ],
)
def test_a_damaged_table_names_its_line(tmp_path, text, expected):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(SpecError, match=expected.replace("(", r"\(")):
        validate_file(path, H200.name)


def test_a_grouped_gemm_of_no_tokens_costs_its_launch():
    model, one = H200.kernels.moe.grouped, np.ones(1)
    shapes = GroupedShapes(ExpertCounts.of([(0, 0)]), 768 * one, 2048 * one, 2 * one, 2 * one, 1e15 * one, one * np.inf)
    assert grouped_gemm_seconds(shapes, model, CARD).latency_s[0] == pytest.approx(model.launch.si)


def test_a_mask_of_a_third_of_the_blocks_pays_on_flex_attention():
    def seconds(blocks):
        row = {"section": "sparse_attn", "op": "flex_random_blocks", "block": 128, "blocks": blocks, "B": 1, "H": 32,
               "KV": 8, "D": 128, "L": 32768, "dtype": "bf16", "s": 1.0}  # fmt: skip
        return validate([row], H200.name).section("sparse_attn").predictions[0].predicted

    dense = Gpu(H200).costs([ops.attention(1, 32, 8, 128, 32768, 32768, causal=True)])[0].latency_s
    assert seconds(256 * 256 // 10) < dense < seconds(256 * 256 // 2)


def experts_op(counts, label=""):
    routing = Routing(tuple(counts), origin="given")
    return ops.moe_ffn(sum(counts), 2048, 768, len(counts), routing=routing, label=label)


def test_experts_of_an_op_run_the_fused_kernels_of_the_tables():
    gpu = Gpu(H200)
    counts = [8] * 64 + [0] * 64
    shapes = layer(counts, top_k=1.0, d_model=2048, d_ff=768)
    assert gpu.costs([experts_op(counts)])[0].latency_s == pytest.approx(fused(shapes), rel=1e-9)
    half, byte = (gpu.costs([experts_op(counts).with_(dtype=DType(dtype))])[0] for dtype in ("bf16", "fp8"))
    assert byte.latency_s < half.latency_s
    loop = gpu.costs([experts_op(counts, "loop")])[0]
    assert half.latency_s < loop.latency_s / 2
    assert half.counts.of("tensor", "mac_bf16") == loop.counts.of("tensor", "mac_bf16")


def test_a_fused_kernel_takes_no_pruned_weights_and_no_card_without_it():
    pruned, dense = (experts_op([8] * 64).with_(weight_sparsity=Sparsity.parse(text)) for text in ("2:4", "dense"))
    assert Gpu(H200).costs([pruned])[0] == Gpu(H200).costs([pruned.with_(label="loop")])[0]
    old = Gpu(load_hardware("gpu/t4"))
    alone, looped = (old.costs([dense.with_(dtype=DType.FP16, label=label)])[0] for label in ("", "loop"))
    assert alone == looped


def test_experts_of_a_stack_that_groups_them_are_two_products():
    gpu, a100 = Gpu(H200), Gpu(load_hardware("gpu/a100-sxm4-80gb"))
    one_by_one, grouped = (gpu.costs([experts_op([8] * 128, label)])[0] for label in ("loop", "grouped_mm"))
    rows = [
        {"section": "grouped_gemm", "op": "grouped_mm", "counts": [8] * 128, "n": n, "k": k, "dtype": "bf16", "s": 1.0}
        for n, k in ((2 * 768, 2048), (2048, 768))
    ]
    products = validate(rows, H200.name).section("grouped_gemm").predictions
    assert grouped.latency_s == pytest.approx(sum(row.predicted for row in products))
    assert grouped.latency_s < one_by_one.latency_s / 1.6
    assert grouped.counts.of("tensor", "mac_bf16") == one_by_one.counts.of("tensor", "mac_bf16")
    loop = a100.costs([experts_op([8] * 128, "grouped_mm")])[0]
    assert loop.latency_s > 384 * a100.part.kernels.gemm.half.launch.si / 2


def chosen_row(op, **fields):
    section = "contextual" if op.startswith("mlp_") else "sparse_attn"
    return {"section": section, "op": op, "dtype": "bf16", "s": 1.0, **fields}


def predicted(row, hw=H200.name):
    (section,) = validate([row], hw).sections
    return section.predictions[0].predicted if section.predictions else section.skipped


def test_gathered_keys_cost_their_elements_then_attention_on_them():
    shape = {"B": 8, "H": 32, "KV": 8, "D": 128, "L": 32768, "top_k": 2048}
    kinds = ("one list a call", "one list a kv head", "pages of 16 tokens")
    lists, each, pages = (predicted(chosen_row("topk_gather_only", indexes=kind, **shape)) for kind in kinds)
    assert pages < lists < each
    attended = predicted(chosen_row("topk_decode", indexes=kinds[0], **shape))
    dense = predicted(chosen_row("sdpa_decode", **{**shape, "L": 2048, "copies": 1}))
    assert attended == pytest.approx(lists + dense)
    assert predicted(chosen_row("topk_gather_only", indexes="none", **shape)) == {"indexes none": 1}


def test_chosen_neurons_pay_below_a_share_that_depends_on_the_kernel():
    shape = {"m": 1, "d": 4096, "ff": 14336, "mats": 3}
    dense = predicted(chosen_row("mlp_dense", **shape))

    def gain(op, share):
        return dense / predicted(chosen_row(op, neurons=round(share * 14336), **shape))

    assert gain("mlp_index_select", 0.1) > 1 > gain("mlp_index_select", 0.5)
    assert gain("mlp_skip_rows", 0.5) > 1 > gain("mlp_skip_rows", 1.0)
    skipped = predicted(chosen_row("mlp_skip_rows", neurons=100, **shape), "gpu/a100-sxm4-80gb")
    assert skipped == {"pytorch-2.11 has no kernels that skip rows on ampere": 1}


ENERGY = ("task,model_id,weight_precision,gpu_model,num_gpus,avg_batch_size,avg_output_len,energy_per_token_joules,"
          "median_itl_ms")  # fmt: skip


def test_energy_per_token_is_that_of_a_decode_step_shared_by_its_batch(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    rows = [
        "chat,meta-llama/Llama-3.1-8B-Instruct,bfloat16,H100,1,8.1,512,0.5,8",
        "chat,meta-llama/Llama-3.1-8B-Instruct,bfloat16,H100,1,63.9,512,0.1,10",
        "chat,meta-llama/Llama-3.1-8B-Instruct,bfloat16,H100,8,63.9,512,0.1,10",
        "chat,meta-llama/Llama-3.1-8B-Instruct,fp8,H100,1,63.9,512,0.1,10",
        "chat,meta-llama/Llama-3.1-8B-Instruct,bfloat16,B200,1,63.9,512,0.1,10", "chat,other,bfloat16,H100,1,8,9,1,1",
    ]  # fmt: skip
    path = tmp_path / "energy.csv"
    path.write_text("\n".join([ENERGY, *rows]) + "\n", encoding="utf-8")
    (section,) = validate_file(path, "gpu/h100-sxm5-80gb").sections
    few, many = section.predictions
    assert few.unit == "J" and many.predicted < few.predicted < 8 * many.predicted
    assert set(section.skipped) == {"several GPUs", "fp8 weights", "measured on B200", "no shapes of other"}


def test_a_mask_of_blocks_runs_flex_attention():
    gpu = Gpu(H200)
    masked = [ops.block_sparse_attention(1, 32, 8, 128, 8192, 8192, 64, density=share) for share in (0.1, 0.5)]
    few, many = (cost.latency_s for cost in gpu.costs(masked))
    dense = gpu.costs([ops.attention(1, 32, 8, 128, 8192, 8192, causal=False)])[0].latency_s
    assert few < dense / 2 and 3 < many / few < 5
    one = gpu.costs([ops.block_sparse_attention(1, 1, 1, 128, 128, 128, 128, density=1.0)])[0]
    flex = H200.kernels.flex
    assert one.latency_s >= (flex.unit_128.si + flex.step_128.si) / CARD.clock_hz
