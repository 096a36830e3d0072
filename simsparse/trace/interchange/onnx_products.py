# SPDX-License-Identifier: Apache-2.0
"""Products in an ONNX model: matrices, convolutions, einsums, attention and recurrent layers.

Source of what operands and attributes mean: the operator schemas of ONNX, opsets 1 to 25, and ONNX Runtime's
ContribOperators.md for the domain com.microsoft.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from simsparse.core import DType, Op, OpKind, ops
from simsparse.core.kinds.conv2d import conv_dims
from simsparse.core.tensor import TensorSpec
from simsparse.errors import TraceError
from simsparse.trace.causal import first_aligned
from simsparse.trace.interchange import onnx_names as names
from simsparse.trace.interchange.base import Notes, printable
from simsparse.trace.interchange.onnx_weights import OnnxWeight, OnnxWeights
from simsparse.trace.recurrent import GATES, RecurrentLayer

Fields = dict[str, Any]


class Values(Protocol):
    """What a lowering asks of the graph."""

    notes: Notes
    weights: OnnxWeights
    folded: dict[str, OnnxWeight]
    tensors: dict[str, TensorSpec]

    @property
    def opset(self) -> int:
        """The opset of the standard domain."""

    def stored(self, name: str) -> DType | None:
        """The type in which an activation that was just dequantised is stored; None of any other."""


class OnnxNode:
    """A node with its operands by place."""

    def __init__(self, node: Any, values: Values) -> None:
        self.kind, self.values, self.opset = str(node.op_type), values, values.opset
        self.inputs: Sequence[str] = list(node.input)
        self.outputs: Sequence[str] = list(node.output)
        self.attrs: Mapping[str, Any] = {attr.name: attr for attr in node.attribute}

    def name(self, place: int) -> str:
        """The name of an input, "" where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def tensor(self, place: int) -> TensorSpec | None:
        """Shape and type of an input; None where it is left out or not known."""
        return self.values.tensors.get(self.name(place))

    def known(self, place: int) -> TensorSpec:
        """The same. Raises TraceError."""
        found = self.tensor(place)
        if found is None:
            raise TraceError("its operands' shapes can't be inferred; fold the model's constants first (onnxsim)")
        return found

    def is_weight(self, place: int) -> bool:
        """Whether an input follows from initializers alone."""
        return self.name(place) in self.values.folded

    @property
    def made(self) -> TensorSpec | None:
        """Shape and type of the first result."""
        return self.values.tensors.get(self.outputs[0]) if self.outputs else None

    def integer(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return int(self.attrs[name].i) if name in self.attrs else default

    def integers(self, name: str) -> Sequence[int]:
        """A list of integers; empty where it is not given."""
        return list(self.attrs[name].ints) if name in self.attrs else []

    def number(self, place: int, default: int) -> int:
        """The whole number that an input is; ``default`` where it is left out, or no single constant."""
        weight = self.values.folded.get(self.name(place))
        found = self.values.weights.whole(weight) if weight is not None else None
        return default if found is None else found

    def text(self, name: str, default: str = "") -> str:
        """A text attribute."""
        return self.attrs[name].s.decode("utf-8", "replace") if name in self.attrs else default

    def fields(self, place: int, arrange: Sequence[int], reduced: int = 1, groups: int = 1) -> Fields:
        """Fields of an op that reads the weight at ``place``: its name, type and sparsity; none of an activation."""
        if not self.is_weight(place):
            return {}
        name, weight = self.name(place), self.values.folded[self.name(place)]
        sparsity, stats = self.values.weights.facts(name, weight, arrange, reduced, groups)
        stored = weight.dtype or self.known(place).dtype
        return {"weight": printable(name), "weight_dtype": stored, "weight_sparsity": sparsity, "stats": stats}


def _linear(node: OnnxNode, sizes: tuple[int, int, int], x: TensorSpec, fields: Fields, **more: Any) -> Op:
    """A product with a weight; ``weight_dtype`` only where it differs from the inputs."""
    m, n, k = sizes
    dtype, made = _type_of(node, x, fields), node.made.dtype if node.made else x.dtype
    stored = fields.pop("weight_dtype", None)
    return ops.linear(
        m, n, k, dtype, weight_dtype=stored if stored is not dtype else None,
        output_dtype=made if made is not dtype else None, **fields, **more,
    )  # fmt: skip


def _type_of(node: OnnxNode, x: TensorSpec, fields: Fields) -> DType:
    """The inputs' type; that in which they are stored where both operands were just dequantised, as engines fuse it."""
    names_ = [name for name in node.inputs if node.values.tensors.get(name) is x]
    stored = node.values.stored(names_[0]) if names_ else None
    if stored is None or fields.get("weight_dtype") not in (DType.INT8, DType.INT4, DType.FP8):
        return x.dtype
    node.values.notes.add("products of two dequantised operands run in the stored type, as engines fuse them")
    return stored


def matmul(node: OnnxNode, first: int = 0, second: int = 1) -> Sequence[Op]:
    """MatMul and its like: numpy's rules of broadcast, transposed last axes where the attributes say so."""
    a, b = node.known(first), node.known(second)
    if not a.elements * b.elements or not a.shape or not b.shape:
        return ()
    left = _turned(a.shape if len(a.shape) > 1 else (1, *a.shape), node.integer("transA"))
    right = _turned(b.shape if len(b.shape) > 1 else (*b.shape, 1), node.integer("transB"))
    (m, k), (inner, n) = left[-2:], right[-2:]
    if inner != k:
        raise TraceError(f"shapes {left} and {right} do not multiply")
    batch = math.prod(_broadcast(left[:-2], right[:-2]))
    if node.is_weight(second):
        groups = math.prod(right[:-2])
        fields = _matrix_fields(node, second, b, node.integer("transB"))
        return [_linear(node, (batch // groups * m, n, k), a, fields, groups=groups)]
    if node.is_weight(first):
        groups = math.prod(left[:-2])
        fields = _matrix_fields(node, first, a, 1 - node.integer("transA"))
        return [_linear(node, (batch // groups * n, m, k), b, fields, groups=groups)]
    made = node.made.dtype if node.made else a.dtype
    return [ops.matmul(batch, m, n, k, a.dtype, output_dtype=made if made is not a.dtype else None)]


def _matrix_fields(node: OnnxNode, place: int, weight: TensorSpec, is_row_major: int) -> Fields:
    """Fields of a weight (..., n, k), or (..., k, n) where not ``is_row_major``."""
    rank = len(weight.shape)
    arrange = list(range(rank)) if is_row_major or rank < 2 else [*range(rank - 2), rank - 1, rank - 2]
    return node.fields(place, arrange)


def _turned(shape: tuple[int, ...], is_turned: int) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if is_turned else shape


def _broadcast(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """The shape that two shapes broadcast to. Raises TraceError."""
    rank = max(len(first), len(second))
    pairs = zip([1] * (rank - len(first)) + list(first), [1] * (rank - len(second)) + list(second), strict=True)
    found = [max(a, b) for a, b in pairs if a == b or 1 in (a, b)]
    if len(found) < rank:
        raise TraceError(f"shapes {tuple(first)} and {tuple(second)} do not broadcast")
    return found


def _gemm(node: OnnxNode, first: int = 0, second: int = 1, third: int = 2) -> Sequence[Op]:
    """A product and what is added: a bias where that is a vector of weights, else an operation of its own."""
    found = list(matmul(node, first, second))
    added, made = node.tensor(third), node.made
    if not found or added is None or not added.elements:
        return found
    n = found[0].dims["n"]
    if node.is_weight(third) and added.elements == n and added.shape[-1] == n and found[0].kind == OpKind.LINEAR:
        return [found[0].with_(bias=True), *found[1:]]
    size = made.bytes if made else added.bytes
    elements = made.elements if made else added.elements
    return [*found, ops.elementwise(added.bytes + size, size, elements, added.dtype, label="add", name="add")]


def convolution(node: OnnxNode, first: int = 0, second: int = 1, third: int = 2) -> Sequence[Op]:
    """Conv, ConvTranspose and their like, of one to three axes."""
    x, w, y = node.known(first), node.known(second), node.made
    axes = len(w.shape) - 2
    if y is None or not x.elements * w.elements * y.elements:
        return ()
    if not 1 <= axes <= 3 or len(x.shape) != axes + 2 or len(y.shape) != axes + 2:
        raise TraceError(f"shapes {x.shape} and {w.shape} are of no convolution over one to three axes")
    groups, transposed = node.integer("group", 1), node.kind == "ConvTranspose"
    sides = (w.shape[0], w.shape[1] * groups) if transposed else (w.shape[1] * groups, w.shape[0])
    if groups < 1 or sides != (x.shape[1], y.shape[1]) or sides[0] % groups or sides[1] % groups:
        raise TraceError(f"shapes {x.shape}, {w.shape} and {y.shape} in {groups} groups do not fit")
    dims = conv_dims(
        x.shape[0], *sides, x.shape[2:], y.shape[2:], w.shape[2:], groups=groups,
        stride=_positive(node, "strides", axes), dilation=_positive(node, "dilations", axes), transposed=transposed,
    )  # fmt: skip
    taps = range(2, axes + 2)
    fields = node.fields(second, [1, *taps, 0]) if transposed else node.fields(second, [0, *taps, 1], axes + 1)
    if transposed and groups > 1:
        fields = node.fields(second, [1, *taps, 0], 1, groups)
    dtype = _type_of(node, x, fields)
    stored = fields.pop("weight_dtype", None)
    biased = node.is_weight(third)
    return [Op(OpKind.CONV2D, "conv", dims, dtype, stored if stored is not dtype else None, bias=biased, **fields)]


def _positive(node: OnnxNode, name: str, axes: int) -> Sequence[int]:
    found = node.integers(name)
    return found if len(found) == axes and all(0 < size < 2**31 for size in found) else ()


def _narrow_bits(node: OnnxNode) -> Sequence[Op]:
    """MatMulNBits: a weight (N, K) of ``bits`` per element, in blocks with a scale each."""
    x, n, k = node.known(0), node.integer("N"), node.integer("K")
    bits = node.integer("bits", 4)
    if not x.elements or n < 1 or k < 1 or x.shape[-1] != k:
        raise TraceError(f"K {k} and N {n} do not fit {x.shape}")
    node.values.notes.add("scales and zero points of n-bit weights are left out", node.outputs[0])
    fields = {"weight": printable(node.name(1)), "weight_dtype": DType.INT4 if bits <= 4 else DType.INT8}
    return [_linear(node, (x.elements // k, n, k), x, fields, bias=node.is_weight(5))]


def _lstm(node: OnnxNode) -> Sequence[Op]:
    """LSTM, GRU and RNN: one layer, in one direction or both."""
    x, w, r = node.known(0), node.known(1), node.known(2)
    kind = names.RECURRENT[node.kind]
    if {len(x.shape), len(w.shape), len(r.shape)} != {3}:
        raise TraceError(f"shapes {x.shape}, {w.shape} and {r.shape} are of no recurrent layer")
    steps, batch = (x.shape[1], x.shape[0]) if node.integer("layout") else x.shape[:2]
    directions, gates, width = w.shape
    hidden = gates // GATES[kind]
    if r.shape != (directions, gates, hidden) or width != x.shape[2]:
        raise TraceError(f"shapes {x.shape}, {w.shape} and {r.shape} do not fit together")
    if not x.elements * w.elements * r.elements:
        return ()
    bias = {"bias": node.is_weight(3)}
    layer = RecurrentLayer(
        kind, steps, batch, width, hidden, x.dtype, 0, fields_in_type(node.fields(1, [0, 1, 2]), x.dtype) | bias,
        fields_in_type(node.fields(2, [0, 1, 2]), x.dtype) | bias,
    )  # fmt: skip
    return layer.ops() * directions


def fields_in_type(fields: Fields, dtype: DType) -> Fields:
    """Fields of a weight without its type where that is ``dtype``."""
    stored = fields.pop("weight_dtype", None)
    return fields | ({"weight_dtype": stored} if stored and stored is not dtype else {})


def _attention(node: OnnxNode) -> Sequence[Op]:
    """Attention of opset 23: (batch, heads, length, size), or (batch, length, width) with heads as attributes."""
    heads, shared = node.integer("q_num_heads"), node.integer("kv_num_heads")
    q, k, v = (_headed(node.known(i), heads if not i else shared) for i in range(3))
    past = node.tensor(4)
    before = past.shape[2] if past is not None and len(past.shape) == 4 else 0
    causal = node.integer("is_causal") == 1
    return _attention_ops(node.known(0).dtype, q, k, v, before, first_aligned if causal and not before else None,
                          causal)  # fmt: skip


def _headed(tensor: TensorSpec, heads: int) -> tuple[int, ...]:
    """(batch, heads, length, size). Raises TraceError."""
    if len(tensor.shape) == 4:
        return tensor.shape
    if len(tensor.shape) != 3 or heads < 1 or tensor.shape[2] % heads:
        raise TraceError(f"shape {tensor.shape} does not fit {heads} heads")
    batch, length, width = tensor.shape
    return batch, heads, length, width // heads


def _attention_ops(
    dtype: DType, q: Sequence[int], k: Sequence[int], v: Sequence[int], before: int,
    aligned: Callable[[int, int], list[tuple[int, int, bool]]] | None, causal: bool,
) -> Sequence[Op]:  # fmt: skip
    """``before``: keys of a cache beside those given. ``aligned``: how a causal mask that does not end last is cut."""
    batch, heads, q_len, size = q
    kv_len = k[2] + before
    if not math.prod(q) * math.prod(k) * math.prod(v):
        return ()
    if heads % k[1]:
        raise TraceError(f"{k[1]} heads of keys do not divide {heads}")
    parts = aligned(q_len, kv_len) if aligned else [(q_len, kv_len, causal)]
    return [
        ops.attention(batch, heads, k[1], size, queries, keys, masked, dtype, v_head_dim=v[3])
        for queries, keys, masked in parts
    ]


def _grouped_attention(node: OnnxNode) -> Sequence[Op]:
    """GroupQueryAttention: causal, on a cache of past keys; queries alone or packed with keys and values."""
    x, heads, shared = node.known(0), node.integer("num_heads"), node.integer("kv_num_heads")
    packed = not node.name(1)
    if len(x.shape) != 3 or heads < 1 or shared < 1 or x.shape[2] % (heads + 2 * shared if packed else heads):
        raise TraceError(f"shape {x.shape} does not fit {heads} and {shared} heads")
    batch, length, width = x.shape
    size = width // (heads + 2 * shared if packed else heads)
    past = node.tensor(3)
    before = past.shape[2] if past is not None and len(past.shape) == 4 else 0
    keys, window = length + before, node.integer("local_window_size", -1)
    if 0 < window < keys and length == 1:
        keys = window
    elif 0 < window < keys:
        node.values.notes.add("windows of attention over several queries are left out", node.outputs[0])
    kv = (batch, shared, keys, size)
    return _attention_ops(x.dtype, (batch, heads, length, size), kv, kv, 0, None, True)


def _many_heads(node: OnnxNode) -> Sequence[Op]:
    """MultiHeadAttention: queries (batch, length, width), keys and values alike or as heads of a cache."""
    x, heads = node.known(0), node.integer("num_heads")
    key, value, past = node.tensor(1), node.tensor(2), node.tensor(6)
    if len(x.shape) == 5:  # (batch, length, heads, 3, size)
        q: tuple[int, ...] = (x.shape[0], x.shape[2], x.shape[1], x.shape[4])
        k = v = q
    else:
        q = _headed(x, heads)
        k = v = q
        if key is not None and len(key.shape) == 5:  # (batch, length, heads, 2, size)
            k = v = (key.shape[0], key.shape[2], key.shape[1], key.shape[4])
        elif key is not None:
            k = _headed(key, heads)
            v = _headed(value, heads) if value is not None else k
    before = past.shape[2] if past is not None and len(past.shape) == 4 else 0
    return _attention_ops(x.dtype, q, k, v, before, None, node.integer("unidirectional") == 1)


def _packed_attention(node: OnnxNode) -> Sequence[Op]:
    """com.microsoft's Attention: a product with packed weights (width, 3 x width), and attention."""
    x, w, heads = node.known(0), node.known(1), node.integer("num_heads")
    if len(x.shape) != 3 or len(w.shape) != 2 or heads < 1 or w.shape[1] % (3 * heads) or w.shape[0] != x.shape[2]:
        raise TraceError(f"shapes {x.shape} and {w.shape} do not fit {heads} heads")
    batch, length, _ = x.shape
    size = w.shape[1] // 3 // heads
    q = (batch, heads, length, size)
    past_place = 4 if node.kind == "Attention" else 8
    past = node.tensor(past_place)
    before = past.shape[3] if past is not None and len(past.shape) == 5 else 0
    product = _linear(node, (batch * length, w.shape[1], w.shape[0]), x, node.fields(1, [1, 0]),
                      bias=node.is_weight(2))  # fmt: skip
    return [product, *_attention_ops(x.dtype, q, q, q, before, None, node.integer("unidirectional") == 1)]


STANDARD: Mapping[str, Callable[[OnnxNode], Sequence[Op]]] = {
    **dict.fromkeys(("MatMul", "MatMulInteger", "FusedMatMul", "TransposeMatMul"), matmul),
    **dict.fromkeys(("Gemm", "FusedGemm"), _gemm),
    **dict.fromkeys(("Conv", "FusedConv", "ConvTranspose"), convolution),
    "ConvInteger": lambda node: convolution(node, 0, 1, 99),
    "QLinearConv": lambda node: convolution(node, 0, 3, 8),
    "QLinearMatMul": lambda node: matmul(node, 0, 3),
    "QGemm": lambda node: _gemm(node, 0, 3, 6),
    "DynamicQuantizeMatMul": lambda node: _gemm(node, 0, 1, 4),
    "MatMulIntegerToFloat": lambda node: _gemm(node, 0, 1, 6),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), _narrow_bits),
    **dict.fromkeys(names.RECURRENT, _lstm),
    "GroupQueryAttention": _grouped_attention,
    "MultiHeadAttention": _many_heads,
    "Attention": _attention,
}
"""Operators of the standard domain that are products: each gives its ops in order, none where it computes nothing."""
CONTRIBUTED: Mapping[str, Callable[[OnnxNode], Sequence[Op]]] = {
    **STANDARD,
    "Attention": _packed_attention,
    "QAttention": _packed_attention,
}
"""The same of com.microsoft."""
