# SPDX-License-Identifier: Apache-2.0
"""Models by name and their phases, against closed forms of their published shapes and eager runs of small twins."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from twins import LATENT, causal, flops_of, ops_of, switch, tokens  # noqa: E402

from simsparse.core import OpKind, Trace  # noqa: E402
from simsparse.errors import TraceError  # noqa: E402
from simsparse.models import extract  # noqa: E402
from simsparse.models.by_name import MODELS  # noqa: E402
from simsparse.sources import Steps  # noqa: E402
from simsparse.trace import trace_model  # noqa: E402

pytestmark = pytest.mark.torch
PRODUCTS = (OpKind.LINEAR, OpKind.MATMUL, OpKind.CONV2D, OpKind.MOE_FFN)


def products(trace: Trace) -> int:
    return sum(flops_of(trace, kind) for kind in PRODUCTS)


DENSE = ["llama2-7b", "llama3-8b", "opt-6.7b"]


@pytest.mark.parametrize("name", DENSE)
def test_a_dense_prefill_is_two_flops_a_parameter_and_token_and_its_attention(name: str) -> None:
    spec, batch, seq = MODELS[name], 2, 512
    trace = extract(name, "prefill", batch=batch, seq=seq)
    hidden, layers = spec.shape["hidden_size"], spec.shape["num_hidden_layers"]
    vocabulary = spec.shape["vocab_size"] * hidden
    tied = name.startswith("opt")
    outside = vocabulary * (1 if tied else 2) + (2050 * hidden if tied else 0)
    vectors = (9 * hidden + 4 * hidden) * layers if tied else 2 * hidden * layers
    matrices = spec.parameters - outside - vectors - (2 * hidden if tied else hidden)
    assert products(trace) == 2 * batch * (seq * matrices + vocabulary)
    pairs = batch * seq * (seq + 1) // 2
    assert flops_of(trace, OpKind.ATTENTION) == layers * 2 * 2 * pairs * hidden


@pytest.mark.parametrize("name", DENSE)
def test_a_decode_step_reads_each_weight_once_and_the_whole_cache(name: str) -> None:
    spec, batch, kv_len = MODELS[name], 4, 300
    trace = extract(name, "decode", batch=batch, kv_len=kv_len)
    heads = spec.shape.get("num_key_value_heads", spec.shape["num_attention_heads"])
    head_dim = spec.shape["hidden_size"] // spec.shape["num_attention_heads"]
    per_token = 2 * heads * head_dim * spec.shape["num_hidden_layers"] * 2
    assert sum(op.kv_bytes for op in trace.ops) == batch * (kv_len + 1) * per_token
    assert sum(op.dims["write_bytes"] for op in trace.ops if op.label == "kv_append") == batch * per_token
    unread = 0 if name.startswith("opt") else spec.shape["vocab_size"] * spec.shape["hidden_size"]
    read = trace.weight_bytes + sum(op.dims["read_bytes"] for op in trace.ops if "norm" in op.label)
    assert trace.weight_bytes <= 2 * (spec.parameters - unread) <= read + 2 * 2050 * spec.shape["hidden_size"]


MOE = {
    "mixtral-8x22b": (2, 16384, 6144, 56), "qwen3-30b-a3b": (8, 768, 2048, 48), "olmoe-1b-7b": (8, 1024, 2048, 16),
    "deepseek-v2-lite": (6, 1408, 2048, 26), "deepseek-v3": (8, 2048, 7168, 58),
}  # fmt: skip


@pytest.mark.parametrize("name", MOE)
def test_experts_do_top_k_of_the_work_and_only_those_that_are_hit_are_read(name: str) -> None:
    top_k, d_ff, d_model, layers = MOE[name]
    trace = extract(name, "decode", batch=2, kv_len=64)
    experts = ops_of(trace, OpKind.MOE_FFN)
    assert len(experts) == layers
    assert flops_of(trace, OpKind.MOE_FFN) == layers * 2 * 2 * top_k * 3 * d_model * d_ff
    for op in experts:
        assert op.routing is not None
        assert op.weight_bytes == 2 * 3 * d_model * d_ff * len(op.routing.hit)
        assert op.routing.origin == "generated:uniform"
    assert trace.meta["other_share"] == 0


def test_absorbed_latent_attention_reads_576_elements_a_token_and_layer() -> None:
    batch, kv_len = 4, 4095
    trace = extract("deepseek-v3", "decode", batch=batch, kv_len=kv_len, layers=8)
    assert trace.meta["latent_attention"] == "absorbed"
    assert sum(op.kv_bytes for op in trace.ops) == batch * 4096 * 8 * 576 * 2
    assert flops_of(trace, OpKind.ATTENTION) == 8 * 2 * batch * 4096 * 128 * (576 + 512)
    absorbed = 8 * 2 * batch * 128 * 2 * 128 * 512
    assert sum(op.flops for op in trace.ops if op.label.startswith("absorb")) == absorbed
    weights = [op for op in trace.ops if op.label.startswith("absorb")]
    up_projection = 128 * (128 + 128) * 512
    moved = sum(op.dims["groups"] * op.dims["n"] * op.dims["k"] for op in weights)
    assert moved == 8 * up_projection
    assert {op.weight for op in weights} == {f"model.layers.{layer}.self_attn.kv_b_proj.weight" for layer in range(8)}


def test_naive_latent_attention_expands_the_whole_cache() -> None:
    trace = extract("deepseek-v3", "decode", batch=1, kv_len=4096, latent="naive", layers=8)
    expanded = [op for op in trace.ops if op.name.endswith("kv_b_proj")]
    assert sum(op.flops for op in expanded) == 8 * 2 * 4097 * 512 * 32768
    absorbed = extract("deepseek-v3", "decode", batch=1, kv_len=4096, layers=8)
    assert sum(op.kv_bytes for op in trace.ops) == sum(op.kv_bytes for op in absorbed.ops)  # the latent is cached
    without_head = [sum(op.flops for op in each.ops if op.name != "lm_head") for each in (trace, absorbed)]
    assert without_head[0] > 50 * without_head[1]


def test_the_absorbed_form_computes_what_the_naive_form_computes() -> None:
    torch.manual_seed(0)
    heads, nope, rope, value, rank, kv_len = 3, 4, 2, 5, 7, 6
    up = torch.randn(heads, nope + value, rank, dtype=torch.float64)
    query, latent = (torch.randn(*shape, dtype=torch.float64) for shape in ((heads, nope + rope), (kv_len, rank)))
    shared = torch.randn(kv_len, rope, dtype=torch.float64)
    keys = torch.cat([torch.einsum("hnr,kr->hkn", up[:, :nope], latent), shared.expand(heads, -1, -1)], -1)
    values = torch.einsum("hvr,kr->hkv", up[:, nope:], latent)
    naive = torch.einsum("hk,hkv->hv", torch.einsum("hd,hkd->hk", query, keys).softmax(-1), values)
    absorb_key = torch.einsum("hn,hnr->hr", query[:, :nope], up[:, :nope])
    cached = torch.cat([latent, shared], -1)
    scores = torch.cat([absorb_key, query[:, nope:]], -1) @ cached.t()
    absorb_value = torch.einsum("hr,hvr->hv", scores.softmax(-1) @ cached[:, :rank], up[:, nope:])
    assert torch.allclose(absorb_value, naive)


def test_both_forms_of_latent_attention_leave_the_outputs_alone() -> None:
    model = causal("deepseek_v3", **LATENT)
    with torch.no_grad():
        expected = model(input_ids=tokens()).logits
    for latent in ("naive", "absorbed"):
        trace = trace_model(model, {"input_ids": tokens()}, "prefill", latent=latent)
        assert trace.meta["other_share"] == 0
    with torch.no_grad():
        assert torch.equal(model(input_ids=tokens()).logits, expected)
    assert not any("expand_kv" in vars(module) for module in model.modules())


def test_the_experts_of_switch_are_one_op_each_with_the_tokens_of_an_eager_run() -> None:
    model = switch()
    seen: list[list[int]] = []
    for module in model.modules():
        if type(module).__name__ == "SwitchTransformersExperts":
            module.register_forward_pre_hook(lambda _, args: seen.append(args[1].sum((0, 1)).tolist()))
    inputs = {"input_ids": tokens(), "decoder_input_ids": tokens(length=5)}
    with torch.no_grad():
        expected = model(**inputs).logits
    eager = list(seen)
    trace = trace_model(model, inputs, "prefill", routing="model")
    experts = ops_of(trace, OpKind.MOE_FFN)
    assert [list(op.routing.counts) for op in experts if op.routing] == eager
    assert flops_of(trace, OpKind.MOE_FFN) == 2 * sum(map(sum, eager)) * 2 * 32 * 64
    assert trace.meta["routing"] == ["generated:untrained-router"]
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, expected)


def test_tokens_beyond_an_experts_capacity_are_dropped_and_told() -> None:
    trace = trace_model(
        switch(expert_capacity=1), {"input_ids": tokens(), "decoder_input_ids": tokens(length=5)}, routing="model"
    )
    encoder = ops_of(trace, OpKind.MOE_FFN)[0]
    assert encoder.routing is not None
    assert encoder.dims["tokens"] == sum(encoder.routing.counts) <= 2 * 4
    assert encoder.stats["dropped_tokens"] == 24 - encoder.dims["tokens"]


def test_a_decode_step_of_an_encoder_decoder_runs_its_decoder_only() -> None:
    trace = extract("switch-base-8", "decode", batch=2, seq=100, kv_len=20)
    assert not any(op.module.startswith("encoder") for op in trace.ops)
    own, cross = (
        [op for op in ops_of(trace, OpKind.ATTENTION) if kind in op.name] for kind in ("SelfAttention", "EncDec")
    )
    assert [op.dims["kv_len"] for op in own] == [21] * 12
    assert [op.dims["kv_len"] for op in cross] == [100] * 12
    assert not any(".EncDecAttention.k" in op.name for op in trace.ops)
    assert len(ops_of(trace, OpKind.MOE_FFN)) == 6


def test_decode_steps_follow_one_another_on_a_growing_cache() -> None:
    trace = extract("opt-125m", "decode", batch=1, kv_len=10, steps=3)
    single = extract("opt-125m", "decode", batch=1, kv_len=10)
    assert len(trace.ops) == 3 * len(single.ops)
    attention = ops_of(trace, OpKind.ATTENTION)
    assert [op.dims["kv_len"] for op in attention] == [11] * 12 + [12] * 12 + [13] * 12
    second = next(op for op in trace.ops if op.name == "step1.model.decoder.embed_tokens")
    assert second.deps == ("lm_head",)
    assert trace.meta["steps"] == 3


@pytest.mark.parametrize("window", [None, 4, 12, 30])
def test_a_traced_step_repeated_reads_what_traced_steps_read(window: int | None) -> None:
    model = causal("mistral", sliding_window=window, num_hidden_layers=2)
    once, often = (trace_model(model, {"input_ids": tokens(2, 1)}, "decode", kv_len=9, steps=steps)
                   for steps in (1, 6))  # fmt: skip
    repeated = [op for each in Steps(once, 6).passes(0) for op in each.ops]
    assert [op.dims for op in repeated if op.label != "index"] == [op.dims for op in often.ops if op.label != "index"]


def window_pairs(q_len: int, kv_len: int, window: int) -> int:
    first = kv_len - q_len
    return sum(min(window, first + i + 1) for i in range(q_len))


@pytest.mark.parametrize(("length", "cached"), [(32, 0), (30, 0), (8, 0), (7, 0), (5, 20), (20, 5)])
def test_a_sliding_window_is_narrowed_to_the_pairs_that_its_mask_keeps(length: int, cached: int) -> None:
    model = causal("mistral", sliding_window=8, num_hidden_layers=1)
    given: dict[str, Any] = {"input_ids": tokens(1, length)}
    if cached:
        with torch.no_grad():
            given["past_key_values"] = model(input_ids=tokens(1, cached), use_cache=True).past_key_values
    trace = trace_model(model, given, "prefill")
    seen = min(cached, 8 - 1) + length
    assert flops_of(trace, OpKind.ATTENTION) == 2 * window_pairs(length, seen, 8) * 4 * (16 + 16)
    out = next(op for op in trace.ops if op.name.endswith("o_proj"))
    assert any("attention" in dep for dep in out.deps)


def test_keys_and_values_under_a_window_are_read_once_where_it_divides_the_queries() -> None:
    trace = trace_model(causal("mistral", sliding_window=8, num_hidden_layers=1), {"input_ids": tokens(1, 40)})
    assert sum(op.kv_bytes for op in trace.ops) == 40 * 2 * (16 + 16) * 4
    assert [op.dims["batch"] for op in ops_of(trace, OpKind.ATTENTION)] == [1, 4]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: extract("resnet-18", "decode"), "decode does not fit resnet-18; allowed: forward, train"),
        (lambda: extract("opt-125m", "decode", steps=0), "steps: 0"),
        (lambda: extract("opt-125m", "prefill", steps=2), "steps: 2; one or more, more than one with kv_len only"),
        (lambda: extract("opt-125m", "prefill", latent="absorb"), "did you mean absorbed"),
    ],
)
def test_a_bad_request_is_said_in_one_line(call: Any, says: str) -> None:
    with pytest.raises(TraceError) as error:
        call()
    assert says in str(error.value)
