# SPDX-License-Identifier: Apache-2.0
"""Kernels that are recorded as one op, whatever torch would run inside: attention, experts.

In a training step such a kernel is one node of the autograd graph. Its gradient is that of what it
computes, recorded as the ops that a good kernel's gradient amounts to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from simsparse.trace.capture.recorder import Capture

Tensors = Sequence[torch.Tensor]
Gradients = Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class Kernel:
    """How a kernel computes and is recorded.

    ``compute``: the output from the inputs, on real tensors. ``empty``: an output of the same shape,
    on the meta device. ``record``: called with inputs and output. ``record_backward``: called with
    inputs, gradient of the output, and the inputs' gradients, None where none is needed.
    """

    capture: Capture
    compute: Callable[..., torch.Tensor]
    empty: Callable[..., torch.Tensor]
    record: Callable[[Tensors, torch.Tensor], None]
    record_backward: Callable[[Tensors, torch.Tensor, Gradients], None]

    def run(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The output, recorded; differentiable in a training step."""
        if self.capture.stage == "fwd":
            out: torch.Tensor = _Differentiable.apply(self, *inputs)
            return out
        with self.capture.paused():
            out = self.empty(*inputs) if inputs[0].device.type == "meta" else self.compute(*inputs)
        self.record(inputs, out)
        return out


class _Differentiable(torch.autograd.Function):  # type: ignore[misc]
    """The kernel as one autograd node; on real tensors its gradient comes from torch's own graph of the inside."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, *inputs: torch.Tensor) -> torch.Tensor:
        ctx.kernel, ctx.graph = kernel, None
        ctx.save_for_backward(*inputs)
        with kernel.capture.paused():
            if inputs[0].device.type == "meta":
                out = kernel.empty(*inputs)
            else:
                with torch.enable_grad():
                    inner = [_leaf(tensor) for tensor in inputs]
                    ctx.graph = (inner, kernel.compute(*inner))
                out = ctx.graph[1].detach()
        kernel.record(inputs, out)
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kernel, inputs = ctx.kernel, ctx.saved_tensors
        needed = [i for i, tensor in enumerate(inputs) if ctx.needs_input_grad[i + 1]]
        with kernel.capture.paused():
            if ctx.graph is None:
                gradients = [torch.empty_like(inputs[i]) for i in needed]
            else:
                inner, out = ctx.graph
                gradients = list(torch.autograd.grad(out, [inner[i] for i in needed], upstream[0]))
        found: list[torch.Tensor | None] = [None] * len(inputs)
        for i, gradient in zip(needed, gradients, strict=True):
            found[i] = gradient
        kernel.record_backward(inputs, upstream[0], found)
        return (None, *found)


def _leaf(tensor: torch.Tensor) -> torch.Tensor:
    """A leaf of the inner graph; a parameter is one, and what computes may hold it."""
    if isinstance(tensor, torch.nn.Parameter):
        return tensor
    return tensor.detach().requires_grad_(tensor.requires_grad)
