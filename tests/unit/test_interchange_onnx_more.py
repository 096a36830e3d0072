# SPDX-License-Identifier: Apache-2.0
"""Operators of ONNX beside products: operations and bytes of weights by arithmetic, nothing left as ``other``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simsparse.core import OpKind
from simsparse.trace.interchange import import_trace

onnx = pytest.importorskip("onnx")
Shape = tuple[int, ...]


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


HALF_FFT = 5 * 64 * 6 / 2
"""Of 64 real points."""
CASES: dict[str, tuple[str, int, dict[str, Shape], Shape, dict[str, Any], dict[str, Any], float, int]] = {
    # operator, opset, inputs, result, weights, attributes, FLOPs, bytes of weights
    "DFT of an input's axis": ("DFT", 20, {"x": (2, 64, 1)}, (2, 64, 2), {"_": 0, "a": np.array(1)}, {}, 2 * HALF_FFT,
                               0),
    "DFT of an attribute's axis": ("DFT", 17, {"x": (2, 3, 32, 2)}, (2, 3, 32, 2), {}, {"axis": 2},
                                   6 * 5 * 32 * 5, 0),
    "DFT onesided": ("DFT", 17, {"x": (2, 64, 1)}, (2, 33, 2), {}, {"onesided": 1}, 2 * HALF_FFT, 0),
    "STFT": ("STFT", 17, {"x": (2, 256, 1)}, (2, 13, 33, 2), {"s": np.array(16), "w": ones(64)}, {},
             26 * (HALF_FFT + 64), 0),
    "GridSample": ("GridSample", 21, {"x": (1, 3, 8, 8), "g": (1, 4, 5, 2)}, (1, 3, 4, 5), {}, {"mode": "linear"},
                   2 * 4 * 60, 0),
    "GridSample, cubic": ("GridSample", 21, {"x": (1, 3, 8, 8), "g": (1, 4, 5, 2)}, (1, 3, 4, 5), {},
                          {"mode": "cubic"}, 2 * 16 * 60, 0),
    "RoiAlign": ("RoiAlign", 21, {"x": (1, 3, 32, 32), "r": (5, 4)}, (5, 3, 7, 7), {"b": np.zeros(5, np.int64)},
                 {"output_height": 7, "output_width": 7, "sampling_ratio": 3}, 2 * 4 * 9 * 735, 0),
    "Det": ("Det", 21, {"x": (2, 6, 6)}, (2,), {}, {}, 2 * 2 / 3 * 216, 0),
    "LRN": ("LRN", 21, {"x": (1, 6, 4, 4)}, (1, 6, 4, 4), {}, {"size": 5}, 8 * 96, 0),
    "DeformConv": ("DeformConv", 21, {"x": (1, 4, 8, 8)}, (1, 5, 6, 6),
                   {"w": ones(5, 4, 3, 3), "o": ones(1, 18, 6, 6)}, {}, 2 * 5 * 36 * 36 + 8 * 4 * 9 * 36, 4 * 180),
    "LinearAttention": ("LinearAttention", 27, {"q": (2, 7, 32), "k": (2, 7, 16), "v": (2, 7, 20)}, (2, 7, 40), {},
                        {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": "gated"}, 5 * 2 * 7 * 20 * 8, 0),
    "LinearAttention, delta": ("LinearAttention", 27, {"q": (2, 7, 16), "k": (2, 7, 16), "v": (2, 7, 20)}, (2, 7, 20),
                               {}, {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "delta"},
                               7 * 2 * 7 * 20 * 8, 0),
    "CausalConvWithState": ("CausalConvWithState", 27, {"x": (2, 6, 9)}, (2, 6, 9), {"w": ones(6, 1, 4)}, {},
                            2 * 2 * 6 * 9 * 4, 4 * 24),
    "Einsum without a product": ("Einsum", 21, {"x": (4, 5)}, (5, 4), {}, {"equation": "ij->ji"}, 0, 0),
    "BitwiseXor": ("BitwiseNot", 21, {"x": (3, 4)}, (3, 4), {}, {}, 12, 0),
    "RandomNormalLike": ("RandomNormalLike", 21, {"x": (3, 4)}, (3, 4), {}, {}, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operations_are_those_of_the_definition(tmp_path: Path, name: str) -> None:
    kind, opset, inputs, output, weights, attrs, flops, weight_bytes = CASES[name]
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip("this version of onnx does not know it")
    element = 6 if kind.startswith("Bitwise") else 1
    names = list(inputs)[:2] + list(weights) + list(inputs)[2:] if kind != "DeformConv" else ["x", "w", "o"]
    results = ["y", "state"] if opset > 21 else ["y"]
    node = onnx.helper.make_node(kind, ["" if each == "_" else each for each in names], results, **attrs)
    graph = onnx.helper.make_graph(
        [node], "g", [onnx.helper.make_tensor_value_info(each, element, shape) for each, shape in inputs.items()],
        [onnx.helper.make_tensor_value_info("y", element, output)],
        [onnx.numpy_helper.from_array(array, each) for each, array in weights.items() if each != "_"],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    onnx.save(model, tmp_path / "m.onnx")
    trace = import_trace(tmp_path / "m.onnx").trace
    assert math.isclose(trace.flops, flops, abs_tol=0.5) and trace.weight_bytes == weight_bytes
    assert all(op.kind != OpKind.OTHER for op in trace.ops)


def test_values_of_a_sequence_keep_their_shapes(tmp_path: Path) -> None:
    make = onnx.helper.make_node
    nodes = [make("SequenceConstruct", ["x", "x"], ["s"]), make("SequenceAt", ["s", "i"], ["a"]),
             make("MatMul", ["a", "w"], ["y"])]  # fmt: skip
    values = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", [3, 4]), ("y", [3, 5]))]
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in (("i", np.array(1)), ("w", ones(4, 5)))]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", values[:1], values[1:], weights)),
              tmp_path / "m.onnx")  # fmt: skip
    (op,) = import_trace(tmp_path / "m.onnx").trace.ops
    assert (op.kind, dict(op.dims)) == (OpKind.LINEAR, {"m": 3, "n": 5, "k": 4})
