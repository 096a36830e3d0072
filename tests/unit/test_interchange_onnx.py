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
    assert not any("as dense" in note for note in found.notes) and by_name["matmul_f"].stats["density"] == 0.5
    assert by_name["matmul_h"].dims == {"batch": 1, "m": 5, "n": 5, "k": 12}
    assert by_name["matmul_h"].deps == ("matmul_f", "transpose_g")
    assert by_name["softmax_i"].flops == 5 * 25


def test_a_weight_on_the_right_is_measured_along_its_reduction(tmp_path: Path) -> None:
    path = save(tmp_path, [node("MatMul", "x w", "y")], [value("x", 2, 3, 8)], [value("y", 2, 3, 6)],
                [weight("w", two_four(6, 8).T)])  # fmt: skip
    (op,) = import_trace(path).trace.ops
    assert (dict(op.dims), str(op.weight_sparsity)) == ({"m": 6, "n": 6, "k": 8}, "2:4")


MS = "com.microsoft"


def graph(
    folder: Path, nodes: list[Any], inputs: dict[str, tuple[int, ...]], output: tuple[int, ...] | None,
    weights: dict[str, np.ndarray[Any, Any]], opset: int = 21, functions: list[Any] | None = None,
) -> Path:  # fmt: skip
    """A model whose last node writes ``y``."""
    made = onnx.helper.make_graph(
        nodes, "g", [value(name, *shape) for name, shape in inputs.items()],
        [value("y", *output) if output else onnx.helper.make_tensor_value_info("y", FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    domains = [onnx.helper.make_opsetid(domain, version) for domain, version in (("", opset), (MS, 1), ("own", 1))]
    model = onnx.helper.make_model(made, opset_imports=domains, functions=functions or [])
    model.ir_version = 10
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


def ones(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, np.float32)


def make(kind: str, inputs: str, output: str = "y", domain: str = "", **attrs: Any) -> Any:
    return onnx.helper.make_node(kind, ["" if name == "_" else name for name in inputs.split()], output.split(),
                                 domain=domain, **attrs)  # fmt: skip


PRODUCTS = {
    "ConvTranspose": (make("ConvTranspose", "x w b", strides=[2], group=2), {"x": (2, 4, 9)}, (2, 6, 19),
                      {"w": ones(4, 3, 3), "b": ones(6)}, 2 * 2 * 9 * 3 * 4 * 3, 4 * (4 * 3 * 3 + 6)),
    "Conv": (make("Conv", "x w", dilations=[2, 1, 1]), {"x": (1, 2, 6, 5, 5)}, (1, 3, 2, 3, 3),
             {"w": ones(3, 2, 3, 3, 3)}, 2 * 18 * 3 * 54, 4 * 3 * 54),
    "Einsum": (make("Einsum", "x w", equation="...sd,dhe->...hse"), {"x": (2, 5, 7, 8)}, (2, 5, 3, 7, 4),
               {"w": ones(8, 3, 4)}, 2 * 70 * 8 * 12, 4 * 96),
    "Einsum of three": (make("Einsum", "x v w", equation="ab,bc,cd->ad"), {"x": (5, 6)}, (5, 8),
                        {"v": ones(6, 7), "w": ones(7, 8)}, 2 * 5 * 7 * (6 + 8), 4 * 7 * (6 + 8)),
    "Einsum of activations": (make("Einsum", "x z", equation="bhqd,bhkd->bhqk"), {"x": (2, 3, 4, 8), "z": (2, 3, 6, 8)},
                              (2, 3, 4, 6), {}, 2 * 6 * 24 * 8, 0),
    "LSTM": (make("LSTM", "x w r b", hidden_size=6, direction="bidirectional", layout=1), {"x": (3, 4, 5)},
             (3, 4, 2, 6), {"w": ones(2, 24, 5), "r": ones(2, 24, 6), "b": ones(2, 48)},
             2 * 2 * 12 * 24 * 11 + 9 * 2 * 12 * 6, 4 * 2 * (24 * 5 + 24 + 4 * (24 * 6 + 24))),
    "GRU": (make("GRU", "x w r", hidden_size=6), {"x": (7, 1, 5)}, (7, 1, 1, 6),
            {"w": ones(1, 18, 5), "r": ones(1, 18, 6)}, 2 * 7 * 18 * 11 + 8 * 7 * 6, 4 * (90 + 7 * 108)),
    "RNN": (make("RNN", "x w r", hidden_size=6), {"x": (7, 2, 5)}, (7, 1, 2, 6),
            {"w": ones(1, 6, 5), "r": ones(1, 6, 6)}, 2 * 14 * 6 * 11 + 2 * 14 * 6, 4 * (30 + 7 * 36)),
    "Attention": (make("Attention", "x k v _ p q", q_num_heads=4, kv_num_heads=2),
                  {"x": (1, 5, 32), "k": (1, 5, 16), "v": (1, 5, 16), "p": (1, 2, 7, 8), "q": (1, 2, 7, 8)},
                  (1, 5, 32), {}, 2 * 4 * 5 * 12 * 16, 0),
    "Attention, causal": (make("Attention", "x k v", is_causal=1), {"x": (1, 2, 3, 8), "k": (1, 2, 9, 8),
                          "v": (1, 2, 9, 8)}, (1, 2, 3, 8), {}, 2 * 2 * 6 * 16, 0),
    "GroupQueryAttention": (make("GroupQueryAttention", "x k v p q _ _", domain=MS, num_heads=4, kv_num_heads=2),
                            {"x": (2, 1, 32), "k": (2, 1, 16), "v": (2, 1, 16), "p": (2, 2, 9, 8), "q": (2, 2, 9, 8)},
                            (2, 1, 32), {}, 2 * 2 * 4 * 10 * 16, 0),
    "Packed attention": (make("Attention", "x w b", domain=MS, num_heads=2), {"x": (2, 6, 8)}, (2, 6, 8),
                         {"w": ones(8, 24), "b": ones(24)}, 2 * 12 * 8 * 24 + 2 * 2 * 2 * 36 * 8, 4 * (192 + 24)),
    "MatMulNBits": (make("MatMulNBits", "x w s", domain=MS, K=64, N=24, bits=8, block_size=16), {"x": (3, 5, 64)},
                    (3, 5, 24), {"w": np.ones((24, 4, 16), np.uint8), "s": ones(96)}, 2 * 15 * 64 * 24, 64 * 24),
    "Broadcast": (make("MatMul", "x z"), {"x": (2, 1, 4, 8), "z": (3, 8, 5)}, (2, 3, 4, 5), {}, 2 * 6 * 160, 0),
    "One weight each": (make("MatMul", "x w"), {"x": (2, 3, 4, 8)}, (2, 3, 4, 5), {"w": ones(3, 8, 5)}, 2 * 6 * 160,
                        4 * 120),
    "One input, many weights": (make("MatMul", "x w"), {"x": (4, 8)}, (3, 4, 5), {"w": ones(3, 8, 5)}, 2 * 3 * 160,
                                4 * 120),
    "Left, turned": (make("Gemm", "w x c", transA=1), {"x": (8, 5), "c": (4, 5)}, (4, 5), {"w": ones(8, 4)},
                     2 * 160 + 20, 4 * 32),
    "Vector": (make("MatMul", "x w"), {"x": (8,)}, (5,), {"w": ones(8, 5)}, 2 * 40, 4 * 40),
    "FusedMatMul": (make("FusedMatMul", "x w", domain=MS, transB=1), {"x": (2, 3, 8)}, (2, 3, 5), {"w": ones(5, 8)},
                    2 * 6 * 40, 4 * 40),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_and_weights_of_an_operator_are_those_of_its_definition(tmp_path: Path, name: str) -> None:
    node, inputs, output, weights, flops, weight_bytes = PRODUCTS[name]
    trace = import_trace(graph(tmp_path, [node], inputs, output, weights, 23)).trace
    assert (trace.flops, trace.weight_bytes) == (flops, weight_bytes)


@pytest.mark.parametrize("kind", ["MoE", "QMoE"])
@pytest.mark.parametrize("gate", ["none", "joined", "apart"])
def test_a_mixture_of_the_runtime_is_a_moe_ffn(tmp_path: Path, kind: str, gate: str) -> None:
    """Six experts of 8 x 16, two per token; of QMoE two codes of 4 bits per byte, with scales."""
    d_ff, ups = 16, 2 if gate == "joined" else 1
    shapes = {"u": (6, ups * d_ff, 8), "d": (6, 8, d_ff), "g": (6, d_ff, 8)}
    if kind == "QMoE":
        weights = {name: np.ones((e, n, k // 2), np.uint8) for name, (e, n, k) in shapes.items()}
        weights |= {"s": ones(6, ups * d_ff), "t": ones(6, 8)}
        inputs, more = "x r u s _ d t _", {"expert_weight_bits": 4}
    else:
        weights, inputs, more = {name: ones(*shape) for name, shape in shapes.items()}, "x r u _ d _", {}
    node = make(kind, inputs + (" g" if gate == "apart" else ""), domain=MS, k=2, **more)
    found = import_trace(graph(tmp_path, [node], {"x": (5, 8), "r": (5, 6)}, (5, 8), weights))
    (op,) = found.trace.ops
    assert op.dims == {"tokens": 5, "d_model": 8, "d_ff": 16, "experts": 6, "top_k": 2, "gated": int(gate != "none")}
    assert op.resident_bytes == 6 * 8 * 16 * (3 if gate != "none" else 2) * (0.5 if kind == "QMoE" else 4)
    assert any("drawn uniformly" in note for note in found.notes)


def test_shapes_go_on_behind_operators_that_onnx_does_not_know(tmp_path: Path) -> None:
    nodes = [
        make("SimplifiedLayerNormalization", "x scale", "a"),
        make("MatMulNBits", "a w s", "b", MS, K=32, N=64, bits=4, block_size=16),
        make("GroupQueryAttention", "b _ _ p q", "c k v", MS, num_heads=4, kv_num_heads=2, do_rotary=1),
        make("SkipSimplifiedLayerNormalization", "c x scale", "d _ _ sum", MS), make("FastGelu", "sum", "e", MS),
        make("FusedMatMul", "e m", "f", MS), make("MatMul", "f n"),
    ]  # fmt: skip
    weights = {"w": np.ones((64, 2, 8), np.uint8), "s": ones(128), "scale": ones(32), "m": ones(32, 12),
               "n": ones(12, 8)}  # fmt: skip
    found = import_trace(
        graph(tmp_path, nodes, {"x": (1, 3, 32), "p": (1, 2, 0, 8), "q": (1, 2, 0, 8)}, None, weights, 17)
    )
    assert [op.kind for op in found.trace.ops] == [
        "elementwise", "linear", "attention", "elementwise", "elementwise", "linear", "linear",
    ]  # fmt: skip
    assert found.trace.ops[2].dims["q_len"] == found.trace.ops[2].dims["kv_len"] == 3
    assert dict(found.trace.ops[-1].dims) == {"m": 3, "n": 8, "k": 12}
    assert not any("left out: nodes" in note for note in found.notes)


def test_the_same_name_in_another_domain_means_nothing(tmp_path: Path) -> None:
    (op,) = import_trace(
        graph(tmp_path, [make("MatMul", "x w", domain="own")], {"x": (4, 8)}, (4, 5), {"w": ones(8, 5)})
    ).trace.ops
    assert op.kind == OpKind.OTHER


def test_quantised_weights_keep_their_type_and_zeros_are_at_the_zero_point(tmp_path: Path) -> None:
    pruned = np.tile(np.array([7, 3, 7, 9], np.uint8), (6, 4))
    nodes = [make("DequantizeLinear", "q s z", "d", axis=0), make("Transpose", "d", "w", perm=[1, 0]),
             make("MatMul", "x w")]  # fmt: skip
    weights = {"q": pruned, "s": ones(6), "z": np.full(6, 7, np.uint8)}
    (op,) = import_trace(graph(tmp_path, nodes, {"x": (2, 16)}, (2, 6), weights)).trace.ops
    assert (op.weight_dtype, str(op.weight_sparsity), op.stats["density"]) == ("int8", "2:4", 0.5)
    assert dict(op.dims) == {"m": 2, "n": 6, "k": 16}


def test_two_dequantised_operands_multiply_in_their_stored_type(tmp_path: Path) -> None:
    nodes = [make("QuantizeLinear", "x s z", "a"), make("DequantizeLinear", "a s z", "b"),
             make("DequantizeLinear", "q s", "w"), make("MatMul", "b w")]  # fmt: skip
    weights = {"q": np.ones((16, 8), np.int8), "s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    found = import_trace(graph(tmp_path, nodes, {"x": (2, 16)}, (2, 8), weights))
    op = found.trace.ops[-1]
    assert (op.dtype, op.w_dtype, op.out_dtype) == ("int8", "int8", "fp32")
    assert any("stored type" in note for note in found.notes)


@pytest.mark.parametrize("kind", ["QLinearMatMul", "MatMulInteger"])
def test_integer_products_have_integer_weights(tmp_path: Path, kind: str) -> None:
    inputs = "q xs xz w ws wz ys yz" if kind == "QLinearMatMul" else "q w"
    nodes = [make("QuantizeLinear", "x xs xz", "q"), make(kind, inputs, "i"), make("Cast", "i", "y", to=FLOAT)]
    weights = {name: np.array(1, np.float32) for name in ("xs", "ws", "ys")}
    weights |= {name: np.array(0, np.int8) for name in ("xz", "wz", "yz")} | {"w": np.ones((16, 8), np.int8)}
    op = import_trace(graph(tmp_path, nodes, {"x": (2, 16)}, (2, 8), weights)).trace.ops[1]
    assert (op.kind, op.dtype, op.w_dtype, op.weight_bytes) == (OpKind.LINEAR, "int8", "int8", 128)


def test_a_constant_node_is_a_weight(tmp_path: Path) -> None:
    held = onnx.numpy_helper.from_array(two_four(6, 8).T.astype(np.float32), "held")
    nodes = [make("Constant", "", "w", value=held), make("MatMul", "x w")]
    (op,) = import_trace(graph(tmp_path, nodes, {"x": (2, 8)}, (2, 6), {})).trace.ops
    assert (op.kind, str(op.weight_sparsity), op.weight) == (OpKind.LINEAR, "2:4", "w")


def test_rows_of_an_embedding_are_read_and_its_table_is_held(tmp_path: Path) -> None:
    nodes = [make("Cast", "x", "i", to=7), make("Gather", "t i")]
    op = import_trace(graph(tmp_path, nodes, {"x": (2, 3)}, (2, 3, 16), {"t": ones(500, 16)})).trace.ops[1]
    assert (op.kind, op.weight, op.resident_bytes, op.weight_bytes) == ("gather", "t", 500 * 64, 6 * 64)


def function(name: str, nodes: list[Any]) -> Any:
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("own", 1)]
    return onnx.helper.make_function("own", name, ["a"], ["b"], nodes, opsets)


def test_functions_are_written_out(tmp_path: Path) -> None:
    twice = function("twice", [make("Relu", "a", "c"), make("Relu", "c", "b")])
    four = function("four", [make("twice", "a", "c", "own"), make("twice", "c", "b", "own")])
    path = graph(tmp_path, [make("four", "x", "y", "own")], {"x": (4,)}, (4,), {}, functions=[twice, four])
    assert [op.label for op in import_trace(path).trace.ops] == ["relu"] * 4


def test_functions_that_grow_without_end_or_call_themselves_are_refused(tmp_path: Path) -> None:
    steps = [function("f0", [make("Relu", "a", "b")])]
    steps += [
        function(f"f{i}", [make(f"f{i - 1}", "a", "c", "own"), make(f"f{i - 1}", "c", "b", "own")])
        for i in range(1, 41)
    ]
    doubling = graph(tmp_path, [make("f40", "x", "y", "own")], {"x": (4,)}, (4,), {}, functions=steps)
    with pytest.raises(TraceError, match="more than 20000 nodes with functions written out"):
        import_trace(doubling)
    itself = function("f", [make("g", "a", "b", "own")]), function("g", [make("f", "a", "b", "own")])
    with pytest.raises(TraceError, match="calls itself"):
        import_trace(graph(tmp_path, [make("f", "x", "y", "own")], {"x": (4,)}, (4,), {}, functions=list(itself)))


def test_nodes_are_put_in_order_and_a_circle_is_named(tmp_path: Path) -> None:
    late = [make("Relu", "a"), make("Abs", "x", "a")]
    assert [op.label for op in import_trace(graph(tmp_path, late, {"x": (4,)}, (4,), {})).trace.ops] == ["abs", "relu"]
    circle = [make("Add", "x c", "b", name="first"), make("Relu", "b", "c", name="second"), make("Relu", "b")]
    with pytest.raises(TraceError, match="depend on each other in a circle: first, second"):
        import_trace(graph(tmp_path, circle, {"x": (4,)}, (4,), {}))


def test_an_unknown_operator_is_kept_with_its_bytes(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a"), node("Det", "a", "y", domain="own")]
    path = graph(tmp_path, nodes, {"x": (7, 4, 4)}, (7,), {})
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
