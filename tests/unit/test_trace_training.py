# SPDX-License-Identifier: Apache-2.0
"""A training step: gradients against torch's counter and closed forms, updates, order, nothing left behind."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from twins import LATENT, MOE, causal, counted, flops_of, ops_of, switch, tokens  # noqa: E402

from simsparse.core import Op, OpKind, Trace  # noqa: E402
from simsparse.errors import TraceError  # noqa: E402
from simsparse.models import extract  # noqa: E402
from simsparse.trace import trace_model  # noqa: E402
from simsparse.trace.capture.recorder import Capture  # noqa: E402
from simsparse.trace.capture.sdpa import FunctionCalls  # noqa: E402
from simsparse.trace.capture.training import OPTIMIZERS  # noqa: E402

pytestmark = pytest.mark.torch


def labelled() -> dict[str, Any]:
    return {"input_ids": tokens(), "labels": tokens()}


def step(model: Any, **inputs: Any) -> Any:
    def run() -> None:
        model.train()
        model(**inputs, use_cache=False).loss.backward()

    return run


def stage(op: Op) -> str:
    return op.label.split()[0] if op.label else ""


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_products_of_a_step_match_the_flop_counter_and_are_three_forward_passes(family: str) -> None:
    model = causal(family, **({"ffn_dim": 96, "word_embed_proj_dim": 64} if family == "opt" else {}))
    inputs = labelled()
    trace = trace_model(model, inputs, "train")
    forward = flops_of(trace, OpKind.LINEAR, "fwd")
    assert flops_of(trace, OpKind.LINEAR, "bwd_input") == forward
    assert flops_of(trace, OpKind.MATMUL, "bwd_weight") == forward
    model.set_attn_implementation("eager")
    attention = 2 * 2 * (2 * 4 * 12 * 12) * (16 + 16)
    assert 3 * forward == counted(step(model, **inputs)) - 3 * attention


def test_the_gradient_of_attention_is_five_products_of_the_pairs_that_a_causal_mask_keeps() -> None:
    trace = trace_model(causal("llama"), labelled(), "train")
    pairs = 2 * 12 * 13 // 2
    forward, backward = ops_of(trace, OpKind.ATTENTION, "fwd"), ops_of(trace, OpKind.ATTENTION, "bwd")
    assert [op.flops for op in forward] == [2 * pairs * 4 * 2 * 16] * 2
    assert [op.flops for op in backward] == [2 * pairs * 4 * 5 * 16] * 2


def test_convolutions_match_the_flop_counter() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, dilation=2),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 3 * 3, 5),
    )  # fmt: skip
    x = torch.randn(3, 4, 20, 20)
    trace = trace_model(model, x, "train")
    products = (OpKind.CONV2D, OpKind.LINEAR, OpKind.MATMUL)
    assert sum(flops_of(trace, kind) for kind in products) == counted(lambda: model.train()(x).sum().backward())
    first, second = ops_of(trace, OpKind.CONV2D, "fwd")
    assert [op.name for op in ops_of(trace, OpKind.CONV2D, "bwd_input")] == ["3.bwd_input"]
    assert [op.dims for op in ops_of(trace, OpKind.CONV2D, "bwd_weight")] == [second.dims, first.dims]
    assert trace.meta["other_ops"] == 0


@pytest.mark.parametrize("layer", [nn.ConvTranspose2d(4, 6, 3, stride=2), nn.Conv3d(4, 6, (1, 3, 3))])
def test_any_convolution_is_three_forward_passes(layer: nn.Module) -> None:
    inner = nn.Conv3d(4, 4, 1) if isinstance(layer, nn.Conv3d) else nn.Conv2d(4, 4, 1)
    x = torch.randn(2, 4, 2, 8, 8) if isinstance(layer, nn.Conv3d) else torch.randn(2, 4, 8, 8)
    trace = trace_model(nn.Sequential(inner, layer), x, "train")
    found = [op for op in trace.ops if op.kind == OpKind.CONV2D and op.module == "1"]
    assert [op.label for op in found] == ["fwd", "bwd_input", "bwd_weight"]
    assert len({op.flops for op in found}) == 1
    assert trace.meta["other_ops"] == 0


def test_a_grouped_convolution_is_three_forward_passes() -> None:
    """The counter of torch 2.13 takes the gradient of a grouped convolution's weight for one without groups."""
    trace = trace_model(
        nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3, groups=4)), torch.randn(3, 8, 10, 10), "train"
    )
    macs = 3 * 16 * 8 * 8 * (8 // 4) * 9
    labels = ("fwd", "bwd_input", "bwd_weight")
    assert [flops_of(trace, OpKind.CONV2D, label) for label in labels] == [2 * macs] * 3


def test_experts_are_three_forward_passes_of_the_same_routing_and_match_the_flop_counter() -> None:
    model = causal("mixtral", **MOE)
    inputs = {"input_ids": tokens(), "labels": tokens()}
    trace = trace_model(model, inputs, "train", routing="model")
    forward = ops_of(trace, OpKind.MOE_FFN, "fwd")
    for label in ("bwd_input", "bwd_weight"):
        found = ops_of(trace, OpKind.MOE_FFN, label)
        assert sorted(op.module for op in found) == sorted(op.module for op in forward)
        assert {op.module: op.routing for op in found} == {op.module: op.routing for op in forward}
    model.set_attn_implementation("eager")
    model.set_experts_implementation("eager")
    attention = 3 * 2 * 2 * (2 * 4 * 12 * 12) * (16 + 16)
    products = sum(flops_of(trace, kind) for kind in (OpKind.LINEAR, OpKind.MATMUL, OpKind.MOE_FFN))
    assert products == counted(step(model, **inputs)) - attention


def weighted(trace: Trace, word: str) -> set[str | None]:
    return {op.weight for op in trace.ops if word in op.label.split() and op.kind != OpKind.ELEMENTWISE}


@pytest.mark.parametrize("tied", [False, True])
def test_every_weight_has_its_gradients_and_one_update_after_all_that_reads_it(tied: bool) -> None:
    model = causal("llama", tie_word_embeddings=tied)
    trace = trace_model(model, labelled(), "train")
    assert weighted(trace, "fwd") - {None} == weighted(trace, "bwd_input") == weighted(trace, "bwd_weight")
    updates = {op.weight: op for op in trace.ops if stage(op) == "update"}
    assert set(updates) == {name for name, _ in model.named_parameters()}
    assert sum(stage(op) == "update" for op in trace.ops) == len(updates)
    for op in trace.ops:
        if op.weight and stage(op) in ("fwd", "bwd_input", "bwd_weight") and (op.kind != OpKind.MATMUL or not tied):
            assert op.name in updates[op.weight].deps or op.weight == "model.embed_tokens.weight"
    assert {"lm_head.bwd_input", "model.embed_tokens"} <= set(updates["model.embed_tokens.weight"].deps) or not tied


def test_a_gradient_waits_for_what_it_is_made_of() -> None:
    trace = trace_model(causal("llama", num_hidden_layers=1), labelled(), "train")
    deps = {op.name: set(op.deps) for op in trace.ops}
    layer = "model.layers.0."
    assert deps["lm_head.bwd_weight"] == {"model.norm", "bwd.log_softmax"}
    assert deps[f"{layer}mlp.down_proj.bwd_input"] == {"model.norm.bwd"}
    assert deps[f"{layer}mlp.down_proj.bwd_weight"] == {f"{layer}mlp.silu_mul", "model.norm.bwd"}
    assert deps[f"{layer}self_attn.bwd.attention"] == {
        f"{layer}self_attn.rope", f"{layer}self_attn.v_proj", f"{layer}self_attn.o_proj.bwd_input"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("optimizer", "dtype", "state", "read", "written"),
    [
        ("sgd", "float32", 0, 8, 4), ("momentum", "float32", 4, 12, 8), ("adamw", "float32", 8, 16, 12),
        ("sgd", "bfloat16", 4, 6, 6), ("adamw", "bfloat16", 12, 14, 14),
    ],
)  # fmt: skip
def test_an_update_moves_weight_gradient_and_states_once(
    optimizer: str, dtype: str, state: int, read: int, written: int
) -> None:
    with torch.device("meta"):
        model, x = nn.Linear(32, 16, dtype=getattr(torch, dtype)), torch.empty(4, 32, dtype=getattr(torch, dtype))
        trace = trace_model(model, x, "train", optimizer=optimizer)
    (update,) = [op for op in trace.ops if op.name == "weight.update"]
    assert update.stats["state_bytes"] == state * 512
    assert (update.dims["read_bytes"], update.dims["write_bytes"]) == (read * 512, written * 512)
    assert update.dims["flops"] == OPTIMIZERS[optimizer].flops * 512
    assert trace.meta["optimizer_state_bytes"] == state * (512 + 16)


def test_a_frozen_weight_has_neither_gradient_nor_update() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    for parameter in model[2].parameters():
        parameter.requires_grad_(False)
    trace = trace_model(model, torch.randn(3, 8), "train")
    assert [op.name for op in ops_of(trace, OpKind.LINEAR, "bwd_input")] == ["4.bwd_input", "2.bwd_input"]
    assert [op.name for op in ops_of(trace, OpKind.MATMUL, "bwd_weight")] == ["4.bwd_weight", "0.bwd_weight"]
    assert not any("2." in op.name for op in trace.ops if stage(op) == "update")


def test_the_gradient_of_one_token_is_a_product_too() -> None:
    trace = trace_model(nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4)), torch.randn(1, 8), "train")
    assert flops_of(trace, OpKind.MATMUL, "bwd_weight") == flops_of(trace, OpKind.LINEAR, "fwd")


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()
    before = copy.deepcopy(model.state_dict())
    trace_model(model, torch.randn(2, 3, 8, 8), "train")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_gradients_through_a_recorded_kernel_are_those_of_torch() -> None:
    torch.manual_seed(0)
    heads = [torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3)]
    expected = torch.autograd.grad(functional.scaled_dot_product_attention(*heads, is_causal=True).sin().sum(), heads)
    capture = Capture(nn.Identity(), [])
    capture.stage = "fwd"
    with FunctionCalls(capture):
        out = functional.scaled_dot_product_attention(*heads, is_causal=True)
    found = torch.autograd.grad(out.sin().sum(), heads)
    assert all(torch.allclose(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("family", ["mixtral", "olmoe", "deepseek_v3", "switch"])
def test_any_family_is_trained_on_meta_like_on_real_weights(family: str) -> None:
    shape = LATENT if family == "deepseek_v3" else MOE
    traces = []
    for device in ("cpu", "meta"):
        model = switch(device) if family == "switch" else causal(family, device, **shape)
        ids = tokens().to(device)
        inputs = {"input_ids": ids, "labels": ids, **({"decoder_input_ids": ids} if family == "switch" else {})}
        traces.append(trace_model(model, inputs, "train", routing="uniform", name="x"))
    real, meta = ([op for op in trace.ops if op.kind != OpKind.ELEMENTWISE] for trace in traces)
    assert [(op.name, op.dims, op.weight, op.routing) for op in real] == [
        (op.name, op.dims, op.weight, op.routing) for op in meta
    ]
    assert all(trace.meta["other_ops"] == 0 for trace in traces)


def test_a_custom_autograd_function_is_recorded_both_ways() -> None:
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any) -> Any:
            ctx.save_for_backward(x, weight)
            return x @ weight.t() * 2

        @staticmethod
        def backward(ctx: Any, upstream: Any) -> Any:
            x, weight = ctx.saved_tensors
            return upstream * 2 @ weight, (upstream * 2).t() @ x

    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 8))

        def forward(self, x: Any) -> Any:
            return Scaled.apply(x, self.weight)

    trace = trace_model(nn.Sequential(nn.Linear(8, 8), Custom()), torch.randn(3, 8), "train")
    custom = [op for op in trace.ops if op.module == "1" and op.kind != OpKind.ELEMENTWISE]
    assert [(op.kind, op.label, op.weight) for op in custom] == [
        (OpKind.LINEAR, "fwd", "1.weight"), (OpKind.LINEAR, "bwd_input", "1.weight"),
        (OpKind.MATMUL, "bwd_weight", "1.weight"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["resnet-50", "vit-b16", "bert-base", "switch-base-8", "deepseek-v2-lite"])
def test_named_models_are_trained_without_an_operation_left_over(name: str) -> None:
    trace = extract(name, "train", batch=1, seq=64)
    assert trace.meta["other_ops"] == 0
    forward = sum(op.flops for op in trace.ops if stage(op) == "fwd" and op.kind in (OpKind.LINEAR, OpKind.MOE_FFN))
    weights = sum(op.flops for op in trace.ops if stage(op) == "bwd_weight" and op.kind != OpKind.CONV2D)
    assert weights == forward
    updated = sum(op.dims["flops"] // OPTIMIZERS["adamw"].flops for op in trace.ops if stage(op) == "update")
    assert updated == trace.meta["parameters"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: trace_model(nn.Linear(4, 4), torch.zeros(4), "train", optimizer="adam"), "did you mean adamw"),
        (lambda: trace_model(nn.ReLU(), torch.zeros(4), "train"), "no output depends on a parameter"),
        (
            lambda: trace_model(causal("deepseek_v3", **LATENT), labelled(), "train", latent="absorbed"),
            "for inference",
        ),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(call: Any, says: str) -> None:
    with pytest.raises(TraceError, match=says):
        call()
