# SPDX-License-Identifier: Apache-2.0
"""Products that torch has as operators of their own, and work on few or no rows."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from simsparse.core import DType, OpKind
from simsparse.trace import trace_model
from tests.unit.test_trace_weights import Call, parameter

ONE = torch.tensor(1.0)


def frozen(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def test_an_fp8_product_is_a_linear_layer_with_results_of_another_type() -> None:
    layer = Call(
        lambda m, x: torch._scaled_mm(x, m.w.t(), scale_a=ONE, scale_b=ONE, out_dtype=torch.bfloat16),
        w=frozen(torch.randn(32, 64).to(torch.float8_e4m3fn)),
    )  # fmt: skip
    (op,) = trace_model(layer, torch.randn(16, 64).to(torch.float8_e4m3fn)).ops
    assert (op.kind, op.dtype, op.w_dtype, op.out_dtype) == (OpKind.LINEAR, DType.FP8, DType.FP8, DType.BF16)
    assert (op.weight_bytes, op.input_bytes, op.output_bytes) == (32 * 64, 16 * 64, 2 * 16 * 32)


def test_weights_packed_to_bytes_are_stored_in_bytes() -> None:
    layer = Call(
        lambda m, x: torch._weight_int8pack_mm(x, m.w, m.scale), w=frozen(torch.ones(32, 64, dtype=torch.int8)),
        scale=torch.ones(32, dtype=torch.bfloat16),
    )  # fmt: skip
    (op,) = trace_model(layer, torch.randn(16, 64, dtype=torch.bfloat16)).ops
    assert (op.weight, op.weight_bytes, op.dtype, op.flops) == ("w", 32 * 64, DType.BF16, 2 * 16 * 32 * 64)


def test_an_integer_product_writes_wide_sums() -> None:
    layer = Call(lambda m, x: torch._int_mm(x, m.w), w=frozen(torch.ones(64, 32, dtype=torch.int8)))
    (op,) = trace_model(layer, torch.ones(32, 64, dtype=torch.int8)).ops
    assert (op.out_dtype, op.output_bytes) == (DType.INT32, 4 * 32 * 32)


@pytest.mark.parametrize(("ends", "sizes"), [((3, 3, 11, 16), {3: 1, 8: 1, 5: 1}), ((4, 8, 12, 16), {4: 4})])
def test_a_grouped_product_reads_the_weights_of_groups_with_rows(ends: tuple[int, ...], sizes: dict[int, int]) -> None:
    weight = parameter(4, 64, 32)
    layer = Call(lambda m, x, o: torch._grouped_mm(x, m.w, offs=o), w=nn.Parameter(weight.to(torch.bfloat16)))
    inputs = (torch.randn(16, 64, dtype=torch.bfloat16), torch.tensor(ends, dtype=torch.int32))
    ops = trace_model(layer, inputs).ops
    assert {op.dims["m"]: op.dims.get("groups", 1) for op in ops} == sizes
    assert sum(op.flops for op in ops) == 2 * 16 * 32 * 64
    assert sum(op.weight_bytes for op in ops) == 2 * 64 * 32 * sum(sizes.values())
    assert {op.resident_bytes for op in ops} == {2 * 4 * 64 * 32}


def test_a_dynamically_quantised_layer_multiplies_bytes() -> None:
    plain = nn.Sequential(nn.Linear(64, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
        trace = trace_model(model, torch.randn(4, 64))
    product = trace.ops[-1]
    assert (product.kind, product.dtype, product.out_dtype) == (OpKind.LINEAR, DType.INT8, DType.FP32)
    assert trace.flops == 2 * 4 * 32 * 64 and trace.meta["other_ops"] == 0


def test_a_bilinear_layer_is_a_product_with_its_weight() -> None:
    layer = nn.Bilinear(8, 9, 10, bias=False)
    trace = trace_model(layer, (torch.randn(4, 8), torch.randn(4, 9)))
    product = trace.ops[0]
    assert (product.kind, product.weight, product.weight_bytes) == (OpKind.LINEAR, "weight", 4 * 720)
    assert trace.flops == 2 * 4 * 720 + 2 * 4 * 90


def test_an_embedding_bag_reads_the_rows_that_it_sums() -> None:
    indexes = torch.randint(0, 1000, (2, 16))
    (op,) = trace_model(nn.EmbeddingBag(1000, 64), indexes).ops
    assert 32 * 64 * 4 + 32 * 8 <= op.input_bytes <= 32 * 64 * 4 + 32 * 8 + 64
    assert op.weight == "weight" and op.stats["parameter_bytes"] == 1000 * 64 * 4


@pytest.mark.parametrize("layer", [nn.Linear(16, 8), nn.ReLU(), nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 4))])
def test_no_rows_are_no_work(layer: nn.Module) -> None:
    assert trace_model(layer, torch.randn(0, 16)).ops == ()


def put_together(_: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    y = a.new_empty(a.shape[0], a.shape[1] + b.shape[1])
    y[:, : a.shape[1]] = a
    y[:, a.shape[1] :] = b
    return y


def interleaved(_: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    y = torch.zeros(a.shape[0], 2 * a.shape[1])
    y[:, 0::2] = a * 2
    y[:, 1::2] = b
    return y


@pytest.mark.parametrize("function", [put_together, interleaved])
def test_a_tensor_put_together_from_slices_is_written_whole(function: Any) -> None:
    a = torch.randn(100, 64)
    (op,) = trace_model(Call(function), (a, a)).ops
    assert op.output_bytes == 100 * 128 * 4


def test_a_slice_that_is_written_is_all_that_is_written() -> None:
    def some(_: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a[10:20] = b
        return a

    (op,) = trace_model(Call(some), (torch.randn(100, 64), torch.randn(10, 64))).ops
    assert (op.input_bytes, op.output_bytes) == (10 * 64 * 4, 10 * 64 * 4)
