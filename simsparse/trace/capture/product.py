# SPDX-License-Identifier: Apache-2.0
"""Lowering of products: matrices, convolutions and their gradients.

A gradient of a LINEAR op with respect to its input is a LINEAR op on the transposed weight; that
with respect to its weight is a MATMUL of two activations that reduces over the tokens. Both
gradients of a convolution are CONV2D ops with the dims of the forward one: they do the same
products and move the same three tensors, of which another one is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from simsparse.core import DENSE, DType, Op, OpKind
from simsparse.core.kinds.conv2d import conv_dims
from simsparse.core.kinds.linear import linear
from simsparse.core.kinds.matmul import matmul
from simsparse.sparsity import USUAL
from simsparse.trace.capture.call import Call
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.label import is_router, path_join
from simsparse.trace.capture.layout import format_of, rows_of, stored_dtype
from simsparse.trace.statistics.sparsity_stats import WeightFacts, WidthWindow

if TYPE_CHECKING:
    from simsparse.trace.capture.recorder import Capture


def lower_mm(capture: Capture, call: Call) -> bool:
    """mm, addmm, bmm, baddbmm and their like."""
    first, second = call.inputs[-2:]
    bias = call.inputs[0] if len(call.inputs) == 3 else None
    return product_of(capture, call, first, second, bias)


def lower_mv(capture: Capture, call: Call) -> bool:
    """mv, addmv: a product with one column."""
    matrix, vector = call.inputs[-2:]
    return product_of(capture, call, matrix, vector.unsqueeze(-1), None)


def lower_distances(capture: Capture, call: Call) -> bool:
    """Euclidean distances of many rows, which torch computes by the product of all pairs."""
    first, second = call.inputs
    return product_of(capture, call, first, second.transpose(-1, -2), None)


def product_of(
    capture: Capture, call: Call, first: torch.Tensor, second: torch.Tensor, bias: torch.Tensor | None
) -> bool:
    """A product as LINEAR when an operand is a parameter (shared by the batch), as MATMUL otherwise.

    A reduction of length 1 multiplies element by element, and is fused like any pointwise
    operation; but the gradient of a weight stays a product whatever the number of tokens.
    A complex product is a real one of twice the rows and twice the reduction: (Re x, -Im x; Im x, Re x) (Re w; Im w).
    """
    batch, parts = first.shape[:-2].numel(), 2 if first.is_complex() and second.is_complex() else 1
    m, k, n = first.shape[-2], first.shape[-1], second.shape[-1]
    if not batch * m * k * n:
        return False
    node = capture.node if capture.stage == "bwd" else None
    if k == 1 and node is None:
        call.add(capture, EventRole.FUSED, call.reads(capture), batch * m * n)
        return True
    weight = second if capture.is_weight_matrix(second) else first if _is_left_weight(capture, first) else None
    if weight is None or not (_shared(weight) or _apart(weight)):
        op, weight = _matmul(capture, (batch, parts * m, n, parts * k), first, second, call.outputs[0]), None
    else:
        x, rows, w = (first, m, rows_of(second)) if weight is second else (second, n, first)
        groups = 1 if _shared(weight) else batch
        shown = _matrix(w) if groups == 1 else w.reshape(-1, k)
        op = _linear(capture, x, (weight, shown), parts * batch * rows // groups, groups, bias, call.outputs[0])
    weights = [tensor for tensor in (weight, bias) if tensor is not None]
    call.add(capture, EventRole.OWN, call.reads(capture), op=op, weights=weights)
    return True


def _is_left_weight(capture: Capture, first: torch.Tensor) -> bool:
    """Whether the first operand is a weight; a product of parameters there is rather an activation, as of latents."""
    origin = capture.weight(first)
    return origin is not None and not origin.product


def _matmul(
    capture: Capture, dims: tuple[int, int, int, int], first: torch.Tensor, second: torch.Tensor, out: torch.Tensor
) -> Op:
    """A product of two activations, of a parameter for each of the batch, or the gradient of a weight."""
    origins = [origin for origin in map(capture.weight, (second, first)) if origin is not None and not origin.product]
    weight, label, word = origins[0].name if origins else None, capture.label(""), "matmul"
    if capture.stage == "bwd":
        word = "bwd.matmul"
        if capture.node is not None and capture.node.weight:
            label = word = "bwd_input" if weight else "bwd_weight"
            weight = weight or capture.node.weight
    dtype = _real_dtype(capture, first)
    return matmul(
        *dims, dtype, output_dtype=other_dtype(capture, out, dtype), name=path_join(capture.module, word),
        module=capture.module, label=label, weight=weight,
    )  # fmt: skip


def _shared(tensor: torch.Tensor) -> bool:
    """Whether one matrix serves the whole batch."""
    if tensor.dim() == 2:
        return True
    leading = zip(tensor.shape[:-2], tensor.stride()[:-2], strict=True)
    return all(size == 1 or step == 0 for size, step in leading)


def _apart(tensor: torch.Tensor) -> bool:
    """Whether each of the batch has a matrix of its own."""
    leading = zip(tensor.shape[:-2], tensor.stride()[:-2], strict=True)
    return all(size == 1 or step != 0 for size, step in leading)


def _matrix(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[(0,) * (tensor.dim() - 2)] if tensor.dim() > 2 else tensor


def _linear(
    capture: Capture, x: torch.Tensor, weights: tuple[torch.Tensor, torch.Tensor], m: int, groups: int,
    bias: torch.Tensor | None, out: torch.Tensor,
) -> Op:  # fmt: skip
    """``weights``: the operand, and the same as rows, (groups * n, k)."""
    weight, rows = weights
    parts, dtype = 2 if rows.is_complex() else 1, _real_dtype(capture, x)
    n, k = rows.shape[0] // groups, parts * rows.shape[1]
    stored = format_of(rows)
    sparsity, stats = weight_facts_of(capture, weight, rows)
    name, backward = capture.weight_name(weight) or "", capture.stage == "bwd"
    return linear(
        m, n, k, dtype, groups=groups, output_dtype=other_dtype(capture, out, dtype),
        weight_dtype=stored_dtype(weight) or other_dtype(capture, weight, dtype), weight_sparsity=sparsity,
        name=path_join(capture.module, "bwd_input") if backward else capture.module or name, module=capture.module,
        weight=name, label="bwd_input" if backward else capture.label(_linear_word(capture)),
        bias=bias is not None and capture.weight(bias) is not None, stats={**stats, **capture.input_facts(x)},
        weight_format=stored or USUAL,
    )  # fmt: skip


def other_dtype(capture: Capture, tensor: torch.Tensor, dtype: DType) -> DType | None:
    """Element type of ``tensor``, where that is not ``dtype``."""
    found = _real_dtype(capture, tensor)
    return found if found is not dtype else None


def _real_dtype(capture: Capture, tensor: torch.Tensor) -> DType:
    """Element type; of complex numbers, the type of their parts."""
    return capture.dtype(torch.empty(0, dtype=tensor.dtype.to_real(), device="meta") if tensor.is_complex() else tensor)


def weight_facts_of(capture: Capture, weight: torch.Tensor, rows: torch.Tensor) -> WeightFacts:
    """Pattern and facts of a weight as ``rows``; a view of a part of a parameter is told from the other parts."""
    sparsity, stats = capture.weight_facts(rows)
    origin = capture.weight(weight)
    if origin is not None and origin.whole and weight.numel() < origin.elements:
        stats = {**stats, "weight_part": str(weight.storage_offset())}
    return sparsity, stats


def _linear_word(capture: Capture) -> str:
    if is_router(capture.recording.classes.get(capture.module, ""), capture.module):
        return "router"
    return "lm_head" if capture.module.rsplit(".", 1)[-1] == "lm_head" else ""


def lower_convolution(capture: Capture, call: Call) -> bool:
    """Convolutions over one to three axes, transposed or not."""
    x, weight = call.inputs[:2]
    transposed, groups = bool(call.args[6]), int(call.args[8])
    sparsity, stats = capture.weight_facts(filters(weight, groups) if transposed else weight)
    window = () if transposed else (_window(call),)
    dtype = capture.dtype(x)
    op = Op(
        OpKind.CONV2D, capture.module or "conv2d", _conv_dims(call, call.outputs[0], transposed, groups), dtype,
        other_dtype(capture, weight, dtype), weight_sparsity=sparsity, module=capture.module,
        weight=capture.weight_name(weight), label=capture.label(""), bias=len(call.inputs) > 2,
        stats={**stats, **capture.input_facts(x, *window)},
    )  # fmt: skip
    call.add(capture, EventRole.OWN, call.reads(capture), op=op, weights=call.inputs[1:])
    return True


def lower_convolution_in_time(capture: Capture, call: Call) -> bool:
    """conv_tbc: the input (time, batch, channels), the weight (taps, inputs, outputs)."""
    x, weight = call.inputs[:2]
    sparsity, stats = capture.weight_facts(weight.permute(2, 1, 0))
    taps, c_in, c_out = weight.shape
    dims = conv_dims(x.shape[1], c_in, c_out, x.shape[:1], call.outputs[0].shape[:1], (taps,))
    op = Op(
        OpKind.CONV2D, capture.module or "conv2d", dims, capture.dtype(x), weight_sparsity=sparsity,
        module=capture.module, weight=capture.weight_name(weight), label=capture.label(""), bias=True, stats=stats,
    )  # fmt: skip
    call.add(capture, EventRole.OWN, call.reads(capture), op=op, weights=call.inputs[1:])
    return True


def lower_convolution_backward(capture: Capture, call: Call) -> bool:
    """The gradients of a convolution's input, weight and bias, as far as they are asked for."""
    dy, x, weight = call.inputs[:3]
    named = {"bwd_input": (call.out[0], weight), "bwd_weight": (call.out[1], x)}
    reads, transposed, groups = capture.access(dy), bool(call.args[7]), int(call.args[9])
    for label, (gradient, other) in named.items():
        if gradient is None:
            continue
        turns = label == "bwd_input" and groups == 1
        sparsity, stats = (
            capture.weight_facts(weight if transposed else weight.transpose(0, 1)) if turns else (DENSE, {})
        )
        op = Op(
            OpKind.CONV2D, path_join(capture.module, label), _conv_dims(call, dy, transposed, groups),
            capture.dtype(dy), weight_sparsity=sparsity, module=capture.module, weight=capture.weight_name(weight),
            label=label, stats=stats,
        )  # fmt: skip
        capture.add(EventRole.OWN, call.name, [reads, capture.access(other)], [gradient], op=op)
    if call.out[2] is not None:
        capture.add(EventRole.FUSED, "sum", [reads], [call.out[2]], dy.numel())
    return True


