# SPDX-License-Identifier: Apache-2.0
"""Products that torch has as operators of their own: scaled, grouped, packed, quantised and bilinear ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from simsparse.core import DENSE, DType, Op, OpKind
from simsparse.core.kinds.conv2d import conv_dims
from simsparse.core.kinds.linear import linear
from simsparse.core.kinds.matmul import matmul
from simsparse.trace.capture.call import Call
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.label import path_join
from simsparse.trace.capture.product import other_dtype, product_of, weight_facts_of
from simsparse.trace.recurrent import RecurrentLayer

if TYPE_CHECKING:
    from simsparse.trace.capture.recorder import Capture

ProductRule = Callable[["Capture", Call], bool]


def _scaled(capture: Capture, call: Call) -> bool:
    """An fp8 or fp4 product: the scales are read beside it."""
    given = call.given
    return product_of(capture, call, given["self"], given["mat2"], given.get("bias"))


def _packed(capture: Capture, call: Call) -> bool:
    """A product with weights packed in a layout of torch's own; their shape is that of the output and the input."""
    given = call.given
    x, weight = call.inputs[:2]
    out = call.outputs[0]
    n, k = out.shape[-1], x.shape[-1]
    dtype, bits = capture.dtype(x), weight.numel() * weight.element_size() * 8 // max(1, n * k)
    stored = DType.INT4 if bits <= DType.INT4.bits else DType.INT8
    plain = bits == DType.INT8.bits and weight.shape == (n, k)
    sparsity, stats = weight_facts_of(capture, weight, weight) if plain else (DENSE, {})
    op = linear(
        x.numel() // k, n, k, dtype, weight_dtype=stored, output_dtype=other_dtype(capture, out, dtype),
        weight_sparsity=sparsity, name=capture.module or "linear", module=capture.module,
        weight=capture.weight_name(weight), label=capture.label(""), bias=given.get("bias") is not None,
        stats={**stats, **capture.input_facts(x)},
    )  # fmt: skip
    call.add(capture, EventRole.OWN, call.reads(capture), op=op, weights=[weight])
    return True


def _semi_structured(capture: Capture, call: Call) -> bool:
    """A product with a weight that is stored 2:4, half its inputs wide."""
    given = call.given
    weight, x = (given["weight"], given["input"]) if "weight" in given else (given["mat1"], given["mat2"].t())
    n, k = weight.shape[0], x.shape[-1]
    op = linear(
        x.numel() // k, n, k, capture.dtype(x), weight_sparsity="2:4", name=capture.module or "linear",
        output_dtype=other_dtype(capture, call.outputs[0], capture.dtype(x)), module=capture.module,
        weight=capture.weight_name(weight), label=capture.label(""),
        bias=given.get("bias") is not None or call.name.endswith("_addmm"),
    )  # fmt: skip
    call.add(capture, EventRole.OWN, call.reads(capture), op=op, weights=[weight])
    return True


