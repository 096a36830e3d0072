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
    schema = "aten::convolution_backward(Tensor g, Tensor x, Tensor w) -> (Tensor, Tensor)"
    found = import_trace(et_file(
        tmp_path,
        et_node(2, "aten::convolution_backward", [(5, [2, 8, 4, 4]), (6, [2, 3, 4, 4]), (7, [8, 3, 3, 3])],
                [(8, [2, 3, 4, 4]), (9, [8, 3, 3, 3])], schema),
        et_node(3, "aten::empty", [], [(8, [2, 3, 4, 4])], parent=2),
        et_node(4, "vendor::outer", [(8, [2, 3, 4, 4])], [(10, [4])]),
        et_node(5, "aten::sum", [(8, [2, 3, 4, 4])], [(10, [4])], parent=4),
    ))  # fmt: skip
    assert [(op.name, op.kind) for op in found.trace.ops] == [
        ("convolution_backward.2", OpKind.OTHER), ("sum.5", OpKind.ELEMENTWISE),
    ]  # fmt: skip
    assert found.trace.ops[0].flops == 2 * 2 * (2 * 8 * 4 * 4) * 3 * 3 * 3


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