def filters(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """The weight (c_in, c_out / groups, taps) of a transposed convolution as rows over the inputs of a group."""
    grouped = weight.reshape(groups, weight.shape[0] // groups, -1)
    return grouped.transpose(1, 2).reshape(-1, grouped.shape[1])


def _conv_dims(call: Call, y: torch.Tensor, transposed: bool, groups: int) -> dict[str, int]:
    given = call.given
    x, weight = given["input"], given["weight"]
    channels = (weight.shape[0], weight.shape[1] * groups) if transposed else (x.shape[1], weight.shape[0])
    return conv_dims(
        x.shape[0], *channels, x.shape[2:], y.shape[2:], weight.shape[2:], groups=groups,
        stride=_per_axis(given["stride"], weight), dilation=_per_axis(given["dilation"], weight),
        transposed=transposed,
    )  # fmt: skip


def _per_axis(numbers: Sequence[int], weight: torch.Tensor) -> Sequence[int]:
    """torch takes one number for all axes too."""
    return numbers if len(numbers) == weight.dim() - 2 else list(numbers) * (weight.dim() - 2)


def _window(call: Call) -> WidthWindow:
    stride, padding, dilation = (tuple(call.args[i]) for i in (3, 4, 5))
    return WidthWindow(tuple(call.inputs[1].shape[2:]), stride, padding, dilation)
