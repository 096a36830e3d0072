# SPDX-License-Identifier: Apache-2.0
"""Products that torch has as operators of their own, and work on few or no rows."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from simsparse.core import DType, OpKind, Trace
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


def pruned(rows: int = 32, cols: int = 64) -> torch.Tensor:
    mask = torch.kron(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.ones(rows // 2, cols // 2))
    return torch.randn(rows, cols, generator=torch.Generator().manual_seed(0)) * mask


LAYOUTS: dict[str, tuple[Any, str, Any]] = {
    "csr": (lambda w: w.to_sparse_csr(), "csr", functional.linear),
    "csr on the left": (lambda w: w.to_sparse_csr(), "csr", lambda x, w: (w @ x.t()).t()),
    "csc": (lambda w: w.to_sparse_csc(), "csc", lambda x, w: (w @ x.t()).t()),
    "coo": (lambda w: w.to_sparse(), "usual", lambda x, w: torch.sparse.mm(w, x.t()).t()),
    "bsr": (lambda w: w.to_sparse_bsr((16, 16)), "bsr:16", functional.linear),
}


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("held", ["parameter", "buffer", "attribute"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_weight_in_a_sparse_layout_is_a_sparse_weight_in_its_format(name: str, held: str) -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weight = LAYOUTS[name][0](pruned())
            if held == "parameter":
                self.weight = nn.Parameter(weight, requires_grad=False)
            elif held == "buffer":
                self.register_buffer("weight", weight)
            else:
                self.weight = weight

        def forward(self, x: Any) -> Any:
            return LAYOUTS[name][2](x, self.weight)

    trace = trace_model(Sparse(), torch.randn(4, 64))
    (op,) = [op for op in trace.ops if op.products]
    assert (op.kind, dict(op.dims), op.weight) == (OpKind.LINEAR, {"m": 4, "n": 32, "k": 64}, "weight")
    assert op.weight_sparsity.density == 0.5 and op.weight_format == LAYOUTS[name][1]
    assert trace.meta["other_ops"] == 0


@pytest.mark.parametrize("half", [False, True])
def test_a_quantised_recurrent_layer_does_the_products_of_the_one_that_it_was(half: bool) -> None:
    layer = nn.Sequential(nn.GRU(16, 8, num_layers=2, bidirectional=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(
            layer, {nn.GRU}, dtype=torch.float16 if half else torch.qint8
        )
    x = torch.randn(5, 3, 16)
    before, after = trace_model(layer, x), trace_model(quantised, x)

    def facts(trace: Trace) -> list[Any]:
        return sorted((op.kind, tuple(op.dims.values())) for op in trace.ops if op.products or "_cell" in op.label)

    assert facts(after) == facts(before) and after.meta["other_ops"] == 0
    products = [op for op in after.ops if op.products]
    assert {str(op.w_dtype) for op in products} == {"fp16" if half else "int8"}


@pytest.mark.parametrize("name", ["_sparse_semi_structured_addmm", "_cslt_sparse_mm"])
def test_further_products_with_weights_stored_2_to_4(name: str) -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            shapes = {"packed": (128 * 72,), "values": (128, 64), "bias": (128,)}
            for key, shape in shapes.items():
                self.register_buffer(key, torch.empty(shape, dtype=torch.half, device="meta"))
            self.register_buffer("places", torch.empty(128, 8, dtype=torch.int16, device="meta"))

        def forward(self, x: Any) -> Any:
            if name == "_cslt_sparse_mm":
                return torch._cslt_sparse_mm(self.packed, x.t())
            return torch._sparse_semi_structured_addmm(self.bias, self.values, self.places, x.t())

    (op,) = trace_model(Packed(), torch.empty(64, 128, dtype=torch.half, device="meta")).ops
    assert (dict(op.dims), str(op.weight_sparsity)) == ({"m": 64, "n": 128, "k": 128}, "2:4")
