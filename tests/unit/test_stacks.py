# SPDX-License-Identifier: Apache-2.0
"""Software stacks: what is launched for a trace, kernel by kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.core import DType, KernelCall, Trace, TraceBuilder, ops
from simsparse.core.kinds.attention import GIVEN_MASK
from simsparse.devices.base import device_for
from simsparse.errors import MappingError, SpecError, TraceError
from simsparse.lowering.stacks import STACKS, stack_of
from simsparse.trace.file import load_trace

NORM = (
    KernelCall("pow", 4096, 8192, 2048, DType.FP32, 2048),
    KernelCall("mean", 8192, 4, 2048, DType.FP32, 1, 2048),
    KernelCall("mul", 8192, 4096, 2048, DType.BF16, 2048, 1, True),
)


def layer(q_len: int = 1, kv_heads: int = 2) -> Trace:
    """A norm, a projection, grouped attention, experts and a residual addition."""
    tokens = 4 * q_len
    routing = [[0, 1]] * tokens
    return (
        TraceBuilder("layer")
        .add(ops.elementwise(4096, 4096, 6144, name="norm", kernels=NORM))
        .add(ops.linear(tokens, 256, 256, name="proj"))
        .add(ops.attention(4, 8, kv_heads, 32, q_len, 128, name="attention"))
        .add(ops.moe_ffn(tokens, 256, 512, 4, routing=routing, name="experts"))
        .add(ops.elementwise(8192, 4096, 0, name="add", kernels=NORM[:1]))
        .build()
    )


def names(trace: Trace, stem: str) -> list[str]:
    return [op.label or str(op.kind) for op in trace.ops if op.name.partition("/")[0] == stem]


def test_a_stack_is_named_by_what_it_fuses_and_how_it_launches() -> None:
    assert [str(stack_of(text)) for text in ("eager", "compiled+graph")] == ["eager", "compiled+graph"]
    assert {"compiled", "eager", "fused"} <= set(STACKS)
    with pytest.raises(SpecError, match=r"'eagre' is not a stack; did you mean eager\?"):
        stack_of("eagre")


def test_fused_kernels_are_the_ops_of_the_trace() -> None:
    trace = layer()
    assert stack_of("fused+graph").launched(trace) is trace


def test_eager_launches_every_kernel_in_turn() -> None:
    launched = stack_of("eager").launched(layer())
    assert names(launched, "norm") == ["pow", "mean", "mul"]
    assert names(launched, "proj") == ["linear"]
    by_name = {op.name: op for op in launched.ops}
    assert by_name["norm/1"].deps == ("norm/0",)
    assert by_name["proj"].deps == ("norm/2",)
    assert by_name["norm/0"].dims["write_bytes"] == 8192


def test_a_mask_costs_copies_of_keys_and_values_to_all_heads() -> None:
    attention = names(stack_of("eager").launched(layer()), "attention")
    assert attention == ["repeat_kv", "repeat_kv", "mask_fill", "mask_fill", "mask_where", "masked"]
    copies = [op for op in stack_of("eager").launched(layer()).ops if op.label == "repeat_kv"]
    keys = 4 * 128 * 32 * 2
    assert [(op.dims["read_bytes"], op.dims["write_bytes"]) for op in copies] == [(2 * keys, 8 * keys)] * 2


@pytest.mark.parametrize("text, masked", [("eager", False), ("eager+graph", True)])
def test_a_captured_prefill_has_a_mask(text: str, masked: bool) -> None:
    assert ("masked" in names(stack_of(text).launched(layer(q_len=128)), "attention")) is masked


@pytest.mark.parametrize(
    "form, kernels",
    [
        ("none", ["attention"]),
        ("bool", ["repeat_kv", "repeat_kv", "mask_fill", "mask_fill", "mask_where", "masked"]),
        ("float", ["repeat_kv", "repeat_kv", "masked"]),
    ],
)
@pytest.mark.parametrize("q_len", [1, 128])
def test_a_model_that_calls_attention_by_itself_gives_the_mask(form: str, kernels: list[str], q_len: int) -> None:
    own = layer(q_len).map(lambda op: op.with_(stats={GIVEN_MASK: form}) if op.name == "attention" else op)
    for text in ("eager", "eager+graph"):
        assert names(stack_of(text).launched(own), "attention") == kernels


def test_queries_of_all_heads_need_no_copies() -> None:
    assert "repeat_kv" not in names(stack_of("eager").launched(layer(kv_heads=8)), "attention")


def test_compiled_chains_move_no_more_than_eager_kernels() -> None:
    def elementwise_bytes(text: str) -> int:
        launched = stack_of(text).launched(layer())
        return sum(op.min_bytes for op in launched.ops if op.name.partition("/")[0] in ("norm", "add"))

    assert elementwise_bytes("compiled") == 4096 * 2 + 8192 + 4096
    assert elementwise_bytes("eager") > elementwise_bytes("compiled")


def test_compiled_joins_an_addition_and_the_norm_after_it() -> None:
    trace = (
        TraceBuilder("t")
        .add(ops.linear(1, 8, 8, name="a"))
        .add(ops.elementwise(300, 100, 7, name="add"), ["a"])
        .add(ops.elementwise(150, 100, 5, name="norm"), ["add"])
        .add(ops.linear(1, 8, 8, name="b"), ["norm"])
        .add(ops.elementwise(200, 100, name="later"), ["add", "b"])
        .build()
    )
    launched = stack_of("compiled").launched(trace)
    assert [op.name for op in launched.ops] == ["a", "norm", "b", "later"]
    joined = launched.ops[1]
    assert (joined.dims["read_bytes"], joined.dims["write_bytes"], joined.dims["flops"]) == (300 + 50, 100 + 100, 12)


def test_a_trace_without_kernels_is_refused() -> None:
    trace = TraceBuilder("t").add(ops.elementwise(8, 8, name="norm")).build()
    with pytest.raises(TraceError, match="norm: the trace keeps no kernels of it"):
        stack_of("eager").launched(trace)


def test_kernels_survive_a_trace_file(tmp_path: Path) -> None:
    trace = layer()
    assert load_trace(trace.save(tmp_path / "layer.trace")) == trace


def test_a_host_launches_each_call_once() -> None:
    launched = stack_of("eager").launched(layer())
    calls = {op.name: op.call for op in launched.ops}
    assert [calls[f"norm/{i}"] for i in range(3)] == [1, 2, 3]
    inside = [op.call for op in launched.ops if op.label.startswith("mask_")]
    assert set(inside) == {calls["attention/1"]}
    assert launched.ops[-1].call == len({op.call for op in launched.ops})
    assert {op.call for op in stack_of("eager+graph").launched(layer()).ops} == {0}


def small_layer() -> Trace:
    return TraceBuilder("t").add(ops.linear(1, 256, 256, name="a")).add(ops.linear(1, 256, 256, name="b")).build()


@pytest.mark.parametrize("level", [0, 1])
def test_a_host_that_calls_one_by_one_is_the_clock_of_small_kernels(level: int) -> None:
    replayed, called = (
        ss.simulate(small_layer(), "systems/h100-pcie5", level=level, stack=stack) for stack in ("fused+graph", "fused")
    )
    call_s = ss.load_hardware("gpu/h100-sxm5-80gb").kernels.host.call.si
    kernel_s = replayed.latency_s / 2
    assert kernel_s < call_s
    assert called.latency_s == pytest.approx(2 * call_s + kernel_s, rel=1e-9)
    assert (replayed.stack, called.stack) == ("fused+graph", "fused")
    assert sum(row.latency_s for row in called.ops) == pytest.approx(called.latency_s, rel=1e-9)
    assert called.bound == "host"


def test_large_kernels_hide_the_calls() -> None:
    trace = TraceBuilder("t").add(ops.linear(8192, 8192, 8192, name="a")).add(ops.linear(8192, 8192, 8192)).build()
    replayed, called = (ss.simulate(trace, "gpu/h100-sxm5-80gb", stack=stack) for stack in ("fused+graph", "fused"))
    call_s = ss.load_hardware("gpu/h100-sxm5-80gb").kernels.host.call.si
    assert called.latency_s == pytest.approx(replayed.latency_s + call_s, rel=0.01)


def test_a_device_without_a_time_per_call_says_so() -> None:
    with pytest.raises(MappingError, match="choose a stack that replays a graph"):
        ss.simulate(small_layer(), "systems/bank-pim", stack="fused")


ROPE = tuple(KernelCall(name, 1 << 16, 1 << 16, 0, DType.BF16, 1 << 15) for name in ("mul", "neg", "cat", "mul", "add"))


def pruned_layer(tokens: int, sparsity: str = "2:4") -> Trace:
    """Queries by a pruned product, rotated, then attention, another pruned product and a residual addition."""
    size = 2 * tokens * 256
    add = KernelCall("add", 2 * size, size, 0, DType.BF16, size // 2)
    return (
        TraceBuilder("layer")
        .add(ops.linear(tokens, 256, 256, weight_sparsity=sparsity, name="q"))
        .add(ops.elementwise(size, size, label="rope", name="rope", kernels=ROPE), ["q"])
        .add(ops.attention(tokens, 8, 8, 32, 1, 128, name="attention"), ["rope"])
        .add(ops.linear(tokens, 256, 256, weight_sparsity=sparsity, name="o"), ["attention"])
        .add(ops.elementwise(2 * size, size, name="add", kernels=(add,)), ["o"])
        .build()
    )


def eager_on_24(trace: Trace) -> Trace:
    return replace(stack_of("eager+graph"), sparse24=True).launched(trace)


def test_what_reads_outputs_of_pruned_products_crosses_their_order() -> None:
    launched = eager_on_24(pruned_layer(8))
    crossed = {op.name: "crossed" in op.dims for op in launched.ops if op.kind == "launched"}
    assert [crossed[f"rope/{i}"] for i in range(5)] == [True, False, True, False, True]
    assert crossed["add"]


def test_transposed_queries_send_attention_to_fp32() -> None:
    launched = eager_on_24(pruned_layer(8))
    own = [op for op in launched.ops if op.name.startswith("attention/")]
    assert [op.dtype for op in own if op.kind == "matmul"] == [DType.FP32, DType.FP32]
    assert "_softmax" in names(launched, "attention") and not any(op.kind == "attention" for op in launched.ops)


@pytest.mark.parametrize("tokens, sparsity", [(1, "2:4"), (8, "dense"), (8, "unstructured:0.5")])
def test_other_outputs_are_read_in_order(tokens: int, sparsity: str) -> None:
    launched = eager_on_24(pruned_layer(tokens, sparsity))
    assert all("crossed" not in op.dims for op in launched.ops if op.kind == "launched")
    assert any(op.kind == "attention" for op in launched.ops)


def test_a_card_without_units_for_pruned_weights_reads_in_order() -> None:
    launched = stack_of("eager+graph").launched(pruned_layer(8))
    assert any(op.kind == "attention" for op in launched.ops)
    cards = ("gpu/t4", "gpu/a100-sxm4-80gb", "gpu/h100-sxm5-80gb")
    assert [device_for(ss.load_hardware(card)).multiplies_24 for card in cards] == [False, True, True]


def test_only_the_stack_that_follows_layouts_is_checked_on_pruned_passes() -> None:
    trace, alone = pruned_layer(8), TraceBuilder("one").add(ops.linear(8, 1024, 1024, weight_sparsity="2:4")).build()
    eager, fused = (ss.simulate(trace, "gpu/h100-sxm5-80gb", stack=stack) for stack in ("eager+graph", "fused+graph"))
    guess = "gpu0: linear with 2:4 weights and what reads its output on gpu/h100-sxm5-80gb"
    assert guess in fused.unvalidated and guess not in eager.unvalidated
    assert not any(row.validated for row in fused.ops if row.kind == "linear")
    assert ss.simulate(alone, "gpu/h100-sxm5-80gb").unvalidated == ()
    assert any("2:4 products of few tokens take longer than dense ones" in note for note in fused.notes)


def test_a_pruned_product_called_from_python_waits_for_the_host() -> None:
    host = ss.load_hardware("gpu/h100-sxm5-80gb").kernels.host
    dense, pruned = (
        ss.simulate(TraceBuilder("one").add(ops.linear(8, 256, 256, weight_sparsity=sparsity)).build(),
                    "gpu/h100-sxm5-80gb", stack="eager").latency_s
        for sparsity in ("dense", "2:4")
    )  # fmt: skip
    assert pruned - dense == pytest.approx(host.sparse24.si - host.call.si, rel=0.05)


def test_a_kernel_whose_code_left_the_cache_takes_longer() -> None:
    gpu = device_for(load_hardware("gpu/h200-sxm5-141gb"))

    def seconds(width: int) -> float:
        trace = TraceBuilder("t").add(ops.linear(8, width, width, name="proj")).add(
            ops.elementwise(4096, 4096, 6144, name="norm", kernels=NORM[:1])).build()  # fmt: skip
        return float(gpu.costs([stack_of("eager+graph").launched(trace).ops[1]])[0].latency_s)

    assert seconds(16384) - seconds(512) == pytest.approx(0.45e-6, rel=0.02)


def test_what_torch_changes_in_place_is_copied_first() -> None:
    fill = KernelCall("masked_fill", 5120, 4096, 2048, DType.BF16, 2048, 1, True)
    trace = TraceBuilder("t").add(ops.elementwise(5120, 4096, 2048, name="fill", kernels=(fill,))).build()
    kernels = stack_of("eager").launched(trace).ops
    assert [(op.label, op.dims["read_bytes"], op.dims["write_bytes"]) for op in kernels] == [
        ("clone", 4096, 4096), ("masked_fill_", 5120, 4096),
    ]  # fmt: skip
