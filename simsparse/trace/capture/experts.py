# SPDX-License-Identifier: Apache-2.0
"""The experts of a MoE layer as one op, with the routing of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simsparse.core import DENSE, Op, Routing, Sparsity
from simsparse.core.kinds.moe_ffn import moe_ffn
from simsparse.errors import TraceError
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.kernel import Gradients, Kernel, Tensors
from simsparse.trace.capture.label import path_join
from simsparse.trace.capture.recorder import Capture
from simsparse.trace.routing import MODEL, RoutingProcess, generate
from simsparse.trace.statistics.sparsity_stats import WeightFacts


@dataclass
class MoeTracing:
    """The capture under way and where its routing comes from.

    ``sequences`` that the tokens of a layer belong to, token by token of the first, then of the
    second; ``start`` their position in the sequence. ``layer`` counts MoE layers.
    """

    capture: Capture
    routing: str
    seed: int
    trained: bool
    on_meta: bool = False
    sequences: int = 1
    start: int = 0
    layer: int = 0
    origins: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _MoeLayer:
    """What a MoE layer is, whatever its class: shape of an expert, parameters, and their storage."""

    path: str
    experts: int
    d_model: int
    d_ff: int
    gated: bool
    biased: bool
    down: torch.Tensor
    parameters: tuple[torch.Tensor, ...]


def run_experts(
    tracing: MoeTracing, module: Any, hidden: torch.Tensor, ids: torch.Tensor, shares: torch.Tensor
) -> torch.Tensor:
    """Run and record a layer of transformers' experts registry: ``ids`` and ``shares`` (tokens, top_k)."""
    transposed = bool(getattr(module, "is_transposed", False))
    experts, rows, cols = module.down_proj.shape
    layer = _MoeLayer(
        tracing.capture.module, experts, *((cols, rows) if transposed else (rows, cols)),
        bool(getattr(module, "has_gate", True)), bool(getattr(module, "has_bias", False)),
        module.down_proj.transpose(-1, -2) if transposed else module.down_proj,
        tuple(module.parameters(recurse=False)),
    )  # fmt: skip
    eager = type(module).forward.__wrapped__
    return _run(tracing, layer, ids, lambda x, share, *_: eager(module, x, ids, share), hidden, shares)


@contextmanager
def switch_layers(model: torch.nn.Module, tracing: MoeTracing) -> Iterator[None]:
    """Within it, Switch transformers' experts, which are in no registry, run through this module."""
    layers = [module for module in model.modules() if type(module).__name__ == "SwitchTransformersExperts"]
    for module in layers:
        module.forward = partial(_switch, tracing, module)
    try:
        yield
    finally:
        for module in layers:
            del module.forward


def _switch(
    tracing: MoeTracing, module: Any, hidden: torch.Tensor, chosen: torch.Tensor, shares: torch.Tensor
) -> torch.Tensor:
    """``chosen`` (tokens, 1, experts): one-hot, all zero for a token beyond its expert's capacity."""
    first = module["expert_0"]
    d_ff, d_model = first.wi.weight.shape
    layer = _MoeLayer(
        tracing.capture.module, len(module), d_model, d_ff, False, first.wi.bias is not None, first.wo.weight,
        tuple(module.parameters()),
    )  # fmt: skip
    with tracing.capture.paused():
        ids = chosen.argmax(-1)
        if not chosen.is_meta:
            ids = torch.where(chosen.sum(-1) > 0, ids, -1)
    eager = type(module).forward
    return _run(tracing, layer, ids, lambda x, share, *_: eager(module, x, chosen, share), hidden, shares)


