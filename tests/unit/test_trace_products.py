# SPDX-License-Identifier: Apache-2.0
"""Products in forms that models seldom take: in place, into a given tensor, complex, sparse, ragged, of distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from simsparse.core import DType, OpKind, Trace
from simsparse.errors import TraceError
from simsparse.trace import trace_model
from tests.unit.test_trace_weights import Call, parameter

RAGGED = (3, 7)
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in ("Sparse CSR", "The PyTorch API of nested tensors", "torch.quantize_per_tensor", ".*_prim_add_batch")
]


def product_flops(trace: Trace) -> int:
    return sum(2 * op.dense_macs for op in trace.ops)


def pruned(*shape: int) -> nn.Parameter:
    weight = parameter(*shape)
    return nn.Parameter(weight.detach() * (weight.detach().abs() > 1))


def ragged(x: torch.Tensor) -> torch.Tensor:
    """``x`` as two sequences of unequal length."""
    return torch.nested.nested_tensor(list(x.split(RAGGED)), layout=torch.jagged)


PRODUCTS: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...], int]] = {
    "addmm in place": (lambda m, x: x.new_zeros(4, 8).addmm_(x, m.w), (16, 8), (4, 16), 4 * 8 * 16),
    "addmv in place": (lambda m, x: x.new_zeros(8).addmv_(m.w, x), (8, 16), (16,), 8 * 16),
    "baddbmm in place": (lambda m, x: x.new_zeros(3, 4, 8).baddbmm_(x, m.w), (3, 16, 8), (3, 4, 16), 3 * 4 * 8 * 16),
    "addbmm in place": (lambda m, x: x.new_zeros(4, 8).addbmm_(x, m.w), (3, 16, 8), (3, 4, 16), 3 * 4 * 8 * 16),
    "into a given tensor": (lambda m, x: torch.mm(x, m.w, out=x.new_empty(4, 8)), (16, 8), (4, 16), 4 * 8 * 16),
    "distances": (lambda m, x: torch.cdist(x, m.w), (30, 64), (40, 64), 30 * 40 * 64),
    "complex": (lambda m, x: torch.view_as_real(torch.complex(x, x) @ torch.view_as_complex(m.w)), (16, 8, 2), (4, 16),
                4 * 4 * 8 * 16),
    "sparse by sparse": (lambda m, x: torch.sparse.mm(m.w.to_sparse(), x.to_sparse()).to_dense(), (8, 16), (16, 4),
                         8 * 4 * 16),
    "ragged": (lambda m, x: functional.linear(ragged(x), m.w).values(), (8, 16), (10, 16), 10 * 8 * 16),
}  # fmt: skip
"""The function, the shapes of its weight and of its input, and the multiply-accumulates by arithmetic."""


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_in_a_rare_form_is_a_product(name: str) -> None:
    function, weight, shape, macs = PRODUCTS[name]
    trace = trace_model(Call(function, w=pruned(*weight)), torch.randn(*shape))
    assert product_flops(trace) == 2 * macs
    assert trace.meta["other_share"] == 0
    assert [op.weight for op in trace.ops if op.dense_macs] == ["w"]


def test_a_complex_product_moves_the_bytes_of_its_weight_and_its_result_once() -> None:
    layer = Call(lambda m, x: torch.view_as_real(x @ torch.view_as_complex(m.w)), w=parameter(16, 8, 2))
    (op,) = (op for op in trace_model(layer, torch.randn(4, 16, dtype=torch.complex64)).ops if op.dense_macs)
    assert (op.dtype, op.weight_bytes, op.output_bytes) == (DType.FP32, 8 * 16 * 8, 8 * 4 * 8)


SPARSE: dict[str, Callable[..., Any]] = {
    "softmax": lambda _, x: torch.sparse.softmax(x.to_sparse(), 1).to_dense(),
    "sum": lambda _, x: torch.sparse.sum(x.to_sparse(), 1).to_dense(),
    "sampled product": lambda m, x: torch.sparse.sampled_addmm(m.w.to_sparse_csr(), x, x.T).to_dense(),
    "pool of bytes": lambda _, x: functional.max_pool1d(
        torch.quantize_per_tensor(x[None], 1.0, 0, torch.quint8), 2).dequantize(),
}  # fmt: skip


@pytest.mark.parametrize("name", SPARSE)
def test_what_sparse_and_quantised_tensors_do_is_understood(name: str) -> None:
    trace = trace_model(Call(SPARSE[name], w=pruned(16, 16)), torch.randn(16, 8))
    assert trace.ops and all(op.kind is not OpKind.OTHER for op in trace.ops)


def test_a_sampled_product_computes_the_kept_elements_alone() -> None:
    weight = pruned(16, 16)
    trace = trace_model(Call(SPARSE["sampled product"], w=weight), torch.randn(16, 8))
    assert sum(op.flops for op in trace.ops) == 2 * 8 * int(weight.count_nonzero())


def test_a_dot_product_is_two_operations_per_pair() -> None:
    trace = trace_model(Call(lambda m, x: torch.dot(x, m.w), w=parameter(80)), torch.randn(80))
    assert sum(op.flops for op in trace.ops) == 160


def test_an_exported_model_is_traced_like_the_model() -> None:
    model, x = nn.Sequential(nn.Linear(16, 8), nn.ReLU()), torch.randn(4, 16)
    exported = torch.export.export(model, (x,)).module()
    assert product_flops(trace_model(exported, x)) == product_flops(trace_model(model, x))


@pytest.mark.parametrize(("model", "said"), [
    (nn.LazyLinear(8), "weight: has no shape before the model has seen a batch"),
    (Call(lambda _, x: functional.scaled_dot_product_attention(
        *3 * [ragged(x).unflatten(-1, [4, 4]).transpose(1, 2)])), "sequences of several lengths"),
])  # fmt: skip
def test_what_cannot_be_traced_names_the_reason(model: nn.Module, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        trace_model(model, torch.randn(10, 16))
