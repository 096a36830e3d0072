# SPDX-License-Identifier: Apache-2.0
"""Shapes of an ONNX model: onnx's own inference, on a copy in which operators that it does not know have stand-ins.

Functions are written out first, and weights are left out. Operators of the domain com.microsoft (source: ONNX
Runtime, ContribOperators.md) are replaced, for the inference alone, by standard ones whose result has the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simsparse.errors import TraceError
from simsparse.trace.interchange import onnx_names as names
from simsparse.trace.interchange.base import ImportOptions, Notes, printable
from simsparse.trace.interchange.onnx_control import WrittenOut
from simsparse.trace.interchange.onnx_nodes import constant, node_of, nodes_within

SPLIT_COUNTS = 18
"""The opset from which Split takes num_outputs."""
SMALL = 4096
"""Elements of an initializer that may be a shape, and is kept for the inference."""


def inferred(model: Any, options: ImportOptions, notes: Notes) -> tuple[list[Any], Any, WrittenOut]:
    """The nodes in order, functions and loops written out, a graph with the shapes of their values, what was written.

    The dims that the options name are set. Raises TraceError when functions or nodes depend on each other in a circle,
    grow beyond the limit of values, or no shapes can be found.
    """
    import onnx
    from onnx import inliner, shape_inference

    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in options.dims:
                dim.dim_value = options.dims[dim.dim_param]
    _check_functions(model, options.limits.values)

    def shaped(light: Any, nodes: list[Any]) -> Any:
        return shape_inference.infer_shapes(_stand_in(light, nodes), data_prop=True).graph

    try:
        light = _without_weights(model)
        if light.functions:
            light = inliner.inline_local_functions(light)
        written = WrittenOut(light, options, notes)
        written.all(lambda probed: shaped(probed, ordered(probed.graph.node)))
        nodes = ordered(light.graph.node)
        return nodes, shaped(light, nodes), written
    except (shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, TypeError) as error:
        raise TraceError(f"shapes can't be inferred: {error!s:.200}") from error


def _without_weights(model: Any) -> Any:
    """The model with inputs in place of all initializers but the small ones, which may be shapes."""
    import onnx

    light = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name or "graph"
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    light.graph.value_info.extend(model.graph.value_info)
    given = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL and tensor.data_location != 1:
            light.graph.initializer.append(tensor)
        elif tensor.name not in given:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for sparse in model.graph.sparse_initializer:
        name, type_ = sparse.values.name, sparse.values.data_type
        light.graph.input.append(onnx.helper.make_tensor_value_info(name, type_, sparse.dims))
    return light


def _check_functions(model: Any, most: int) -> None:
    """Raises TraceError when the functions would not end, or make more than ``most`` nodes."""
    functions = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    pending = list(functions)
    opened: list[tuple[str, str]] = []
    while pending:
        key = pending[-1]
        if key in sizes:
            pending.pop()
            continue
        called = [(node.domain, node.op_type) for node in nodes_within(functions[key].node)]
        unknown = list(dict.fromkeys(each for each in called if each in functions and each not in sizes))
        if unknown and key in opened:
            raise TraceError(f"function {printable(key[1], 60)} calls itself", key="functions")
        if unknown:
            opened.append(key)
            pending += unknown
            continue
        sizes[key] = min(sum(sizes.get(each, 1) for each in called), most + 1)
        pending.pop()
        opened = [each for each in opened if each != key]
    total = sum(sizes.get((node.domain, node.op_type), 1) for node in nodes_within(model.graph.node))
    if total > most:
        raise TraceError(f"more than {most} nodes with functions written out", key="graph")


def ordered(nodes: Sequence[Any]) -> list[Any]:
    """Every node after those whose results it reads. Raises TraceError naming nodes that wait for each other."""
    writers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    waiting, users = [0] * len(nodes), [[] for _ in nodes]  # type: tuple[list[int], list[list[int]]]
    for i, node in enumerate(nodes):
        for before in {writers[name] for name in node.input if name in writers}:
            users[before].append(i)
            waiting[i] += 1
    ready = [i for i in range(len(nodes) - 1, -1, -1) if not waiting[i]]
    done: list[Any] = []
    while ready:
        i = ready.pop()
        done.append(nodes[i])
        for user in reversed(users[i]):
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    if len(done) < len(nodes):
        stuck = [f"{printable(nodes[i].name, 40) or nodes[i].op_type}" for i, count in enumerate(waiting) if count]
        raise TraceError(f"nodes depend on each other in a circle: {', '.join(stuck[:5])}", key="graph")
    return done


def _stand_in(model: Any, nodes: Sequence[Any]) -> Any:
    """The model with standard operators for contributed ones."""
    import onnx

    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    del model.graph.node[:]
    for node in nodes:
        made = _replaced(node)
        if made != [node] and (opset or names.OPSET) >= SPLIT_COUNTS:
            for each in made:
                if each.op_type == "Split":
                    each.attribute.append(onnx.helper.make_attribute("num_outputs", len(each.output)))
        model.graph.node.extend(made)
    if not opset:
        model.opset_import.append(onnx.helper.make_opsetid("", names.OPSET))
    return model


def _is_contributed(node: Any) -> bool:
    return bool(node.domain in names.CONTRIBUTED)


def _replaced(node: Any) -> list[Any]:
    """Standard nodes that give the first result, and others of its shape, their shapes."""
    is_ours = _is_contributed(node) or node.op_type in names.UNREGISTERED
    rule = _RULES.get(node.op_type) if is_ours else None
    if rule is None or not node.output or not node.input:
        return [node]
    made = rule(node, {attr.name: attr for attr in node.attribute})
    same = names.SAME_SHAPED.get(node.op_type, ())
    return made + [node_of("Identity", [node.output[0]], [node.output[i]]) for i in same if i < len(node.output)
                   and node.output[i]]  # fmt: skip


def _identity(node: Any, attrs: Mapping[str, Any]) -> list[Any]:
    del attrs
    return [node_of("Identity", [node.input[0]], [node.output[0]])]


def _standard(node: Any, attrs: Mapping[str, Any]) -> list[Any]:
    """The standard operator of the same name."""
    del attrs
    return [node_of(node.op_type, node.input, node.output)]


def _same_as(place: int) -> Callable[[Any, Mapping[str, Any]], list[Any]]:
    def rule(node: Any, attrs: Mapping[str, Any]) -> list[Any]:
        del attrs
        return [node_of("Identity", [node.input[place]], [node.output[0]])]

    return rule


def _sum_of(first: int, second: int) -> Callable[[Any, Mapping[str, Any]], list[Any]]:
    def rule(node: Any, attrs: Mapping[str, Any]) -> list[Any]:
        del attrs
        return [node_of("Add", [node.input[first], node.input[second]], [node.output[0]])]

    return rule


def _product_of(kind: str, first: int, second: int) -> Callable[[Any, Mapping[str, Any]], list[Any]]:
    """A product or convolution of two inputs, with the attributes that the standard operator has."""

    def rule(node: Any, attrs: Mapping[str, Any]) -> list[Any]:
        made = node_of(kind, [node.input[first], node.input[second]], [node.output[0]])
        made.attribute.extend(attr for name, attr in attrs.items() if name in names.SHAPE_ATTRIBUTES)
        return [made]

    return rule


def _fused_matmul(node: Any, attrs: Mapping[str, Any]) -> list[Any]:
    """A product of operands that may be turned: turned back first, by an einsum over their last two axes."""
    made, inputs = [], list(node.input[:2])
    for i, name in enumerate(("transA", "transB")):
        if name in attrs and attrs[name].i:
            turned = f"{node.output[0]}__{i}"
            made.append(node_of("Einsum", [inputs[i]], [turned], equation="...ij->...ji"))
            inputs[i] = turned
    return [*made, node_of("MatMul", inputs, [node.output[0]])]


def _narrow(node: Any, attrs: Mapping[str, Any]) -> list[Any]:
    """x (..., K) to (..., N): an expanded copy of its first columns."""
    n, out = attrs["N"].i, node.output[0]
    if not 0 < n < 2**31:
        raise TraceError(f"N is {n}; expected a positive number", key=printable(node.name, 60))
    width, first, last, shape, front, wanted, column = (f"{out}__{i}" for i in range(7))
    return [
        constant(width, [n]), constant(first, [0]), constant(last, [-1]),
        node_of("Shape", [node.input[0]], [shape]), node_of("Slice", [shape, first, last], [front]),
        node_of("Concat", [front, width], [wanted], axis=0),
        node_of("Gather", [node.input[0], first], [column], axis=-1), node_of("Expand", [column, wanted], [out]),
    ]  # fmt: skip


def _grouped_attention(node: Any, attrs: Mapping[str, Any]) -> list[Any]:
    """The shape of the queries: the first input, or its heads of queries where keys and values are packed with them."""
    if len(node.input) > 1 and node.input[1]:
        return _identity(node, attrs)
    heads, shared = attrs["num_heads"].i, attrs["kv_num_heads"].i if "kv_num_heads" in attrs else 0
    return _first_parts(node, heads, heads + 2 * (shared or heads))


def _attention(node: Any, attrs: Mapping[str, Any]) -> list[Any]:
    """A third of the product with the packed weights."""
    del attrs
    inner = f"{node.output[0]}__qkv"
    parts = _first_parts(node, 1, 3, inner)
    return [node_of("MatMul", node.input[:2], [inner]), *parts]


def _first_parts(node: Any, wanted: int, parts: int, source: str = "") -> list[Any]:
    if not 0 < wanted < parts <= 4096:
        raise TraceError(f"{wanted} of {parts} heads", key=printable(node.name, 60))
    pieces = [f"{node.output[0]}__part{i}" for i in range(parts)]
    return [
        node_of("Split", [source or node.input[0]], pieces, axis=-1),
        node_of("Concat", pieces[:wanted], [node.output[0]], axis=-1),
    ]


_RULES: Mapping[str, Callable[[Any, Mapping[str, Any]], list[Any]]] = {
    **dict.fromkeys(names.SHAPE_OF_FIRST, _identity),
    "QuantizeLinear": _standard,
    "DequantizeLinear": _standard,
    "FusedMatMul": _fused_matmul,
    "FusedMatMulActivation": _fused_matmul,
    "TransposeMatMul": _fused_matmul,
    "FusedGemm": _product_of("Gemm", 0, 1),
    "FusedConv": _product_of("Conv", 0, 1),
    "DynamicQuantizeMatMul": _product_of("MatMul", 0, 1),
    "MatMulIntegerToFloat": _product_of("MatMul", 0, 1),
    "QGemm": _product_of("Gemm", 0, 3),
    "MatMulNBits": _narrow,
    "MatMulBnb4": _narrow,
    "MatMulFpQ4": _identity,
    "QLinearAdd": _sum_of(0, 3),
    "QLinearMul": _sum_of(0, 3),
    "GroupQueryAttention": _grouped_attention,
    "Attention": _attention,
    "EmbedLayerNormalization": _same_as(0),
}
