# SPDX-License-Identifier: Apache-2.0
"""Products in a torch execution trace: matrices, convolutions, attention, recurrent layers, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simsparse.core import DType, Op, OpKind, ops
from simsparse.core.kinds.conv2d import conv_dims
from simsparse.errors import SpecError, TraceError
from simsparse.trace.causal import first_aligned
from simsparse.trace.interchange import aten_names as names
from simsparse.trace.interchange.aten_tensors import AtenNode, AtenTensor, tensors_of
from simsparse.trace.recurrent import GATES, MAX_STEPS, RecurrentLayer


@dataclass(frozen=True)
class AtenOp:
    """An op and the tensors that may be its weights: ``weight``, else ``other``, which would stand on the left."""

    op: Op
    weight: AtenTensor | None = None
    other: AtenTensor | None = None
    bias: AtenTensor | None = None


def lower_product(node: AtenNode) -> Sequence[AtenOp]:
    """What ``node`` computes, when it is a product that the table below knows; else nothing.

    Raises TraceError when its shapes do not fit together.
    """
    lower = _PRODUCTS.get(node.short)
    if lower is None or node.name.partition("::")[0] not in names.SPACES:
        return ()
    try:
        found = lower(node)
    except SpecError as error:
        raise TraceError(error.message, key=error.key) from error
    return [found] if isinstance(found, AtenOp) else found


def _linear(node: AtenNode) -> Sequence[AtenOp]:
    x, weight = node.tensor("input", "self"), node.tensor("weight")
    if x is None or weight is None or len(weight.shape) not in (1, 2) or not x.shape:
        return ()
    n, k = weight.shape if len(weight.shape) == 2 else (1, *weight.shape)
    if x.shape[-1] != k:
        raise TraceError(f"shapes {x.shape} and {weight.shape} do not multiply")
    return _matrix_op(node, x, weight, (math.prod(x.shape[:-1]), n, k), node.tensor("bias"))


def _matrix(node: AtenNode) -> Sequence[AtenOp]:
    """mm and its like, and products of a matrix and a vector."""
    first, second = _operands(node)
    if len(first.shape) == 3 and len(second.shape) == 3:  # complex
        first, second = _real(first, rows=False), _real(second, rows=True)
    left = first.shape if len(first.shape) > 1 else (1, *first.shape)
    right = second.shape if len(second.shape) > 1 else (*second.shape, 1)
    if len(left) != 2 or len(right) != 2:
        raise TraceError("has no two operands of 2 dims")
    (m, k), (inner, n) = left, right
    if k != inner:
        raise TraceError(f"shapes {first.shape} and {second.shape} do not multiply")
    return _matrix_op(node, first, second, (m, n, k), node.tensor("self", "bias") if _added(node) else None)


def _real(tensor: AtenTensor, rows: bool) -> AtenTensor:
    """A complex matrix as a real one of twice the columns, or of twice the rows and columns."""
    a, b, _ = tensor.shape
    return AtenTensor((2 * a, 2 * b) if rows else (a, 2 * b), tensor.dtype, tensor.storage)


def _added(node: AtenNode) -> bool:
    return node.short in names.ADDED


def _matrix_op(
    node: AtenNode, x: AtenTensor, weight: AtenTensor, sizes: tuple[int, int, int], bias: AtenTensor | None
) -> Sequence[AtenOp]:
    m, n, k = sizes
    if not m * n * k:
        return ()
    made = node.made[0].dtype if node.made else x.dtype
    op = ops.linear(
        m, n, k, x.dtype, weight_dtype=weight.dtype if weight.dtype is not x.dtype else None,
        output_dtype=made if made is not x.dtype else None,
        weight_sparsity="2:4" if node.short in names.SPARSE_24 else "dense",
    )  # fmt: skip
    return [AtenOp(op, weight, x, bias if bias is not None and bias.shape == (n,) else None)]


def _packed(node: AtenNode) -> Sequence[AtenOp]:
    """A product with a weight that the file holds packed: its size follows from the input and the result."""
    x, weight = node.tensor("self", "input", "X", "qx"), node.tensor("mat2", "weight", "qw")
    if x is None or not x.shape or not node.made or not node.made[0].shape:
        return ()
    k, n = x.shape[-1], node.made[0].shape[-1]
    m = math.prod(x.shape[:-1])
    if not m * n * k:
        return ()
    width = DType.INT4 if "int4" in node.short else DType.INT8
    sparse = node.short in names.SPARSE_24
    op = ops.linear(
        m, n, k, x.dtype, weight_dtype=None if sparse else width, weight_sparsity="2:4" if sparse else "dense"
    )
    return [AtenOp(op, weight, None, node.tensor("bias"))]


def _batched(node: AtenNode) -> Sequence[AtenOp]:
    first, second = _operands(node)
    if len(first.shape) == 4 and len(second.shape) == 4:  # complex
        first = AtenTensor((*first.shape[:2], 2 * first.shape[2]), first.dtype, first.storage)
        second = AtenTensor((second.shape[0], 2 * second.shape[1], 2 * second.shape[2]), second.dtype, second.storage)
    if len(first.shape) != 3 or len(second.shape) != 3:
        raise TraceError("has no two operands of 3 dims")
    (batch, m, k), n = first.shape, second.shape[2]
    if second.shape[:2] != (batch, k):
        raise TraceError(f"shapes {first.shape} and {second.shape} do not multiply")
    if not batch * m * n * k:
        return ()
    return [AtenOp(ops.matmul(batch, m, n, k, first.dtype), second, first)]


def _operands(node: AtenNode) -> tuple[AtenTensor, AtenTensor]:
    first, second = node.tensor("mat1", "batch1", "mat", "self", "input"), node.tensor("mat2", "batch2", "vec", "other")
    if first is None or second is None:
        found = node.read
        if len(found) < 2:
            raise TraceError("has no two operands")
        first, second = found[-2:]
    return first, second


def _convolution(node: AtenNode) -> Sequence[AtenOp]:
    x, weight = node.tensor("input", "self"), node.tensor("weight")
    if x is None or weight is None or len(node.made) < 1:
        return ()
    op = _conv_op(node, x, weight, node.made[0])
    return [] if op is None else [AtenOp(op, weight, None, node.tensor("bias"))]


def _conv_op(node: AtenNode, x: AtenTensor, weight: AtenTensor, y: AtenTensor) -> Op | None:
    """The convolution from ``x`` to ``y``; None where its axes can't be told or nothing is computed."""
    axes = len(weight.shape) - 2
    if not 1 <= axes <= 3 or not len(x.shape) == len(y.shape) in (axes + 1, axes + 2):
        return None
    batch = x.shape[0] if len(x.shape) == axes + 2 else 1
    c_in, c_out, (first, second) = x.shape[-axes - 1], y.shape[-axes - 1], weight.shape[:2]
    transposed = "transpose" in node.short or node.value("transposed") is True
    groups = (c_out // second if transposed else c_in // second) if second else 0
    sides = (second * groups, first) if transposed else (first, second * groups)
    if not x.elements * y.elements * weight.elements:
        return None
    if sides != (c_out, c_in) or c_in % groups or c_out % groups:
        raise TraceError(f"shapes {x.shape}, {weight.shape} and {y.shape} do not fit")
    dims = conv_dims(
        batch, c_in, c_out, x.shape[-axes:], y.shape[-axes:], weight.shape[2:], groups=groups,
        stride=_sizes(node, "stride", axes), dilation=_sizes(node, "dilation", axes), transposed=transposed,
    )  # fmt: skip
    return Op(OpKind.CONV2D, "conv", dims, x.dtype, weight.dtype if weight.dtype is not x.dtype else None)


def _sizes(node: AtenNode, name: str, axes: int) -> Sequence[int]:
    """One positive number per axis from an argument; none where it does not say them."""
    said = node.value(name)
    found = [said] if type(said) is int else said if isinstance(said, list | tuple) else []
    if not found or not all(type(size) is int and 0 < size < 2**31 for size in found):
        return ()
    return list(found) * axes if len(found) == 1 else found if len(found) == axes else ()


def _convolution_backward(node: AtenNode) -> Sequence[AtenOp]:
    """The gradients of input and weight: each does the products of the forward pass."""
    dy, x, weight = node.tensor("grad_output"), node.tensor("input", "self"), node.tensor("weight")
    if dy is None or x is None or weight is None:
        return ()
    op = _conv_op(node, x, weight, dy)
    made = [tensor.shape for tensor in node.made]
    labels = [("bwd_input", x.shape), ("bwd_weight", weight.shape)]
    return [] if op is None else [AtenOp(op.with_(label=label), weight) for label, shape in labels if shape in made]


def _attention(node: AtenNode) -> Sequence[AtenOp]:
    found = [node.tensor("query"), node.tensor("key"), node.tensor("value")]
    query, key, value = (tensor for tensor in found) if None not in found else node.read[:3]
    if {len(tensor.shape) for tensor in (query, key, value) if tensor} - {3, 4} or not (query and key and value):
        return ()
    q, k, v = ((1,) * (4 - len(t.shape)) + t.shape for t in (query, key, value))
    if node.short in names.LENGTH_FIRST:
        q, k, v = ((b, h, s, d) for b, s, h, d in (q, k, v))
    batch, heads, q_len, head_dim = q
    if not query.elements * key.elements * value.elements or heads % k[1]:
        return ()
    causal = node.value("is_causal") is True
    widths = (3 * head_dim, 2 * v[3]) if node.short.endswith("_backward") else (head_dim, v[3])
    parts = first_aligned(q_len, k[2]) if causal else [(q_len, k[2], False)]
    return [
        AtenOp(ops.attention(batch, heads, k[1], widths[0], queries, keys, masked, query.dtype, v_head_dim=widths[1]))
        for queries, keys, masked in parts
    ]


def _recurrent(node: AtenNode) -> Sequence[AtenOp]:
    """lstm, gru and their like: layers and directions one after another, from the list of their parameters."""
    x, sizes = node.tensor("input", "data"), node.tensor("batch_sizes")
    slot = node.arguments.get("params")
    weights = tensors_of([slot]) if slot is not None else []
    layers, directions = node.value("num_layers"), 2 if node.value("bidirectional") is True else 1
    if x is None or type(layers) is not int or not 0 < layers <= len(weights) or len(weights) % (layers * directions):
        return ()
    if sizes is not None:
        steps = max(math.prod(sizes.shape), 1)
        batch = -(-x.shape[0] // steps)
    else:
        shape = (1,) * (3 - len(x.shape)) + x.shape
        steps, batch = (shape[1], shape[0]) if node.value("batch_first") is True and len(x.shape) == 3 else shape[:2]
        steps, batch = (x.shape[0], 1) if len(x.shape) == 2 else (steps, batch)
    each, found = len(weights) // (layers * directions), list[AtenOp]()
    for number in range(layers * directions):
        found += _direction(node.short, (steps, batch), x.dtype, weights[number * each : (number + 1) * each])
    return found


def _direction(kind: str, sizes: tuple[int, int], dtype: DType, weights: Sequence[AtenTensor]) -> Sequence[AtenOp]:
    into, recurrent = weights[:2]
    projection = weights[-1] if len(weights) in (3, 5) else None
    work = into.elements * recurrent.elements * math.prod(sizes)
    if not work or any(len(tensor.shape) != 2 for tensor in (into, recurrent)):
        return ()
    biased = {"bias": len(weights) >= 4}
    layer = RecurrentLayer(
        kind, *sizes, into.shape[1], recurrent.shape[0] // GATES[kind], dtype, recurrent.shape[1], biased, biased,
        None if projection is None else {},
    )  # fmt: skip
    read: Mapping[str, AtenTensor | None] = {"input": into, "recurrent": recurrent, "projection": projection}
    return [AtenOp(op, read.get(op.name)) for op in layer.ops()]


def _recurrent_backward(node: AtenNode) -> Sequence[AtenOp]:
    """The gradients of one direction of a layer: of its inputs and states through the weights, and of both weights."""
    x, into, recurrent = node.tensor("input"), node.tensor("weight1"), node.tensor("weight2")
    if (
        x is None
        or into is None
        or recurrent is None
        or len(x.shape) != 3
        or not x.elements * into.elements * recurrent.elements
    ):
        return ()
    (steps, batch, width), (gates, state) = x.shape, recurrent.shape
    back = ops.linear(batch, state, gates, x.dtype, name="bwd_recurrent")
    return [
        *[AtenOp(back, recurrent)] * min(steps, MAX_STEPS),
        AtenOp(ops.linear(steps * batch, width, gates, x.dtype, name="bwd_input"), into),
        *(AtenOp(ops.matmul(1, gates, k, steps * batch, x.dtype, name="bwd_weight")) for k in (width, state)),
    ]


_PRODUCTS: Mapping[str, Callable[[AtenNode], Sequence[AtenOp]]] = {
    **dict.fromkeys(names.LINEAR, _linear), **dict.fromkeys(names.MATRIX, _matrix),
    **dict.fromkeys(names.PACKED, _packed), **dict.fromkeys(names.BATCHED, _batched),
    **dict.fromkeys(names.CONVOLUTION, _convolution), "convolution_backward": _convolution_backward,
    **dict.fromkeys(names.ATTENTION, _attention), **dict.fromkeys(names.RECURRENT, _recurrent),
    "mkldnn_rnn_layer_backward": _recurrent_backward,
}  # fmt: skip
