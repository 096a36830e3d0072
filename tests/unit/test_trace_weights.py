# SPDX-License-Identifier: Apache-2.0
"""What a trace takes for a weight: parameters, buffers, and what is computed from them alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune

import simsparse as ss
from simsparse.core import Op, OpKind, Trace
from simsparse.trace import trace_model


class Call(nn.Module):
    """A module that computes ``function(self, *inputs)`` with ``tensors`` as its parameters and buffers."""

    def __init__(self, function: Any, **tensors: torch.Tensor) -> None:
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self, *inputs)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(0)))


def two_of_four(weight: torch.Tensor) -> torch.Tensor:
    groups = torch.ones_like(weight).reshape(-1, 4)
    groups.scatter_(1, weight.abs().reshape(-1, 4).argsort(1)[:, :2], 0.0)
    return groups.reshape(weight.shape)


def products(trace: Trace) -> list[Op]:
    return [op for op in trace.ops if op.kind in (OpKind.LINEAR, OpKind.MATMUL, OpKind.CONV2D)]


def pruned_layer(method: str) -> nn.Module:
    layer = nn.Linear(64, 32, bias=False)
    mask = two_of_four(layer.weight.data)
    if method == "prune":
        prune.custom_from_mask(layer, "weight", mask)
        return layer
    if method == "parametrize":
        parametrize.register_parametrization(layer, "weight", Call(lambda module, w: w * module.mask, mask=mask))
        return layer
    if method == "where":
        return Call(lambda m, x: functional.linear(x, torch.where(m.mask, m.w, 0.0)), w=layer.weight, mask=mask.bool())
    if method == "forward":
        return Call(lambda m, x: functional.linear(x, m.w * m.mask), w=layer.weight, mask=mask)
    if method == "right operand":
        return Call(lambda m, x: x @ (m.w * m.mask).t(), w=layer.weight, mask=mask)
    return Call(lambda m, x: functional.linear(x, m.w), w=layer.weight.data * mask)


METHODS = ("prune", "parametrize", "where", "forward", "right operand", "buffer")


@pytest.mark.parametrize("method", METHODS)
def test_a_masked_weight_is_a_weight_with_its_pattern(method: str) -> None:
    (op,) = trace_model(pruned_layer(method), torch.randn(4, 64)).ops
    assert (op.kind, str(op.weight_sparsity), op.weight_bytes) == (OpKind.LINEAR, "2:4", 4352)
    assert op.weight is not None


def test_the_sparsifier_of_torch_before_and_after_its_masks_are_squashed() -> None:
    from torch.ao.pruning import WeightNormSparsifier

    model = nn.Sequential(nn.Linear(64, 32, bias=False))
    sparsifier = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    (masked,) = trace_model(model, torch.randn(4, 64)).ops
    sparsifier.squash_mask()
    (squashed,) = trace_model(model, torch.randn(4, 64)).ops
    assert masked.signature == squashed.signature and str(masked.weight_sparsity) == "2:4"


@pytest.mark.parametrize(
    "layer",
    [parametrizations.weight_norm(nn.Linear(64, 32)), parametrizations.spectral_norm(nn.Linear(64, 32)),
     parametrizations.orthogonal(nn.Linear(64, 32)),
     Call(lambda m, x: functional.linear(x, m.w + 0.5 * (m.b @ m.a), m.c), w=parameter(32, 64), a=parameter(4, 64),
          b=parameter(32, 4), c=parameter(32)),
     Call(lambda m, x: functional.linear(x, torch.fake_quantize_per_tensor_affine(m.w, 0.1, 0, -8, 7), m.c),
          w=parameter(32, 64), c=parameter(32)),
     Call(lambda m, x: functional.linear(x, m.u @ torch.diag(m.s) @ m.v, m.c), u=parameter(32, 8), s=parameter(8),
          v=parameter(8, 64), c=parameter(32))],
    ids=["weight norm", "spectral norm", "orthogonal", "merged low rank", "fake quantised", "factors"],
)  # fmt: skip
def test_a_function_of_parameters_is_a_weight_and_its_making_is_left_out(layer: nn.Module) -> None:
    trace = trace_model(layer.eval(), torch.randn(4, 64))
    (op,) = trace.ops
    assert (op.kind, dict(op.dims), op.bias) == (OpKind.LINEAR, {"m": 4, "n": 32, "k": 64}, True)
    assert trace.meta["folded_ops"] >= 1 and trace.meta["other_share"] == 0.0


def spread_mask(module: Any, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, module.w * module.m.repeat_interleave(4, 1))


def held_in_containers(module: Any, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, module.kept["layers"][0] * module.kept["masks"][0])


def called_with_other_weights(module: Any, x: torch.Tensor) -> torch.Tensor:
    weights = {"weight": module.layer.weight * module.mask}
    return torch.func.functional_call(module.layer, weights, (x,))


def of_a_layer(function: Any, **more: Any) -> nn.Module:
    module = Call(function)
    for name, value in more.items():
        setattr(module, name, value)
    return module


def captured() -> nn.Module:
    weight = torch.randn(32, 64) * two_of_four(torch.randn(32, 64))
    return Call(lambda _, x: functional.linear(x, weight))


def chained() -> nn.Module:
    layer = nn.Linear(64, 32, bias=False)
    for mask in (two_of_four(layer.weight.data), torch.ones(32, 64)):
        parametrize.register_parametrization(layer, "weight", Call(lambda module, w: w * module.mask, mask=mask))
    return layer


MADE: dict[str, Any] = {
    "a mask spread over groups": lambda: Call(spread_mask, w=parameter(32, 64), m=torch.tensor([[1.0, 0.0] * 8] * 32)),
    "in lists and mappings": lambda: of_a_layer(held_in_containers, kept={
        "layers": [torch.randn(32, 64)], "masks": (two_of_four(torch.randn(32, 64)),)}),
    "functional_call": lambda: of_a_layer(
        called_with_other_weights, layer=nn.Linear(64, 32, bias=False), mask=two_of_four(torch.randn(32, 64))),
    "in a closure": captured,
    "a chain of parametrisations": chained,
    "scores": lambda: Call(lambda m, x: functional.linear(x, m.w * (m.s > m.s.median())), w=parameter(32, 64),
                           s=torch.randn(32, 64)),
    "largest of each row": lambda: Call(lambda m, x: functional.linear(x, m.w * torch.zeros_like(m.w).scatter(
        1, m.w.abs().topk(32, 1)[1], 1.0)), w=parameter(32, 64)),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_a_mask_is_found_wherever_the_model_keeps_it(name: str) -> None:
    torch.manual_seed(0)
    (op,) = trace_model(MADE[name](), torch.randn(4, 64)).ops
    assert (op.kind, op.stats["density"]) == (OpKind.LINEAR, 0.5) and op.weight is not None


@pytest.mark.parametrize(
    ("model", "name"),
    [(Call(lambda m, x: functional.linear(x, m.m[:, None] * (v := m.w + 2 * m.b @ m.a) / v.norm(dim=1, keepdim=True)),
           w=parameter(32, 64), a=parameter(4, 64), b=parameter(32, 4), m=parameter(32)), "w"),
     (Call(lambda m, x: functional.linear(x, m.w + torch.kron(m.a, m.b)), w=parameter(32, 64), a=parameter(4, 8),
           b=parameter(8, 8)), "w"),
     (Call(lambda m, x: functional.linear(x, torch.kron(m.a, m.b)), a=parameter(4, 8), b=parameter(8, 8)), "b"),
     (Call(lambda m, x: functional.linear(x, m.c[(torch.arange(64)[:, None] - torch.arange(64)) % 64]),
           c=parameter(64)), "c"),
     (Call(lambda m, x: functional.linear(x, torch.cat([m.q, m.k, m.v])), q=parameter(64, 64), k=parameter(32, 64),
           v=parameter(32, 64)), "q"),
     (Call(lambda m, x: functional.linear(x, m.w.triu() + m.w.triu(1).mT), w=parameter(64, 64)), "w")],
    ids=["magnitude and direction", "update by factors", "factors", "circulant", "joined", "symmetric"],
)  # fmt: skip
def test_a_weight_that_is_made_of_smaller_ones_is_one_product(model: nn.Module, name: str) -> None:
    (op,) = trace_model(model, torch.randn(4, 64)).ops
    assert (op.kind, op.weight, op.dims["k"]) == (OpKind.LINEAR, name, 64)


def test_a_kernel_that_adds_a_smaller_one_is_a_weight() -> None:
    branches = Call(lambda m, x: functional.conv2d(x, m.w + functional.pad(m.v, (1, 1, 1, 1))), w=parameter(8, 8, 3, 3),
                    v=parameter(8, 8, 1, 1))  # fmt: skip
    (op,) = trace_model(branches, torch.randn(1, 8, 8, 8)).ops
    assert (op.kind, op.weight) == (OpKind.CONV2D, "w")


def test_a_pruned_table_takes_the_memory_of_its_parameter() -> None:
    table = nn.Embedding(100, 64)
    prune.l1_unstructured(table, "weight", amount=0.5)
    trace = trace_model(table, torch.zeros(4, dtype=torch.long))
    assert [op.label for op in trace.ops] == ["embedding"] and trace.meta["folded_ops"] == 1
    assert ss.simulate(trace, ss.load_system("systems/h100-pcie5")).memory["gpu0"]["weights"] == 100 * 64 * 4


def from_words(module: Any, x: torch.Tensor) -> torch.Tensor:
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)[None, :, None]
    codes = torch.bitwise_right_shift(module.q[:, None, :], shifts).bitwise_and(15).reshape(64, 32)
    return x @ ((codes - 8) * module.s)


def from_a_code_book(module: Any, x: torch.Tensor) -> torch.Tensor:
    codes = torch.stack((module.q >> 4, module.q & 15), -1).reshape(-1).long()
    return functional.linear(x, module.book[codes].reshape(32, 64) * module.s.repeat_interleave(64).reshape(32, 64))


@pytest.mark.parametrize(
    ("model", "held"),
    [(Call(from_words, q=torch.randint(0, 2**31 - 1, (8, 32), dtype=torch.int32), s=torch.ones(1, 32)),
      8 * 32 * 4 + 32 * 4),
     (Call(from_a_code_book, q=torch.randint(0, 255, (32, 32), dtype=torch.uint8), book=torch.linspace(-1, 1, 16),
           s=torch.ones(32)), 32 * 32 + 16 * 4)],
    ids=["eight codes per word", "a table of codes"],
)  # fmt: skip
def test_unpacked_codes_are_a_weight_that_takes_their_memory(model: nn.Module, held: int) -> None:
    """Scales that are spread over a group are left out."""
    trace = trace_model(model, torch.randn(4, 64))
    (op,) = products(trace)
    assert (op.kind, op.weight, op.dims["n"]) == (OpKind.LINEAR, "q", 32)
    assert ss.simulate(trace, ss.load_system("systems/h100-pcie5")).memory["gpu0"]["weights"] == held


def test_an_input_and_what_is_made_of_it_is_no_weight() -> None:
    made = Call(lambda m, x: functional.linear(x, (m.h @ x.mean(0)).reshape(32, 64)), h=parameter(2048, 64))
    assert [op.kind for op in products(trace_model(made, torch.randn(4, 64)))] == [OpKind.LINEAR, OpKind.MATMUL]
    two = Call(lambda _, x, y: x @ y)
    assert [op.kind for op in trace_model(two, (torch.randn(4, 64), torch.randn(64, 8))).ops] == [OpKind.MATMUL]


def test_a_training_step_keeps_what_makes_a_weight() -> None:
    trace = trace_model(pruned_layer("prune"), torch.randn(4, 64), "train")
    assert "folded_ops" not in trace.meta
    assert [op.label for op in products(trace)] == ["fwd", "bwd_weight"]
    assert {op.weight for op in products(trace)} == {"weight_orig"}
    assert any(op.kind == OpKind.ELEMENTWISE and op.label == "fwd mul" for op in trace.ops)


def test_a_dequantised_weight_takes_the_memory_of_its_codes_and_scales() -> None:
    codes = torch.randint(-8, 8, (32, 64), dtype=torch.int8)
    layer = Call(lambda m, x: functional.linear(x, m.q.to(x.dtype) * m.scale), q=codes, scale=parameter(32, 1))
    trace = trace_model(layer, torch.randn(4, 64))
    cast, product = trace.ops
    assert (cast.kind, product.kind) == (OpKind.ELEMENTWISE, OpKind.LINEAR)
    assert cast.weight == product.weight == "q"
    assert ss.simulate(trace, ss.load_system("systems/h100-pcie5")).memory["gpu0"]["weights"] == 32 * 64 + 32 * 4


def test_a_pruned_convolution_keeps_its_zeros() -> None:
    conv = nn.Conv2d(8, 8, 3, bias=False)
    prune.l1_unstructured(conv, "weight", amount=0.5)
    (op,) = trace_model(conv, torch.randn(1, 8, 8, 8)).ops
    assert op.kind == OpKind.CONV2D and op.stats["density"] == 0.5 and not op.weight_sparsity.is_dense
    prune.remove(conv, "weight")
    (after,) = trace_model(conv, torch.randn(1, 8, 8, 8)).ops
    assert after.signature == op.signature


def test_pruned_recurrent_weights_keep_their_zeros() -> None:
    layer = nn.LSTM(16, 16)
    prune.l1_unstructured(layer, "weight_ih_l0", amount=0.5)
    op = products(trace_model(layer, torch.randn(2, 1, 16)))[0]
    assert op.weight == "weight_ih_l0_orig" and op.weight_sparsity.density == 0.5


def test_what_an_activation_changes_is_an_activation() -> None:
    def written(module: Any, x: torch.Tensor) -> torch.Tensor:
        module.table[:4] = x
        return x @ module.table.t()

    (op,) = products(trace_model(Call(written, table=torch.zeros(8, 64)), torch.randn(4, 64)))
    assert op.kind == OpKind.MATMUL


def test_queries_that_are_learned_are_activations() -> None:
    attend = Call(
        lambda m, x: torch.softmax(functional.linear(m.latents, m.q) @ functional.linear(x, m.k).t(), -1) @ x,
        latents=parameter(8, 64), q=parameter(64, 64), k=parameter(64, 64),
    )  # fmt: skip
    kinds = [op.kind for op in products(trace_model(attend, torch.randn(4, 64)))]
    assert kinds == [OpKind.LINEAR, OpKind.LINEAR, OpKind.MATMUL, OpKind.MATMUL]


def test_each_of_a_batch_with_a_weight_of_its_own_is_a_grouped_layer() -> None:
    weight = parameter(4, 64, 32)
    with torch.no_grad():
        weight[:, 2::4] = weight[:, 3::4] = 0.0
    trace = trace_model(Call(lambda m, x: torch.einsum("etd,edf->etf", x, m.w), w=weight), torch.randn(4, 8, 64))
    (op,) = trace.ops
    assert (op.kind, dict(op.dims)) == (OpKind.LINEAR, {"m": 8, "n": 32, "k": 64, "groups": 4})
    assert str(op.weight_sparsity) == "2:4" and op.flops == 2 * 4 * 8 * 32 * 64
    dense = trace.with_weight_sparsity("dense")
    assert dense.ops[0].weight_bytes == 4 * 4 * 64 * 32


def test_parts_of_one_parameter_take_memory_part_by_part() -> None:
    layer = nn.MultiheadAttention(64, 4)
    trace = trace_model(layer, (torch.randn(5, 1, 64), torch.randn(7, 1, 64), torch.randn(7, 1, 64)))
    held = ss.simulate(trace, ss.load_system("systems/h100-pcie5")).memory["gpu0"]["weights"]
    assert held == 4 * sum(parameter.numel() for parameter in layer.parameters())
