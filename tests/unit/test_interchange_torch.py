# SPDX-License-Identifier: Apache-2.0
"""Execution traces of torch, its own and those that Chakra converted, as traces of operators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simsparse.core import OpKind, Trace
from simsparse.errors import TraceError
from simsparse.trace.interchange import import_trace

DATA = Path(__file__).parent / "data"
ET = DATA / "torch_et.json.gz"
"""Written by ExecutionTraceObserver of torch 2.13.0 on a CPU, without the fields that describe GPU kernels."""

CONVERTED = DATA / "torch_et.et.gz"
"""The same, converted by mlc-chakra 1.0.0."""


def test_a_torch_execution_trace_becomes_ops_with_shapes_and_data_flow() -> None:
    trace = import_trace(ET).trace
    found = {op.name: op for op in trace.ops}
    assert [op.kind for op in trace.ops].count(OpKind.LINEAR) == 4
    assert found["linear.118"].dims == {"m": 16, "n": 64, "k": 32}
    assert found["linear.138"].deps == ("relu.135",)
    attend = found["scaled_dot_product_attention.62"]
    assert {key: attend.dims[key] for key in ("batch", "heads", "q_len", "causal")} == {
        "batch": 2, "heads": 4, "q_len": 8, "causal": 1,
    }  # fmt: skip
    assert found["bmm.111"].dims == {"batch": 8, "m": 8, "n": 8, "k": 16}
    assert found["softmax.116"].flops == 5 * 2 * 4 * 8 * 8
    assert found["add.172"].deps == ("add.165", "sum.167")


def test_the_same_trace_converted_by_chakra_gives_the_same_ops() -> None:
    assert import_trace(CONVERTED).trace.ops == import_trace(ET).trace.ops


def et_node(id: int, name: str, inputs: list[Any], outputs: list[Any], schema: str = "", parent: int = 1) -> Any:
    def side(tensors: list[Any]) -> dict[str, list[Any]]:
        return {"values": [[i, i, 0, 1, 4, "cpu"] for i, _ in tensors], "shapes": [shape for _, shape in tensors],
                "types": ["Tensor(float)"] * len(tensors)}  # fmt: skip

    attrs = [{"name": "op_schema", "type": "string", "value": schema}]
    return {"id": id, "ctrl_deps": parent, "name": name, "inputs": side(inputs), "outputs": side(outputs),
            "attrs": attrs}  # fmt: skip


def et_file(tmp_path: Path, *nodes: Any) -> Path:
    path = tmp_path / "et.json"
    path.write_text(json.dumps({"schema": "1.1.1-chakra.0.0.4", "nodes": list(nodes)}))
    return path


def test_views_cost_nothing_and_unknown_operators_are_kept_with_their_bytes(tmp_path: Path) -> None:
    path = et_file(
        tmp_path,
        et_node(1, "[pytorch|thread]", [], [], parent=0),
        et_node(2, "aten::relu", [(5, [2, 3])], [(6, [2, 3])]),
        et_node(3, "aten::t", [(6, [2, 3])], [(6, [3, 2])], "aten::t(Tensor(a) self) -> Tensor(a)"),
        et_node(4, "vendor::fancy", [(6, [3, 2])], [(7, [4])], "vendor::fancy(Tensor x) -> Tensor"),
    )
    found = import_trace(path)
    assert [(op.name, op.kind, op.deps) for op in found.trace.ops] == [
        ("relu.2", OpKind.ELEMENTWISE, ()), ("fancy.4", OpKind.OTHER, ("relu.2",)),
    ]  # fmt: skip
    assert found.trace.ops[1].dims == {"read_bytes": 24, "write_bytes": 16, "flops": 0}
    assert any("vendor::fancy" in note for note in found.notes)


def test_products_of_computed_values_are_matmuls_and_of_weights_linears(tmp_path: Path) -> None:
    path = et_file(
        tmp_path,
        et_node(2, "aten::relu", [(5, [2, 3])], [(6, [2, 3])]),
        et_node(3, "aten::mm", [(6, [2, 3]), (9, [3, 7])], [(10, [2, 7])]),
        et_node(4, "aten::mm", [(10, [2, 7]), (10, [7, 2])], [(11, [2, 2])]),
    )
    linear, matmul = import_trace(path).trace.ops[1:]
    assert (linear.kind, linear.weight, dict(linear.dims)) == (OpKind.LINEAR, "storage.9", {"m": 2, "n": 7, "k": 3})
    assert (matmul.kind, dict(matmul.dims)) == (OpKind.MATMUL, {"batch": 1, "m": 2, "n": 2, "k": 7})


def test_an_operator_whose_insides_say_nothing_is_kept(tmp_path: Path) -> None:
    schema = "aten::convolution_backward(Tensor grad_output, Tensor input, Tensor weight) -> (Tensor, Tensor)"
    found = import_trace(et_file(
        tmp_path,
        et_node(2, "aten::convolution_backward", [(5, [2, 8, 4, 4]), (6, [2, 3, 4, 4]), (7, [8, 3, 3, 3])],
                [(8, [2, 3, 4, 4]), (9, [8, 3, 3, 3])], schema),
        et_node(3, "aten::empty", [], [(8, [2, 3, 4, 4])], parent=2),
        et_node(4, "vendor::outer", [(8, [2, 3, 4, 4])], [(10, [4])]),
        et_node(5, "aten::sum", [(8, [2, 3, 4, 4])], [(10, [4])], parent=4),
    ))  # fmt: skip
    assert [(op.name, op.kind) for op in found.trace.ops] == [
        ("convolution_backward.2.bwd_input", OpKind.CONV2D), ("convolution_backward.2.bwd_weight", OpKind.CONV2D),
        ("sum.5", OpKind.ELEMENTWISE),
    ]  # fmt: skip
    assert found.trace.flops == 2 * 2 * (2 * 8 * 4 * 4) * 3 * 3 * 3 + 2 * 3 * 4 * 4


def test_an_operator_is_kept_when_its_insides_write_some_of_its_results(tmp_path: Path) -> None:
    found = import_trace(et_file(
        tmp_path,
        et_node(2, "aten::vendor_backward", [(5, [8])], [(8, [512]), (9, [4])]),
        et_node(3, "aten::zeros", [], [(9, [4])], parent=2),
    ))  # fmt: skip
    assert [(op.name, op.kind) for op in found.trace.ops] == [
        ("zeros.3", OpKind.ELEMENTWISE), ("vendor_backward.2", OpKind.OTHER),
    ]  # fmt: skip


OUT = "aten::bmm.out(Tensor self, Tensor mat2, *, Tensor(a!) out) -> Tensor(a!)"
RELU = "aten::relu(Tensor self) -> Tensor"


def test_the_tensor_that_an_overload_writes_is_no_operand(tmp_path: Path) -> None:
    relu_out = "aten::abs.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)"
    found = import_trace(et_file(
        tmp_path,
        et_node(2, "aten::relu", [(5, [4, 8, 6])], [(6, [4, 8, 6])], RELU),
        et_node(3, "aten::relu", [(7, [4, 6, 8])], [(8, [4, 6, 8])], RELU),
        et_node(4, "aten::bmm", [(6, [4, 8, 6]), (8, [4, 6, 8]), (9, [4, 8, 8])], [(9, [4, 8, 8])], OUT),
        et_node(5, "aten::abs", [(9, [4, 8, 8]), (10, [4, 8, 8])], [(10, [4, 8, 8])], relu_out),
    )).trace.ops  # fmt: skip
    assert (found[2].kind, dict(found[2].dims)) == (OpKind.MATMUL, {"batch": 4, "m": 8, "n": 8, "k": 6})
    assert (found[3].dims["read_bytes"], found[3].deps) == (4 * 256, ("bmm.4",))


def test_weights_stand_on_the_left_one_for_each_of_a_batch_and_with_a_bias(tmp_path: Path) -> None:
    mm = "aten::mm(Tensor self, Tensor mat2) -> Tensor"
    addmm = "aten::addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor"
    bmm = "aten::bmm(Tensor self, Tensor mat2) -> Tensor"
    left, batched, biased = import_trace(et_file(
        tmp_path,
        et_node(2, "aten::relu", [(5, [6, 3])], [(6, [6, 3])], RELU),
        et_node(3, "aten::mm", [(9, [7, 6]), (6, [6, 3])], [(10, [7, 3])], mm),
        et_node(4, "aten::bmm", [(10, [7, 1, 3]), (11, [7, 3, 2])], [(12, [7, 1, 2])], bmm),
        et_node(5, "aten::addmm", [(13, [8]), (12, [7, 2]), (14, [2, 8])], [(15, [7, 8])], addmm),
    )).trace.ops[1:]  # fmt: skip
    assert (left.kind, dict(left.dims), left.weight) == (OpKind.LINEAR, {"m": 3, "n": 7, "k": 6}, "storage.9")
    assert (batched.kind, batched.weight_bytes, batched.dense_macs) == (OpKind.LINEAR, 4 * 7 * 3 * 2, 7 * 3 * 2)
    assert (biased.bias, biased.weight_bytes) == (True, 4 * (2 * 8 + 8))


def test_rows_of_an_embedding_are_read_and_its_table_is_held(tmp_path: Path) -> None:
    raw = et_node(2, "aten::embedding", [(5, [1000, 16]), (6, [3, 4])], [(7, [3, 4, 16])])
    (op,) = import_trace(et_file(tmp_path, raw)).trace.ops
    assert (op.kind, op.weight, op.resident_bytes, op.output_bytes) == ("gather", "storage.5", 64_000, 768)


@pytest.mark.parametrize(
    ("type_", "size", "bytes_"), [("c10::complex<float>", 8, 8), ("c10::Half", 2, 2), ("c10::Float7", 1, 1),
                                  ("c10::quint8", 1, 1)],
)  # fmt: skip
def test_element_types_that_a_trace_has_not_keep_their_bytes(
    tmp_path: Path, type_: str, size: int, bytes_: int
) -> None:
    raw = et_node(2, "aten::relu", [(5, [6])], [(6, [6])])
    for side in ("inputs", "outputs"):
        raw[side]["types"] = [f"Tensor({type_})"]
        raw[side]["values"] = [[1, value[1], 0, 6, size, "cpu"] for value in raw[side]["values"]]
    (op,) = import_trace(et_file(tmp_path, raw)).trace.ops
    assert op.min_bytes == 2 * 6 * bytes_


def test_nodes_that_contain_each_other_are_refused(tmp_path: Path) -> None:
    nodes = [et_node(2, "aten::relu", [(5, [2])], [(6, [2])]), et_node(3, "a", [], [], parent=4),
             et_node(4, "b", [], [], parent=3)]  # fmt: skip
    with pytest.raises(TraceError, match="in a circle"):
        import_trace(et_file(tmp_path, *nodes))


def test_collectives_of_torch_have_their_bytes_and_ranks(tmp_path: Path) -> None:
    raw = et_node(2, "record_param_comms", [(5, [256])], [])
    raw["attrs"] += [{"name": "collective_name", "value": "allreduce"}, {"name": "pg_size", "value": 4}]
    (op,) = import_trace(et_file(tmp_path, raw)).trace.ops
    assert (op.label, dict(op.dims)) == ("all_reduce", {"bytes": 1024, "ranks": 4})


@pytest.mark.torch
def test_an_execution_trace_has_the_products_that_tracing_finds(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from torch.profiler import ExecutionTraceObserver

    from simsparse.models.plain import SmallCnn
    from simsparse.trace import trace_model

    model, x = SmallCnn().eval(), torch.randn(2, 3, 32, 32)
    observer = ExecutionTraceObserver().register_callback(str(tmp_path / "et.json"))
    with torch.no_grad():
        observer.start()
        model(x)
        observer.stop()
    observer.unregister_callback()

    def macs(trace: Trace) -> list[tuple[OpKind, Any]]:
        return [(op.kind, dict(op.dims)) for op in trace.ops if op.kind in (OpKind.CONV2D, OpKind.LINEAR)]

    assert macs(import_trace(tmp_path / "et.json").trace) == macs(trace_model(model, x))


def _modules() -> dict[str, Any]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Calls(nn.Module):
        def __init__(self, call: Any, *shapes: tuple[int, ...]) -> None:
            super().__init__()
            self.call, self.weights = call, nn.ParameterList(torch.randn(shape) for shape in shapes)

        def forward(self, x: Any) -> Any:
            return self.call(x, *self.weights)

    class SelfAttention(nn.MultiheadAttention):
        def forward(self, x: Any) -> Any:
            return super().forward(x, x, x)[0]

    image, volume, tokens = torch.randn(2, 4, 9, 11), torch.randn(1, 4, 5, 6, 7), torch.randn(3, 10, 64)
    return {
        "dilated": (nn.Conv2d(4, 6, 3, dilation=2, stride=(1, 2)), image), "line": (nn.Conv1d(64, 8, 3), tokens.mT),
        "one image": (nn.Conv2d(4, 6, 3, padding="same"), image[0]), "volume": (nn.Conv3d(4, 6, 3, padding=1), volume),
        "up line": (nn.ConvTranspose1d(64, 8, 3, stride=2), tokens.mT),
        "up image": (nn.ConvTranspose2d(4, 8, 3, stride=2, groups=2, output_padding=1), image),
        "up volume": (nn.ConvTranspose3d(4, 6, 3), volume),
        "attention": (SelfAttention(64, 4, batch_first=True), tokens),
        "encoder": (nn.TransformerEncoderLayer(64, 4, 96, batch_first=True), tokens),
        "gru": (nn.GRU(64, 8, bidirectional=True), tokens), "rnn": (nn.RNN(64, 8, 2, batch_first=True), tokens),
        "einsum": (Calls(lambda x, w: torch.einsum("bsd,hdf->bhsf", x, w), (2, 64, 5)), tokens),
        "batched": (Calls(lambda x, w: torch.baddbmm(x[..., :5], x, w), (3, 64, 5)), tokens),
        "out": (Calls(lambda x, w: torch.mm(x[0], w.detach(), out=torch.empty(10, 5)), (64, 5)), tokens),
        "one token": (Calls(F.linear, (5, 64), (5,)), tokens[0, 0]),
    }  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("name", [
    "dilated", "line", "one image", "volume", "up line", "up image", "up volume", "attention", "encoder", "gru", "rnn",
    "einsum", "batched", "out", "one token",
])  # fmt: skip
def test_products_are_those_that_torch_counts(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    from torch.profiler import ExecutionTraceObserver
    from torch.utils.flop_counter import FlopCounterMode

    model, x = _modules()[name]
    observer, path = ExecutionTraceObserver(), str(tmp_path / "a.json")
    observer.register_callback(path)
    with torch.no_grad():
        observer.start()
        model(x)
        observer.stop()
        observer.unregister_callback()
        with FlopCounterMode(display=False) as counter:
            model(x)
    products = [op for op in import_trace(path, "torch-et").trace.ops if op.products]
    assert sum(op.flops for op in products) == counter.get_total_flops() > 0


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_cells_of_recurrent_layers_are_those_of_a_capture(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    from torch.profiler import ExecutionTraceObserver

    from simsparse.trace import trace_model

    model, x = getattr(torch.nn, kind)(16, 8, num_layers=2, bidirectional=True).eval(), torch.randn(5, 3, 16)
    observer, path = ExecutionTraceObserver(), str(tmp_path / "a.json")
    observer.register_callback(path)
    with torch.no_grad():
        observer.start()
        model(x)
        observer.stop()
        observer.unregister_callback()

    def cells(trace: Any) -> list[tuple[int, int, int]]:
        return [(op.flops, op.input_bytes, op.output_bytes) for op in trace.ops if op.label.endswith("_cell")]

    found = cells(import_trace(path, "torch-et").trace)
    assert found == cells(trace_model(model, x)) and len(found) == 4 * 5 and found[0][0] > 0


@pytest.mark.torch
def test_a_gradient_of_products_is_twice_the_products(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from torch import nn
    from torch.profiler import ExecutionTraceObserver

    observer, path = ExecutionTraceObserver(), str(tmp_path / "a.json")
    observer.register_callback(path)
    observer.start()
    model, x = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ConvTranspose2d(6, 4, 3)), torch.randn(2, 4, 8, 8)
    model(x.requires_grad_()).sum().backward()
    observer.stop()
    observer.unregister_callback()
    ops = [op for op in import_trace(path, "torch-et").trace.ops if op.products]
    forward = sum(op.flops for op in ops if not op.label.startswith("bwd"))
    assert sum(op.flops for op in ops) == 3 * forward > 0