def _cusparselt(capture: Capture, call: Call) -> bool:
    """The same through cuSPARSELt, whose weight is one vector of values and metadata."""
    given = call.given
    weight, x, out = given["compressed_A"], given["dense_B"], call.outputs[0]
    k, m = x.shape
    op = linear(
        m, max(1, weight.numel() * 16 // (9 * k)), k, capture.dtype(x), weight_sparsity="2:4", label=capture.label(""),
        output_dtype=other_dtype(capture, out, capture.dtype(x)), name=capture.module or "linear",
        module=capture.module, weight=capture.weight_name(weight), bias=given.get("bias") is not None,
    )  # fmt: skip
    call.add(capture, EventRole.OWN, call.reads(capture), op=op, weights=[weight])
    return True


def _quantised_rnn(capture: Capture, call: Call) -> bool:
    """An LSTM or GRU of torch.ao: int8 products of inputs that are quantised on the way, or products with fp16 weights.

    Its weights are packed where nothing shows their values: they count as dense.
    """
    given, kind = call.given, call.name.removeprefix("quantized_")
    x, states = given["input"], given["hx"]
    state = states[0] if isinstance(states, (list, tuple)) else states
    half = any("fp16" in str(cell.__getstate__()[0]) for cell in given["params"])
    types = {"weight_dtype": DType.FP16} if half else {"dtype": DType.INT8, "output_dtype": DType.FP32}
    steps, batch = (x.shape[1], x.shape[0]) if given.get("batch_first") else x.shape[:2]
    directions, hidden = 2 if given["bidirectional"] else 1, state.shape[-1]
    before = [x]
    for number in range(int(given["num_layers"]) * directions):
        width = x.shape[-1] if number < directions else hidden * directions
        fields = {"bias": bool(given["has_biases"]), "weight": path_join(capture.module, f"weight.{number}")}
        layer = RecurrentLayer(kind, steps, batch, width, hidden, DType.FP32, 0, fields, {
            **fields, "weight": path_join(capture.module, f"recurrent.{number}")})  # fmt: skip
        for op in layer.ops():
            made = torch.empty(batch, hidden, device="meta")
            own = op.with_(name=path_join(capture.module, op.name), module=capture.module,
                           **(types if op.kind == OpKind.LINEAR else {}))  # fmt: skip
            capture.add(EventRole.OWN, call.name, [capture.access(tensor) for tensor in before], [made], op=own)
            before = [made]
    capture.add(EventRole.FUSED, call.name, [capture.access(before[0])], call.outputs)
    return True


def _grouped(capture: Capture, call: Call) -> bool:
    """Rows sorted by group, each group by a matrix of its own; groups of equal size are one op.

    On the meta device, which has no offsets, the rows are spread evenly. Groups without rows read nothing.
    """
    given = call.given
    first, second, offs = given["self"], given["mat2"], given.get("offs")
    if first.dim() == second.dim() == 3:
        return product_of(capture, call, first, second, given.get("bias"))
    if second.dim() == 2:
        return _grouped_columns(capture, call, first, second, offs)
    rows, dtype = second.transpose(-1, -2).reshape(-1, second.shape[-2]), capture.dtype(first)
    sparsity, stats = weight_facts_of(capture, second, rows)
    weight, out = capture.weight_name(second), call.outputs[0]
    for i, (m, groups) in enumerate(_sizes(offs, second.shape[0], first.shape[0]).items()):
        op = linear(
            m, second.shape[-1], second.shape[-2], dtype, groups=groups, held=second.shape[0],
            output_dtype=other_dtype(capture, out, dtype), weight_dtype=other_dtype(capture, second, dtype),
            weight_sparsity=sparsity, name=path_join(capture.module, "grouped_mm"), module=capture.module,
            weight=weight, label=capture.label(""), stats=stats,
        )  # fmt: skip
        before = [capture.access(out, 0)] if i else []
        share = capture.access(second, groups * second[0].numel())
        capture.add(EventRole.OWN, call.name, [capture.access(first), share, *before], [out], op=op)
    return True


def _grouped_columns(
    capture: Capture, call: Call, first: torch.Tensor, second: torch.Tensor, offs: torch.Tensor | None
) -> bool:
    """Both gradients of a grouped product: the reduction is cut into groups, or the rows of a weight are."""
    out = call.outputs[0]
    if first.dim() == 2:
        for k, groups in _sizes(offs, out.shape[0], first.shape[1]).items():
            _add_matmul(capture, call, (groups, first.shape[0], second.shape[1], k))
        return True
    for n, groups in _sizes(offs, first.shape[0], second.shape[1]).items():
        _add_matmul(capture, call, (groups, first.shape[1], n, first.shape[2]))
    return True


def _add_matmul(capture: Capture, call: Call, dims: tuple[int, int, int, int]) -> None:
    dtype = capture.dtype(call.inputs[0])
    op: Op = matmul(
        *dims, dtype, output_dtype=other_dtype(capture, call.outputs[0], dtype), label=capture.label(""),
        name=path_join(capture.module, "grouped_mm"), module=capture.module,
    )  # fmt: skip
    call.add(capture, EventRole.OWN, call.reads(capture), op=op)


def _sizes(offs: torch.Tensor | None, groups: int, rows: int) -> dict[int, int]:
    """Sizes of the groups that have any, with how many have each; ``offs`` are where they end."""
    if offs is not None and not offs.is_meta:
        ends = [0, *offs.tolist()]
        found = Counter(end - start for start, end in pairwise(ends))
    else:
        each, more = divmod(rows, groups)
        found = Counter({each: groups - more}) + Counter({each + 1: more})
    return {size: count for size, count in sorted(found.items()) if size > 0 and count}


def _trilinear(capture: Capture, call: Call) -> bool:
    """torch's Bilinear: the first input by the weight, then each output's row by the second input."""
    given = call.given
    x, weight, y = (given[f"i{i}"] for i in (1, 2, 3))
    expanded = ((x, given["expand1"]), (weight, given["expand2"]), (y, given["expand3"]))
    space = torch.broadcast_shapes(*(_unsqueezed(tensor, axes).shape for tensor, axes in expanded)).numel()
    if capture.weight(weight) is None or weight.dim() != 3 or not space:
        call.add(capture, EventRole.FUSED, call.reads(capture), 3 * space)
        return True
    outputs, k, inner = weight.shape
    m, n = space // weight.numel(), outputs * inner
    sparsity, stats = weight_facts_of(capture, weight, weight.transpose(1, 2).reshape(n, k))
    op = linear(
        m, n, k, capture.dtype(x), weight_sparsity=sparsity, name=capture.module or "bilinear", module=capture.module,
        weight=capture.weight_name(weight), label=capture.label(""), stats=stats,
    )  # fmt: skip
    rows = torch.empty(m, n, dtype=x.dtype, device="meta")
    reads = [capture.access(x), capture.access(weight)]
    capture.add(EventRole.OWN, call.name, reads, [rows], op=op, weights=[weight])
    call.add(capture, EventRole.FUSED, [capture.access(rows), capture.access(y)], 2 * m * n)
    return True


def _unsqueezed(tensor: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    for axis in axes:
        tensor = tensor.unsqueeze(axis)
    return tensor


def _quantised_linear(capture: Capture, call: Call) -> bool:
    """A linear layer of torch.ao: int8 by int8, a dynamic one quantising its inputs; or with fp16 weights."""
    x, packed = call.args[:2]
    weight, bias = packed.unpack()
    n, k = weight.shape
    codes = weight.int_repr() if weight.is_quantized else weight
    with capture.paused():
        sparsity, stats = capture.weight_facts(codes)
    half = "fp16" in call.name
    read, dtype = _quantised_input(capture, x, keep=half)
    out = capture.dtype(call.outputs[0])
    op = linear(
        x.numel() // k, n, k, dtype, weight_dtype=DType.FP16 if half else None, output_dtype=out if out is not dtype
        else None, weight_sparsity=sparsity, name=capture.module or "linear", module=capture.module,
        weight=path_join(capture.module, "weight"), label=capture.label(""), bias=bias is not None, stats=stats,
    )  # fmt: skip
    capture.add(EventRole.OWN, call.name, [capture.access(read)], call.outputs, op=op)
    return True


def _quantised_conv(capture: Capture, call: Call) -> bool:
    x, packed = call.args[:2]
    weight, bias = packed.unpack()
    stride, dilation, groups = packed.stride(), packed.dilation(), packed.groups()
    axes = weight.dim() - 2
    with capture.paused():
        sparsity, stats = capture.weight_facts(weight.int_repr())
    read, dtype = _quantised_input(capture, x, keep=False)
    out, y = capture.dtype(call.outputs[0]), call.outputs[0]
    transposed = bool(packed.transpose())
    dims = conv_dims(
        x.shape[0], x.shape[1], y.shape[1], x.shape[2:], y.shape[2:], weight.shape[2:], groups=groups,
        stride=stride[-axes:], dilation=dilation[-axes:], transposed=transposed,
    )  # fmt: skip
    op = Op(
        OpKind.CONV2D, capture.module or "conv2d", dims, dtype, weight_sparsity=DENSE if transposed else sparsity,
        output_dtype=out if out is not dtype else None, module=capture.module, stats=stats,
        weight=path_join(capture.module, "weight"), label=capture.label(""), bias=bias is not None,
    )  # fmt: skip
    capture.add(EventRole.OWN, call.name, [capture.access(read)], call.outputs, op=op)
    return True


def _quantised_input(capture: Capture, x: torch.Tensor, keep: bool) -> tuple[torch.Tensor, DType]:
    """The codes of an input and their type; a float input is quantised first, unless the layer ``keep``s it."""
    if keep or not x.is_floating_point():
        return x, capture.dtype(x)
    codes = torch.empty(x.shape, dtype=torch.int8, device="meta")
    capture.add(EventRole.FUSED, "quantize_per_tensor", [capture.access(x)], [codes])
    return codes, DType.INT8


_QUANTISED: Sequence[str] = ("linear_dynamic", "linear_relu_dynamic", "linear_dynamic_fp16", "linear_relu_dynamic_fp16",
                             "linear", "linear_relu", "linear_unpacked_dynamic_fp16")  # fmt: skip
_CONVOLUTIONS: Sequence[str] = tuple(
    f"{name}{axes}d{end}"
    for axes in (1, 2, 3)
    for name in ("conv", "conv_transpose")
    for end in ("", "_relu", "_dynamic")
)

LOWERINGS: Mapping[tuple[str, str], Any] = {
    **{("aten", name): _scaled for name in ("_scaled_mm", "_scaled_mm_v2")},
    **{("aten", name): _grouped for name in ("_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2")},
    **{("aten", name): _packed for name in (
        "_weight_int8pack_mm", "_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu", "_dyn_quant_matmul_4bit",
        "_weight_int4pack_mm_with_scales_and_zeros", "_mixed_dtypes_linear")},
    **{("aten", name): _semi_structured for name in (
        "_sparse_semi_structured_linear", "_sparse_semi_structured_mm", "_sparse_semi_structured_addmm")},
    ("aten", "_cslt_sparse_mm"): _cusparselt,
    ("aten", "quantized_lstm"): _quantised_rnn, ("aten", "quantized_gru"): _quantised_rnn,
    ("aten", "_trilinear"): _trilinear,
    **{("quantized", name): _quantised_linear for name in _QUANTISED},
    **{("quantized", name): _quantised_conv for name in _CONVOLUTIONS},
}  # fmt: skip
"""By namespace and name of an operator."""
