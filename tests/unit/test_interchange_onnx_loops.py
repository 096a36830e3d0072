# SPDX-License-Identifier: Apache-2.0
"""Loops, scans and branches of ONNX models: the work inside them counts as often as it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simsparse.core import OpKind
from simsparse.errors import TraceError
from simsparse.limits import Limits
from simsparse.trace.interchange import Imported, ImportOptions, import_trace

onnx = pytest.importorskip("onnx")
FLOAT, INT, BOOL = 1, 7, 9
A_TRIP = 2 * 2 * 8 * 8
"""FLOPs of a (2, 8) times (8, 8)."""


def node(kind: str, inputs: str, outputs: str, **attrs: Any) -> Any:
    names = ["" if name == "_" else name for name in inputs.split()]
    return onnx.helper.make_node(kind, names, outputs.split(), name=f"{kind}_{outputs.split(maxsplit=1)[0]}", **attrs)


def value(name: str, *shape: int | str | None, type_: int = FLOAT) -> Any:
    return onnx.helper.make_tensor_value_info(name, type_, list(shape))


def tensor(name: str, array: Any) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def square(name: str) -> Any:
    return tensor(name, np.ones((8, 8), np.float32))


def loop_body(nodes: list[Any], weights: list[Any] = [], outputs: list[Any] = []) -> Any:  # noqa: B006
    """A body that turns the state ``v`` into ``w``."""
    return onnx.helper.make_graph(
        [node("Identity", "c", "k"), *nodes], "body",
        [value("i", type_=INT), value("c", type_=BOOL), value("v", 2, 8)],
        [value("k", type_=BOOL), value("w", 2, 8), *outputs], weights,
    )  # fmt: skip


def read(
    folder: Path, nodes: list[Any], weights: list[Any], inputs: list[Any] | None = None, opset: int = 17, **options: Any
) -> Imported:
    graph = onnx.helper.make_graph(nodes, "g", inputs or [value("x", 2, 8)], [value("y", None, None)], weights)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)]), folder / "m.onnx")
    return import_trace(folder / "m.onnx", options=ImportOptions(**options))


def products(found: Imported) -> int:
    return sum(op.flops for op in found.trace.ops if op.kind in (OpKind.LINEAR, OpKind.MATMUL))


PLAIN = [node("MatMul", "v m", "w")]


@pytest.mark.parametrize("inside", [True, False])
def test_a_loop_runs_its_trips_on_one_weight(tmp_path: Path, inside: bool) -> None:
    own, outer = ([square("m")], []) if inside else ([], [square("m")])
    nodes = [node("Loop", "n _ x", "y", body=loop_body(PLAIN, own))]
    found = read(tmp_path, nodes, [tensor("n", np.array(5)), *outer])
    assert products(found) == 5 * A_TRIP
    assert len({op.weight for op in found.trace.ops}) == 1 and not any("loop" in note for note in found.notes)
    assert [len(op.deps) for op in found.trace.ops] == [0, 1, 1, 1, 1]


def test_weights_that_a_body_transforms_are_one_weight(tmp_path: Path) -> None:
    body = loop_body([node("Transpose", "m", "t", perm=[1, 0]), node("MatMul", "v t", "w")], [square("m")])
    found = read(tmp_path, [node("Loop", "n _ x", "y", body=body)], [tensor("n", np.array(3))])
    assert (products(found), len({op.weight for op in found.trace.ops})) == (3 * A_TRIP, 1)


def test_trips_that_follow_from_a_shape_are_inferred(tmp_path: Path) -> None:
    nodes = [node("Shape", "s", "dims"), node("Gather", "dims first", "n"),
             node("Loop", "n _ x", "y", body=loop_body(PLAIN))]  # fmt: skip
    inputs = [value("x", 2, 8), value("s", "length", 4)]
    found = read(tmp_path, nodes, [tensor("first", np.array(0)), square("m")], inputs, dims={"length": 7})
    assert products(found) == 7 * A_TRIP


@pytest.mark.parametrize("opset", [11, 17])
def test_results_of_each_trip_are_stacked(tmp_path: Path, opset: int) -> None:
    body = loop_body([*PLAIN, node("Identity", "w", "row")], outputs=[value("row", 2, 8)])
    nodes = [node("Loop", "n _ x", "last rows", body=body), node("MatMul", "rows m", "y")]
    found = read(tmp_path, nodes, [tensor("n", np.array(4)), square("m")], opset=opset)
    assert products(found) == (4 + 4) * A_TRIP


def test_a_scan_walks_over_its_slices(tmp_path: Path) -> None:
    body = onnx.helper.make_graph(
        [node("MatMul", "part m", "p"), node("Add", "p v", "w"), node("Identity", "w", "row")], "body",
        [value("v", 2, 8), value("part", 2, 8)], [value("w", 2, 8), value("row", 2, 8)],
    )  # fmt: skip
    nodes = [node("Scan", "x s", "last rows", body=body, num_scan_inputs=1, scan_input_axes=[1]),
             node("Identity", "rows", "y")]  # fmt: skip
    found = read(tmp_path, nodes, [square("m")], [value("x", 2, 8), value("s", 2, 6, 8)])
    assert products(found) == 6 * A_TRIP
    assert not any(op.label == "gather" for op in found.trace.ops)


def test_loops_in_loops_multiply(tmp_path: Path) -> None:
    inner = onnx.helper.make_graph(
        [node("Identity", "d", "e"), node("MatMul", "u m", "t")], "inner",
        [value("j", type_=INT), value("d", type_=BOOL), value("u", 2, 8)],
        [value("e", type_=BOOL), value("t", 2, 8)],
    )  # fmt: skip
    body = loop_body([node("Loop", "n _ v", "w", body=inner)])
    found = read(tmp_path, [node("Loop", "n _ x", "y", body=body)], [tensor("n", np.array(3)), square("m")])
    assert products(found) == 9 * A_TRIP


def branch(count: int) -> Any:
    nodes = [node("MatMul", f"{'x' if not i else f'b{count}_{i - 1}'} m", f"b{count}_{i}") for i in range(count)]
    return onnx.helper.make_graph(nodes, "branch", [], [value(f"b{count}_{count - 1}", 2, 8)])


@pytest.mark.parametrize(("condition", "runs"), [(True, 1), (False, 2), (None, 2)])
def test_a_branch_runs_once(tmp_path: Path, condition: bool | None, runs: int) -> None:
    weights = [square("m")] + ([] if condition is None else [tensor("f", np.array(condition))])
    inputs = [value("x", 2, 8)] + ([value("f", type_=BOOL)] if condition is None else [])
    nodes = [node("If", "f", "y", then_branch=branch(1), else_branch=branch(2))]
    found = read(tmp_path, nodes, weights, inputs)
    assert products(found) == runs * A_TRIP
    assert any("more products" in note for note in found.notes) == (condition is None)


def test_a_loop_that_ends_by_its_condition_takes_its_trips_by_name(tmp_path: Path) -> None:
    body = onnx.helper.make_graph(
        [*PLAIN, node("ReduceMax", "w", "top", keepdims=0), node("Less", "top top", "k")], "body",
        [value("i", type_=INT), value("c", type_=BOOL), value("v", 2, 8)], [value("k", type_=BOOL), value("w", 2, 8)],
    )  # fmt: skip
    nodes = [node("Loop", "_ on x", "z", body=body), node("Relu", "x", "y")]
    weights = [tensor("on", np.array(True)), square("m")]
    unknown = read(tmp_path, nodes, weights)
    assert products(unknown) == 0 and any("loops of unknown length is not counted" in note for note in unknown.notes)
    assert products(read(tmp_path, nodes, weights, dims={"Loop_z": 6})) == 6 * A_TRIP


def test_a_limit_bounds_what_is_written_out(tmp_path: Path) -> None:
    nodes = [node("Loop", "n _ x", "y", body=loop_body(PLAIN))]
    weights = [tensor("n", np.array(10**9)), square("m")]
    with pytest.raises(TraceError, match="1000000000 trips of 2 nodes, more than 20000 nodes with loops written out"):
        read(tmp_path, nodes, weights)
    weights[0] = tensor("n", np.array(40))
    with pytest.raises(TraceError, match="more than 100 nodes with loops written out; raise the limit"):
        read(tmp_path, nodes, weights, limits=Limits(values=100))


def test_ops_of_recurrent_layers_count_against_the_limit(tmp_path: Path) -> None:
    """Each is 2 ops per step."""
    nodes = [node("LSTM", "x u r", f"y{i}", hidden_size=1) for i in range(4)]
    weights = [tensor("u", np.ones((1, 4, 8), np.float32)), tensor("r", np.ones((1, 4, 1), np.float32))]
    inputs = [value("x", 30, 1, 8)]
    assert len(read(tmp_path, nodes, weights, inputs).trace.ops) == 4 * 61
    with pytest.raises(TraceError, match="more than the limit of 100; raise it with limit values"):
        read(tmp_path, nodes, weights, inputs, limits=Limits(values=100))
