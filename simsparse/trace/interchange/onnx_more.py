# SPDX-License-Identifier: Apache-2.0
"""Operators of ONNX that are neither products nor pointwise: transforms, sampled images, recurrences, determinants.

Source of what operands and attributes mean: the operator schemas of ONNX, opsets 1 to 28.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from simsparse.core import Op, OpKind, ops
from simsparse.core.kinds.conv2d import conv_dims
from simsparse.core.kinds.scan import scan
from simsparse.errors import TraceError
from simsparse.trace.interchange.onnx_products import OnnxNode, convolution, fields_in_type

TAPS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}
"""Samples along an axis that an interpolation weighs."""
FOURIER = 5.0
"""A complex transform of n points takes 5 n log2 n operations, a real one half of that (Cooley and Tukey)."""


def _moved(node: OnnxNode, flops: float) -> Sequence[Op]:
    """An op of ``flops`` that reads all inputs and writes the first result; nothing where their sizes are not known."""
    made, inputs = node.made, [tensor for i in range(len(node.inputs)) if (tensor := node.tensor(i)) is not None]
    if made is None or not inputs:
        return ()
    read = sum(tensor.bytes for tensor in inputs)
    return [ops.elementwise(read, made.bytes, round(flops), made.dtype, label=node.kind.lower(), name=node.kind)]


def _fourier(node: OnnxNode) -> Sequence[Op]:
    """DFT: along one axis, of real (last axis 1) or complex (last axis 2) values; from one side or to it."""
    x, made = node.known(0), node.made
    if made is None or not x.elements or not made.elements or len(x.shape) != len(made.shape) or len(x.shape) < 2:
        return ()
    last = node.integer("axis", node.number(2, -2 if node.opset > AXIS_AS_ATTRIBUTE else 1))
    if not -len(x.shape) <= last < len(x.shape):
        raise TraceError(f"axis {last} does not fit {x.shape}")
    points = max(x.shape[last], made.shape[last])
    values = max(math.prod(x.shape[:-1]), math.prod(made.shape[:-1]))
    real = 1 in (x.shape[-1], made.shape[-1])
    return _moved(node, FOURIER * values * math.log2(max(2, points)) * (0.5 if real else 1.0))


AXIS_AS_ATTRIBUTE = 17
"""The opset in which DFT has its axis as an attribute, whose default is 1; later ones take an input, by default -2."""


def _short_fourier(node: OnnxNode) -> Sequence[Op]:
    """STFT: of each frame the window and a transform."""
    x, made = node.known(0), node.made
    if made is None or len(made.shape) != 4 or not made.elements:
        return ()
    batch, frames, bins, _ = made.shape
    window = node.tensor(2)
    real = len(x.shape) < 3 or x.shape[-1] == 1
    points = window.elements if window is not None else 2 * (bins - 1) if real and node.integer("onesided", 1) else bins
    each = FOURIER * points * math.log2(max(2, points)) * (0.5 if real else 1.0)
    return _moved(node, batch * frames * (each + (points if window is not None else 0)))


def _sampled(node: OnnxNode) -> Sequence[Op]:
    """GridSample: per result, a weight and an addition for each of the samples around it."""
    made = node.made
    if made is None:
        return ()
    taps = TAPS.get(node.text("mode", "linear"), 2) ** max(1, len(made.shape) - 2)
    return _moved(node, 2.0 * taps * made.elements)


def _pooled_regions(node: OnnxNode) -> Sequence[Op]:
    """RoiAlign: per result, bilinear samples at ``sampling_ratio`` places along each axis, 2 where it adapts."""
    made, ratio = node.made, node.integer("sampling_ratio") or 2
    return _moved(node, 2.0 * 4 * ratio**2 * made.elements) if made is not None else ()


def _determinant(node: OnnxNode) -> Sequence[Op]:
    """By an LU decomposition: 2/3 n^3 (Golub and Van Loan, Matrix Computations, 3.2)."""
    x = node.known(0)
    n = x.shape[-1] if x.shape else 1
    return _moved(node, x.elements * n * 2 / 3)


def _local_norm(node: OnnxNode) -> Sequence[Op]:
    """LRN: the squares of ``size`` neighbours, a power and a division."""
    return _moved(node, (node.integer("size", 1) + 3.0) * node.known(0).elements)


def _deformed(node: OnnxNode) -> Sequence[Op]:
    """DeformConv: samples of the input at moved places, and a convolution of these."""
    found = convolution(node, 0, 1, 3)
    if not found or len(node.known(0).shape) != 4:
        return found
    d = found[0].dims
    samples = d["batch"] * d["c_in"] * d["kh"] * d["kw"] * d["h_out"] * d["w_out"]
    dtype, offsets = node.known(0).dtype, node.known(2).bytes + (mask.bytes if (mask := node.tensor(4)) else 0)
    columns = samples * dtype.bits // 8
    read = node.known(0).bytes + offsets
    return [ops.elementwise(read, columns, 2 * 4 * samples, dtype, label="sample", name="sample"), *found]


def _linear_attention(node: OnnxNode) -> Sequence[Op]:
    """LinearAttention: a recurrence over (key, value) states per head of keys; a delta rule reads them once more."""
    q, k, v = (node.known(i) for i in range(3))
    heads, shared = node.integer("q_num_heads"), node.integer("kv_num_heads")
    if {len(q.shape), len(k.shape), len(v.shape)} != {3} or shared < 1 or heads < 1 or k.shape[2] % shared:
        raise TraceError(f"shapes {q.shape}, {k.shape} and {v.shape} do not fit {heads} and {shared} heads")
    if not q.elements * k.elements * v.elements:
        return ()
    batch, length, width = v.shape
    op = scan(batch, shared, length, max(1, width // shared), k.shape[2] // shared, q.dtype, groups=shared)
    if "delta" not in node.text("update_rule", "gated_delta"):
        return [op]
    states = batch * length * width * (k.shape[2] // shared)
    errors = v.bytes
    return [ops.elementwise(k.bytes + v.bytes, errors, 2 * states, q.dtype, label="delta", name="delta"), op]


def _causal_convolution(node: OnnxNode) -> Sequence[Op]:
    """CausalConvWithState: a depthwise convolution in time, whose last inputs are kept for the next."""
    x, w = node.known(0), node.known(1)
    if len(x.shape) != 3 or len(w.shape) != 3 or w.shape[0] != x.shape[1] or w.shape[1] != 1:
        raise TraceError(f"shapes {x.shape} and {w.shape} are of no depthwise convolution in time")
    if not x.elements * w.elements:
        return ()
    batch, channels, length = x.shape
    dims = conv_dims(batch, channels, channels, (length,), (length,), (w.shape[2],), groups=channels)
    fields = fields_in_type(node.fields(1, [0, 2, 1], 2), x.dtype)
    return [Op(OpKind.CONV2D, "conv", dims, x.dtype, bias=node.is_weight(2), **fields)]


MORE: Mapping[str, Callable[[OnnxNode], Sequence[Op]]] = {
    "DFT": _fourier, "STFT": _short_fourier, "GridSample": _sampled, "RoiAlign": _pooled_regions, "Det": _determinant,
    "LRN": _local_norm, "DeformConv": _deformed, "LinearAttention": _linear_attention,
    "CausalConvWithState": _causal_convolution,
}  # fmt: skip
"""Operators of the standard domain: each gives its ops in order, none where sizes are not known."""
