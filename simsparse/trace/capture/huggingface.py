# SPDX-License-Identifier: Apache-2.0
"""Attention and experts functions for transformers' public registries: one op each.

Outside of a capture they compute what transformers' own do, so that a registered name never changes
a result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from simsparse.core.kinds.attention import CACHED_ELEMENTS
from simsparse.errors import TraceError
from simsparse.trace.capture.experts import MoeTracing, run_experts, switch_layers
from simsparse.trace.capture.kernel import Kernel
from simsparse.trace.capture.latent import Latent, absorbing, record_absorbed
from simsparse.trace.capture.masked import TracedMask
from simsparse.trace.capture.sdpa import record_attention, record_attention_backward

NAME = "simsparse"
BARE = "simsparse-meta"
"""Without a mask function, so that transformers builds no mask: on the meta device nothing reads one."""


@dataclass(frozen=True)
class _Current:
    """The trace under way, the latents that its attention modules have expanded, when absorbed; encoders' modules."""

    tracing: MoeTracing
    latents: dict[Any, Latent]
    encoders: frozenset[Any] = frozenset()


_CURRENT: ContextVar[_Current | None] = ContextVar("simsparse_trace", default=None)


@contextmanager
def own_functions(model: torch.nn.Module, tracing: MoeTracing, latent: str = "naive") -> Iterator[None]:
    """Within it, the transformers models in ``model`` run attention and experts through this module."""
    models = pretrained_models(model)
    with ExitStack() as stack:
        latents = stack.enter_context(absorbing(model, tracing.capture)) if latent == "absorbed" else {}
        token = _CURRENT.set(_Current(tracing, latents, _encoder_modules(models)))
        stack.callback(_CURRENT.reset, token)
        stack.enter_context(switch_layers(model, tracing))
        if models:
            _register()
        for part in models:
            stack.callback(part.set_attn_implementation, part.config._attn_implementation)
            stack.callback(part.set_experts_implementation, part.config._experts_implementation)
            part.set_attn_implementation(BARE if tracing.on_meta else NAME)
            part.set_experts_implementation(NAME)
        yield


def pretrained_models(model: torch.nn.Module) -> list[Any]:
    """Outermost transformers models in ``model``; none when transformers was never imported."""
    if "transformers.modeling_utils" not in sys.modules:
        return []
    from transformers.modeling_utils import PreTrainedModel

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
    AttentionInterface.register(BARE, _attention)
    AttentionMaskInterface.register(NAME, _mask)
    ALL_EXPERTS_FUNCTIONS.register(NAME, _experts)


def _mask(*args: Any, **kwargs: Any) -> Any:
    """The mask that SDPA takes, unrecorded."""
    from transformers.masking_utils import sdpa_mask

    current = _CURRENT.get()
    with current.tracing.capture.paused() if current else nullcontext():
        return sdpa_mask(*args, **kwargs)


def _attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any,
    is_causal: bool | None = None, position_bias: torch.Tensor | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def compute(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        given = {**kwargs, "position_bias": bias, "is_causal": is_causal}
        out: torch.Tensor = sdpa_attention_forward(module, q, k, v, attention_mask, **given)[0]
        return out

    current = _CURRENT.get()
    inputs = (query, key, value) if position_bias is None else (query, key, value, position_bias)
    if current is None:
        return compute(*inputs), None
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    return _kernel(current, module, compute, causal, kwargs).run(*inputs), None


def _kernel(current: _Current, module: Any, compute: Any, causal: bool, given: Mapping[str, Any]) -> Kernel:
    capture, latent = current.tracing.capture, current.latents.pop(module, None)
    mask = TracedMask(given.get("sliding_window"), _chunk(module))
    record: Any = partial(record_attention, capture, causal=causal, mask=mask, facts=_cached(current, module))
    if latent is not None:
        record = lambda heads, out: record_absorbed(capture, module, heads[0], latent, out, causal=causal)  # noqa: E731
    return Kernel(
        capture, compute, lambda q, _, v, *__: q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[-1]), record,
        partial(record_attention_backward, capture, causal=causal, mask=mask),
    )  # fmt: skip


def _encoder_modules(models: list[Any]) -> frozenset[Any]:
    """The modules of the encoders of encoder-decoders, whose keys and values are no cache."""
    found = [model.get_encoder() for model in models if getattr(model.config, "is_encoder_decoder", False)]
    return frozenset(module for encoder in found if encoder is not None for module in encoder.modules())


def _cached(current: _Current, module: Any) -> dict[str, int]:
    """Elements that a layer caches per token, where these are not its keys and values."""
    if hasattr(module, "kv_lora_rank") and hasattr(module, "expand_kv"):
        return {CACHED_ELEMENTS: module.kv_lora_rank + module.qk_rope_head_dim}
    return {CACHED_ELEMENTS: 0} if module in current.encoders else {}


def _chunk(module: Any) -> int | None:
    """Positions of a chunk, of a layer that attends within chunks."""
    config, layer = getattr(module, "config", None), getattr(module, "layer_idx", None)
    kinds = getattr(config, "layer_types", None) or ()
    chunked = layer is not None and layer < len(kinds) and kinds[layer] == "chunked_attention"
    return getattr(config, "attention_chunk_size", None) if chunked else None


def _experts(module: Any, hidden: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor) -> torch.Tensor:
    current = _CURRENT.get()
    if current is None:
        out: torch.Tensor = type(module).forward.__wrapped__(module, hidden, top_k_index, top_k_weights)
        return out
    return run_experts(current.tracing, module, hidden, top_k_index, top_k_weights)