def _run(
    tracing: MoeTracing, layer: _MoeLayer, ids: torch.Tensor, compute: Callable[..., torch.Tensor],
    hidden: torch.Tensor, shares: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    capture = tracing.capture
    with capture.paused():
        op = _op(tracing, layer, hidden, ids)

    def record(inputs: Tensors, out: torch.Tensor) -> None:
        reads = [capture.access(tensor) for tensor in (*inputs, ids)]
        capture.add(EventRole.OWN, "experts", reads, [out], op=op)

    def record_backward(inputs: Tensors, upstream: torch.Tensor, gradients: Gradients) -> None:
        data = [gradient for gradient in gradients[:2] if gradient is not None]
        weights = [gradient for gradient in gradients[2:] if gradient is not None]
        reads = [capture.access(upstream), *(capture.access(tensor) for tensor in inputs[:2])]
        if data:
            taken = [*reads, *(capture.access(tensor) for tensor in inputs[2:])]
            capture.add(EventRole.OWN, "experts", taken, data, op=gradient_op(op, "bwd_input"))
        if weights:
            capture.add(EventRole.OWN, "experts", reads, weights, op=gradient_op(op, "bwd_weight"))

    kernel = Kernel(capture, compute, lambda x, *_: torch.empty_like(x), record, record_backward)
    return kernel.run(hidden, shares, *layer.parameters)


def _op(tracing: MoeTracing, layer: _MoeLayer, hidden: torch.Tensor, ids: torch.Tensor) -> Op:
    capture = tracing.capture
    routing, dropped = _routing(tracing, layer, ids, hidden.numel() // layer.d_model)
    sparsity, stats = _weight_facts(capture, layer)
    dtype, weight_dtype = capture.dtype(hidden), capture.dtype(layer.down)
    return moe_ffn(
        hidden.numel() // layer.d_model - dropped, layer.d_model, layer.d_ff, layer.experts, layer.gated, dtype,
        routing=routing, weight_sparsity=sparsity, weight_dtype=weight_dtype if weight_dtype is not dtype else None,
        name=layer.path, module=layer.path, weight=layer.path, bias=layer.biased, label=capture.label(""),
        stats={**stats, **capture.input_facts(hidden), **({"dropped_tokens": dropped} if dropped else {})},
    )  # fmt: skip


def _weight_facts(capture: Capture, layer: _MoeLayer) -> WeightFacts:
    """Pattern and facts of the down projections, with those of up and gate as ``up``; the denser pattern counts."""
    sparsity, stats = capture.weight_facts(layer.down.reshape(-1, layer.down.shape[-1]))
    up = [weight for weight in layer.parameters if weight.dim() == 3 and weight.shape[-1] == layer.d_model]
    inward = [weight for weight in up if weight.shape[-2] in (layer.d_ff, 2 * layer.d_ff)]
    if len(inward) != 1 or inward[0] is layer.down or layer.down.is_meta:
        return sparsity, stats
    other, facts = capture.weight_facts(inward[0].reshape(-1, layer.d_model))
    return max(sparsity, other, key=lambda pattern: pattern.density), {**stats, "up": facts}


def gradient_op(op: Op, label: str) -> Op:
    """The gradient of an op's inputs or weights: the same products, the same tensors moved.

    The transposed weights keep their density, but not an arrangement along the other axis.
    """
    sparsity = DENSE
    if label == "bwd_input" and op.weight_sparsity.density < 1.0:
        sparsity = Sparsity.parse(f"unstructured:{op.weight_sparsity.density!r}")
    return replace(op, name=path_join(op.name, label), label=label, weight_sparsity=sparsity, stats={})


def routing_of_rows(
    tracing: MoeTracing, rows: Sequence[int], tokens: int, ids: NDArray[np.int64] | None = None
) -> Routing:
    """The routing of experts that a model ran on ``rows`` each, of so many ``tokens``; 0 where that can't be said.

    ``ids``: the experts of each token, where the model showed them.

    A process draws as many assignments. Where every expert runs on every token, or tokens have different numbers of
    experts, there is nothing to draw.
    """
    number, tracing.layer = tracing.layer, tracing.layer + 1
    top_k = sum(rows) // tokens if tokens else len(rows)
    if tracing.routing != MODEL and top_k < len(rows):
        routing = _drawn(tracing, tokens, len(rows), top_k, number)
    else:
        origin = "recorded" if tracing.trained else "generated:untrained-router"
        routing = Routing(tuple(rows), (), origin) if ids is None else Routing.from_ids(ids, len(rows), origin)
    tracing.origins.append(routing.origin)
    return routing


def _drawn(tracing: MoeTracing, tokens: int, experts: int, top_k: int, number: int) -> Routing:
    sequences = tracing.sequences if tokens % tracing.sequences == 0 else 1
    return generate(
        RoutingProcess.parse(tracing.routing), tokens, experts, top_k, number, tracing.seed, sequences=sequences,
        start=tracing.start,
    )  # fmt: skip


def _routing(tracing: MoeTracing, layer: _MoeLayer, ids: torch.Tensor, tokens: int) -> tuple[Routing, int]:
    """The layer's routing and the number of tokens that go to no expert."""
    number, tracing.layer = tracing.layer, tracing.layer + 1
    top_k, dropped = ids.shape[-1], 0
    if tracing.routing != MODEL:
        routing = _drawn(tracing, tokens, layer.experts, top_k, number)
    elif ids.is_meta:
        raise TraceError("a model without weights routes nothing; choose a generated routing", key="routing")
    else:
        rows = ids.reshape(tokens, top_k)
        kept = rows[(rows >= 0).all(-1)]
        dropped = tokens - len(kept)
        origin = "recorded" if tracing.trained else "generated:untrained-router"
        routing = Routing.from_ids(kept.tolist(), layer.experts, origin)
    tracing.origins.append(routing.origin)
    return routing, dropped
