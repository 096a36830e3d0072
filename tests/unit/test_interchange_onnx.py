# SPDX-License-Identifier: Apache-2.0
"""ONNX models as traces: products by closed form, weights measured, damage refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simsparse.core import OpKind
from simsparse.errors import TraceError
from simsparse.trace.interchange import ImportOptions, import_trace

onnx = pytest.importorskip("onnx")
FLOAT = 1


def value(name: str, *shape: int | str) -> Any:
    return onnx.helper.make_tensor_value_info(name, FLOAT, list(shape))


def weight(name: str, array: np.ndarray[Any, Any]) -> Any:
    return onnx.numpy_helper.from_array(array.astype(np.float32), name)


def node(kind: str, inputs: str, output: str, **attrs: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), [output], name=f"{kind.lower()}_{output}", **attrs)


def save(folder: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> Path:
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, weights)
    path = folder / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), str(path))
    return path


def two_four(rows: int, cols: int) -> np.ndarray[Any, Any]:
    """Two of every four along the columns."""
    return np.tile(np.array([1.0, 0.0, 2.0, 0.0]), (rows, cols // 4))


def small(folder: Path) -> Path:
    weights = [weight("conv_w", np.ones((8, 2, 3, 3))), weight("fc_w", two_four(10, 8)), weight("fc_b", np.zeros(10)),
               weight("mm_w", two_four(6, 12).T)]  # fmt: skip
    nodes = [
        node("Conv", "x conv_w", "a", group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("GlobalAveragePool", "b", "c"),
        node("Flatten", "c", "d"),
        node("Gemm", "d fc_w fc_b", "e", transB=1),
        node("Transpose", "mm_w", "t", perm=[1, 0]),
        node("MatMul", "y t", "f"),
        node("Transpose", "f", "g", perm=[1, 0]),
        node("MatMul", "f g", "h"),
        node("Softmax", "h", "i"),
    ]
    inputs = [value("x", "batch", 4, 16, 16), value("y", 5, 6)]
    return save(folder, nodes, inputs, [value("e", "batch", 10), value("i", 5, 5)], weights)


def test_an_onnx_model_becomes_ops_with_measured_weights(tmp_path: Path) -> None:
    found = import_trace(small(tmp_path), options=ImportOptions(dims={"batch": 3}))
    by_name = {op.name: op for op in found.trace.ops}
    conv = by_name["conv_a"]
    assert dict(conv.dims) == {"batch": 3, "c_in": 4, "c_out": 8, "h_in": 16, "w_in": 16, "h_out": 8, "w_out": 8,
                               "kh": 3, "kw": 3, "groups": 2}  # fmt: skip
    assert (conv.weight, conv.stats["density"], conv.weight_sparsity.is_dense) == ("conv_w", 1.0, True)
    gemm = by_name["gemm_e"]
    assert (dict(gemm.dims), str(gemm.weight_sparsity)) == ({"m": 3, "n": 10, "k": 8}, "2:4")
    assert gemm.stats["density"] == 0.5 and "2:4" in gemm.stats["nm"]
    assert gemm.deps == ("globalaveragepool_c",)


def test_nodes_on_weights_alone_are_folded_and_activations_multiply_as_matmuls(tmp_path: Path) -> None:
    found = import_trace(small(tmp_path), options=ImportOptions(dims={"batch": 1}))
    by_name = {op.name: op for op in found.trace.ops}
    assert "transpose_t" not in by_name
    assert (by_name["matmul_f"].kind, by_name["matmul_f"].dims) == (OpKind.LINEAR, {"m": 5, "n": 12, "k": 6})
    assert any("transform first" in note for note in found.notes)
    assert by_name["matmul_h"].dims == {"batch": 1, "m": 5, "n": 5, "k": 12}
    assert by_name["matmul_h"].deps == ("matmul_f", "transpose_g")
    assert by_name["softmax_i"].flops == 5 * 25


def test_a_weight_on_the_right_is_measured_along_its_reduction(tmp_path: Path) -> None:
    path = save(tmp_path, [node("MatMul", "x w", "y")], [value("x", 2, 3, 8)], [value("y", 2, 3, 6)],
                [weight("w", two_four(6, 8).T)])  # fmt: skip
    (op,) = import_trace(path).trace.ops
    assert (dict(op.dims), str(op.weight_sparsity)) == ({"m": 6, "n": 6, "k": 8}, "2:4")


def test_an_unknown_operator_is_kept_with_its_bytes(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a"), node("Det", "a", "y")]
    path = save(tmp_path, nodes, [value("x", 7, 4, 4)], [value("y", 7)], [])
    found = import_trace(path)
    assert (found.trace.ops[1].kind, found.trace.ops[1].min_bytes) == (OpKind.OTHER, 4 * (7 * 16 + 7))
    assert any("Det" in note for note in found.notes)


def test_a_dim_without_size_names_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"model\.onnx: input x: dim batch has no size; give one, such as batch=1"):
        import_trace(small(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95pickle", b"\x08", b"{}"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"model\.onnx"):
        import_trace(path)


def test_a_weight_whose_bytes_are_missing_is_refused(tmp_path: Path) -> None:
    model = onnx.load(str(small(tmp_path)))
    model.graph.initializer[0].raw_data = b"\x00" * 8
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    with pytest.raises(TraceError, match="conv_w is damaged"):
        import_trace(path, options=ImportOptions(dims={"batch": 1}))


def test_sizes_that_lie_take_no_memory(tmp_path: Path) -> None:
    model = onnx.load(str(small(tmp_path)))
    model.graph.initializer[0].dims[0] = 2**50
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    with pytest.raises(TraceError, match=r"model\.onnx: "):
        import_trace(path, options=ImportOptions(dims={"batch": 1}))


def test_damaged_models_end_in_a_trace_or_a_trace_error(tmp_path: Path) -> None:
    content, rng, refused = small(tmp_path).read_bytes(), random.Random(0), 0
    path = tmp_path / "model.onnx"
    for _ in range(150):
        spoilt = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        path.write_bytes(spoilt if rng.random() < 0.7 else spoilt[: rng.randrange(len(spoilt))])
        try:
            import_trace(path, options=ImportOptions(dims={"batch": 1}))
        except TraceError as error:
            assert "model.onnx" in str(error)
            refused += 1
    assert refused > 30
