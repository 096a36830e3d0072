# SPDX-License-Identifier: Apache-2.0
"""A training step: forward pass, gradients, update of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from simsparse.core import Op
from simsparse.core.kinds.elementwise import elementwise
from simsparse.errors import TraceError
from simsparse.trace.capture.call import tensors_in
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.recorder import Capture

_WORD = 4
_HALF = 2


@dataclass(frozen=True)
class Optimizer:
    """What an update moves and computes, an element of a parameter.

    ``states``: values that the optimizer keeps, each read and written. ``flops`` of one update.
    """

    states: int
    flops: int

    def state_bytes(self, weight: torch.Tensor) -> int:
        """Bytes kept beside a weight: the states in fp32, and a master copy in fp32 of a 16-bit weight.

        Source: Rajbhandari et al., ZeRO, arXiv:1910.02054, section 3.1: 12 bytes an element for Adam
        in mixed precision.
        """
        return int(weight.numel()) * _WORD * (self.states + int(weight.element_size() <= _HALF))

    def moved(self, weight: torch.Tensor, gradient: torch.Tensor) -> tuple[int, int]:
        """Bytes read and written by the update of one weight: one kernel, everything once."""
        kept, own = self.state_bytes(weight), weight.numel() * weight.element_size()
        master = weight.element_size() <= _HALF
        return kept + gradient.numel() * gradient.element_size() + (0 if master else own), kept + own


OPTIMIZERS: Mapping[str, Optimizer] = {
    "sgd": Optimizer(states=0, flops=2),
    "momentum": Optimizer(states=1, flops=4),
    "adamw": Optimizer(states=2, flops=14),
}
"""FLOPs an element: SGD w -= r g; with momentum v = b v + g besides; AdamW decay 1, first moment 3,
second 4, root, correction and epsilon 3, step 3 (Loshchilov and Hutter, arXiv:1711.05101, algorithm 2)."""


@contextmanager
def train_mode(model: torch.nn.Module) -> Iterator[None]:
    """Within it, ``model`` is in training mode; its modes and buffers are put back, its gradients untouched."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers() if not buffer.is_meta]
    model.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def step(
    model: torch.nn.Module, forward: Callable[[], Any], capture: Capture, optimizer: str
) -> tuple[Any, dict[str, Any]]:
    """Run and record one training step under ``capture``; returns the model's output and facts for the trace.

    The gradient starts at the output's ``loss`` where it has one, else at every floating-point
    tensor of the output. Raises TraceError when no parameter takes part.
    """
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    with torch.enable_grad():
        capture.stage = "fwd"
        output = forward()
    with capture.paused():
        ends, seeds = _ends(output)
    gradients = _gradients(ends, seeds, list(weights.values()), capture)
    _update(weights, gradients, OPTIMIZERS[optimizer], capture)
    rule = OPTIMIZERS[optimizer]
    kept = sum(rule.state_bytes(weight) for weight in weights.values())
    return output, {"optimizer": optimizer, "optimizer_state_bytes": kept}


def _ends(output: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Where the gradient starts, and with what."""
    loss = getattr(output, "loss", None)
    shown = output if isinstance(output, (torch.Tensor, tuple, list, Mapping)) else getattr(output, "__dict__", {})
    found = [loss] if isinstance(loss, torch.Tensor) else tensors_in(shown)
    ends = [tensor for tensor in found if tensor.requires_grad]
    if not ends:
        raise TraceError("no output depends on a parameter that needs a gradient", key="phase")
    return ends, [torch.ones_like(tensor) for tensor in ends]


def _gradients(
    ends: list[torch.Tensor], seeds: list[torch.Tensor], weights: list[torch.Tensor], capture: Capture
) -> tuple[torch.Tensor | None, ...]:
    hooks = [node.register_prehook(_entering(capture, node)) for node in _nodes(ends)]
    capture.stage = "bwd"
    try:
        found: tuple[torch.Tensor | None, ...] = torch.autograd.grad(ends, weights, seeds, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _entering(capture: Capture, node: Any) -> Callable[..., None]:
    number = node._sequence_nr()
    return lambda *_: capture.enter_node(number)


def _nodes(ends: list[torch.Tensor]) -> list[Any]:
    """The autograd nodes behind ``ends``, without those that stand for leaves."""
    seen: set[Any] = set()
    left: list[Any] = [tensor.grad_fn for tensor in ends]
    while left:
        node = left.pop()
        if node is None or node in seen or not node.next_functions:
            continue
        seen.add(node)
        left += [following for following, _ in node.next_functions]
    return list(seen)


def _update(
    weights: Mapping[str, torch.Tensor], gradients: tuple[torch.Tensor | None, ...], rule: Optimizer, capture: Capture
) -> None:
    capture.stage, capture.node = "update", None
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        if gradient is None:
            continue
        path = name.rpartition(".")[0]
        with capture.inside(path):
            reads = [capture.access(gradient), capture.access(weight)]
            op = _update_op(name, path, weight, gradient, rule, capture)
            capture.add(EventRole.OWN, "update", reads, [weight], op=op)


def _update_op(
    name: str, path: str, weight: torch.Tensor, gradient: torch.Tensor, rule: Optimizer, capture: Capture
) -> Op:
    read, written = rule.moved(weight, gradient)
    return elementwise(
        read, written, rule.flops * weight.numel(), capture.dtype(weight), label="update", name=f"{name}.update",
        module=path, weight=capture.parameter(weight), stats={"state_bytes": rule.state_bytes(weight)},
    )  # fmt: skip
