# SPDX-License-Identifier: Apache-2.0
"""Caches of keys and values that already hold tokens, for tracing a decode step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from simsparse.errors import TraceError
from simsparse.trace.capture.recorder import tensors_in

_CACHES = ("self_attention_cache", "cross_attention_cache")
_SOURCE = ("input_ids", "inputs_embeds", "attention_mask")


def filled_cache(model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], kv_len: int) -> dict[str, Any]:
    """The keyword arguments of a decode step on a cache of ``kv_len`` tokens of zero keys and values.

    The shapes of the cache's layers are those that one pass of the model on the same inputs caches.
    An encoder-decoder keeps the cache of its source and the output of its encoder, which does not
    run again. Raises TraceError when the model keeps no cache of keys and values by layer.
    """
    two_parts = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    encoded: list[Any] = []
    hook = _encoder(model).register_forward_hook(lambda *given: encoded.append(given[-1])) if two_parts else None
    try:
        output = model(*args, **kwargs, **({} if two_parts else {"use_cache": True}))
    except Exception as error:
        raise TraceError(f"kv_len needs a decoder with a cache: {error}", key="kv_len") from error
    finally:
        if hook is not None:
            hook.remove()
    cache = _refilled(getattr(output, "past_key_values", None), kv_len)
    step = {key: value for key, value in kwargs.items() if not (two_parts and key in _SOURCE)}
    return {**step, "past_key_values": cache, **({"encoder_outputs": encoded[-1]} if encoded else {})}


def _encoder(model: Any) -> torch.nn.Module:
    encoder: torch.nn.Module = model.get_encoder()
    return encoder


def _refilled(cache: Any, kv_len: int) -> Any:
    decoder: Any = getattr(cache, _CACHES[0], cache)
    layers = getattr(decoder, "layers", None)
    if not layers or not all(isinstance(getattr(layer, "keys", None), torch.Tensor) for layer in layers):
        raise TraceError("kv_len needs a decoder that caches keys and values by layer", key="kv_len")
    shapes = [(layer.keys, layer.values) for layer in layers]
    decoder.reset()
    for i, pair in enumerate(shapes):
        decoder.update(*(held.new_zeros(*held.shape[:-2], kv_len, held.shape[-1]) for held in pair), i)
    return cache


def cached_tensors(cache: Any) -> list[torch.Tensor]:
    """The keys and values that a cache holds: transformers' caches, or nested containers of tensors."""
    parts = [getattr(cache, name) for name in _CACHES if hasattr(cache, name)]
    if parts:
        return [tensor for part in parts for tensor in cached_tensors(part)]
    layers: Sequence[Any] | None = getattr(cache, "layers", None)
    if layers is None:
        return tensors_in(cache)
    held = [getattr(layer, part, None) for layer in layers for part in ("keys", "values")]
    return [tensor for tensor in held if isinstance(tensor, torch.Tensor)]
