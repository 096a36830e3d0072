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

from simsparse.core import DENSE, Op, OpKind
from simsparse.core.kinds.conv2d import conv_dims
from simsparse.core.kinds.linear import linear
from simsparse.core.kinds.matmul import matmul
from simsparse.trace.capture.call import Call
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.label import is_router, path_join
from simsparse.trace.statistics.sparsity_stats import WidthWindow

if TYPE_CHECKING:
    from simsparse.trace.capture.recorder import Capture


def lower_mm(capture: Capture, call: Call) -> bool:
    """mm, addmm, bmm, baddbmm and their like."""
    first, second = call.inputs[-2:]
    bias = call.inputs[0] if len(call.inputs) == 3 else None
    return _product(capture, call, first, second, bias)


def lower_mv(capture: Capture, call: Call) -> bool:
    """mv, addmv: a product with one column."""
    matrix, vector = call.inputs[-2:]
    return _product(capture, call, matrix, vector.unsqueeze(-1), None)


def _product(
    capture: Capture, call: Call, first: torch.Tensor, second: torch.Tensor, bias: torch.Tensor | None
) -> bool:
    """A product as LINEAR when an operand is a parameter (shared by the batch), as MATMUL otherwise.

    A reduction of length 1 multiplies element by element, and is fused like any pointwise
    operation; but the gradient of a weight stays a product whatever the number of tokens.
    """
    batch = first.shape[:-2].numel()
    m, k, n = first.shape[-2], first.shape[-1], second.shape[-1]
    if not batch * m * k * n:
        return False
    node = capture.node if capture.stage == "bwd" else None
    if k == 1 and node is None:
        call.add(capture, EventRole.FUSED, call.reads(capture), batch * m * n)
        return True
    if capture.parameter(second) and _shared(second):
        op = _linear(capture, first, _matrix(second).t(), batch * m, bias)
    elif capture.parameter(first) and _shared(first):
        op = _linear(capture, second, _matrix(first), batch * n, bias)
    else:
        op = _matmul(capture, (batch, m, n, k), first, second)
    call.add(capture, EventRole.OWN, call.reads(capture), op=op)
    return True


def _matmul(capture: Capture, dims: tuple[int, int, int, int], first: torch.Tensor, second: torch.Tensor) -> Op:
    """A product of two activations, of a parameter for each of the batch, or the gradient of a weight."""
    weight, label, word = capture.parameter(second) or capture.parameter(first), capture.label(""), "matmul"
    if capture.stage == "bwd":
        word = "bwd.matmul"
        if capture.node is not None and capture.node.weight:
            label = word = "bwd_input" if weight else "bwd_weight"
            weight = weight or capture.node.weight
    return matmul(
        *dims, capture.dtype(first), name=path_join(capture.module, word), module=capture.module, label=label,
        weight=weight,
    )  # fmt: skip


def _shared(tensor: torch.Tensor) -> bool:
    """Whether one matrix serves the whole batch."""
    leading = zip(tensor.shape[:-2], tensor.stride()[:-2], strict=True)
    return all(size == 1 or step == 0 for size, step in leading)


def _matrix(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[(0,) * (tensor.dim() - 2)]


def _linear(capture: Capture, x: torch.Tensor, weight: torch.Tensor, m: int, bias: torch.Tensor | None) -> Op:
    """``weight``: (n, k)."""
    n, k = weight.shape
    sparsity, stats = capture.weight_facts(weight)
    dtype, weight_dtype = capture.dtype(x), capture.dtype(weight)
    name, backward = capture.parameter(weight) or "", capture.stage == "bwd"
    return linear(
        m, n, k, dtype, weight_dtype=weight_dtype if weight_dtype is not dtype else None, weight_sparsity=sparsity,
        name=path_join(capture.module, "bwd_input") if backward else capture.module or name, module=capture.module,
        weight=name, label="bwd_input" if backward else capture.label(_linear_word(capture)),
        bias=bias is not None and capture.parameter(bias) is not None, stats={**stats, **capture.input_facts(x)},
    )  # fmt: skip


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
    op = Op(
        OpKind.CONV2D, capture.module or "conv2d", _conv_dims(call, call.outputs[0], transposed, groups),
        capture.dtype(x), weight_sparsity=sparsity, module=capture.module, weight=capture.parameter(weight),
        label=capture.label(""), bias=len(call.inputs) > 2, stats={**stats, **capture.input_facts(x, *window)},
    )  # fmt: skip
    call.add(capture, EventRole.OWN, call.reads(capture), op=op)
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
            capture.dtype(dy), weight_sparsity=sparsity, module=capture.module, weight=capture.parameter(weight),
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
