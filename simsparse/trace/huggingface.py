"""Attention and experts functions for transformers' public registries: one op each.

Outside of a capture they compute what transformers' own do, so that a registered name never changes
a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch

from simsparse.core import Routing
from simsparse.core.ops import moe_ffn
from simsparse.errors import TraceError
from simsparse.trace.capture import Capture
from simsparse.trace.event import Role
from simsparse.trace.routing import MODEL, RoutingProcess, generate
from simsparse.trace.sdpa import record_attention

NAME = "simsparse"


@dataclass
class MoeTracing:
    """The capture under way and where its routing comes from; ``layer`` counts MoE layers."""

    capture: Capture
    routing: str
    seed: int
    trained: bool
    layer: int = 0
    origins: list[str] = field(default_factory=list)


_CURRENT: ContextVar[MoeTracing | None] = ContextVar("simsparse_trace", default=None)


@contextmanager
def own_functions(model: torch.nn.Module, tracing: MoeTracing | None) -> Iterator[None]:
    """Within it, the transformers models in ``model`` run attention and experts through this module.

    With ``tracing`` they are recorded, without they only run.
    """
    models = _pretrained(model)
    before = [(part, part.config._attn_implementation, part.config._experts_implementation) for part in models]
    token = _CURRENT.set(tracing)
    try:
        if models:
            _register()
        for part in models:
            part.set_attn_implementation(NAME)
            part.set_experts_implementation(NAME)
        yield
    finally:
        _CURRENT.reset(token)
        for part, attention, experts in before:
            part.set_attn_implementation(attention)
            part.set_experts_implementation(experts)


def _pretrained(model: torch.nn.Module) -> list[Any]:
    """Outermost transformers models in ``model``; none when transformers was never imported."""
    import sys

    if "transformers.modeling_utils" not in sys.modules:
        return []
    from transformers import PreTrainedModel

    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        if isinstance(module, PreTrainedModel) and not any(path.startswith(outer) for outer in found):
            found[f"{path}." if path else ""] = module
    return list(found.values())


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError as error:
        raise TraceError("tracing transformers models needs transformers 5 or later") from error
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)
    ALL_EXPERTS_FUNCTIONS.register(NAME, _experts)


def _mask(*args: Any, **kwargs: Any) -> Any:
    """The mask that SDPA takes; none on meta, where nothing is computed."""
    from transformers.masking_utils import sdpa_mask

    tracing = _CURRENT.get()
    if tracing is not None and str(kwargs.get("device", "cpu")) == "meta":
        return None
    with tracing.capture.paused() if tracing else nullcontext():
        return sdpa_mask(*args, **kwargs)


def _attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any,
    is_causal: bool | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    tracing = _CURRENT.get()
    with tracing.capture.paused() if tracing else nullcontext():
        if query.device.type == "meta":
            out = query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[-1])
        else:
            out, _ = sdpa_attention_forward(
                module, query, key, value, attention_mask, is_causal=is_causal, **kwargs
            )  # fmt: skip
    if tracing:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        record_attention(
            tracing.capture, query, key, value, out, causal=bool(causal), window=kwargs.get("sliding_window")
        )  # fmt: skip
    return out, None


def _experts(module: Any, hidden: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor) -> torch.Tensor:
    tracing = _CURRENT.get()
    with tracing.capture.paused() if tracing else nullcontext():
        if hidden.device.type == "meta":
            out = torch.empty_like(hidden)
        else:
            out = type(module).forward.__wrapped__(module, hidden, top_k_index, top_k_weights)
    if tracing:
        _record_experts(tracing, module, hidden, (top_k_index, top_k_weights), out)
    return out


def _record_experts(
    tracing: MoeTracing, module: Any, hidden: torch.Tensor, routed: tuple[torch.Tensor, torch.Tensor],
    out: torch.Tensor,
) -> None:  # fmt: skip
    capture, path = tracing.capture, tracing.capture.module
    experts, d_model, d_ff = _expert_shape(module)
    tokens = hidden.numel() // d_model
    with capture.paused():
        routing = _routing(tracing, routed[0], tokens, experts)
        down = module.down_proj.transpose(-1, -2) if getattr(module, "is_transposed", False) else module.down_proj
        sparsity, stats = capture.weight_facts(down.reshape(-1, down.shape[-1]))
    dtype, weight_dtype = capture.dtype(hidden), capture.dtype(module.down_proj)
    op = moe_ffn(
        tokens, d_model, d_ff, experts, bool(getattr(module, "has_gate", True)), dtype, routing=routing,
        weight_sparsity=sparsity, weight_dtype=weight_dtype if weight_dtype is not dtype else None,
        name=path, module=path, weight=path, stats=stats,
    )  # fmt: skip
    weights = [parameter for _, parameter in module.named_parameters(recurse=False)]
    capture.add(Role.OWN, "experts", [capture.access(t) for t in (hidden, *routed, *weights)], [out], op=op)


def _expert_shape(module: Any) -> tuple[int, int, int]:
    """(experts, d_model, d_ff), read off the down projection."""
    experts, rows, cols = module.down_proj.shape
    return (experts, cols, rows) if getattr(module, "is_transposed", False) else (experts, rows, cols)


def _routing(tracing: MoeTracing, ids: torch.Tensor, tokens: int, experts: int) -> Routing:
    layer, tracing.layer = tracing.layer, tracing.layer + 1
    top_k = ids.shape[-1]
    if tracing.routing != MODEL:
        process = RoutingProcess.parse(tracing.routing)
        routing = generate(process, tokens, experts, top_k, layer, tracing.seed)
    elif ids.device.type == "meta":
        raise TraceError("a model without weights routes nothing; choose a generated routing", key="routing")
    else:
        origin = "recorded" if tracing.trained else "generated:untrained-router"
        routing = Routing.from_ids(ids.reshape(tokens, top_k).tolist(), experts, origin)
    tracing.origins.append(routing.origin)
    return routing
