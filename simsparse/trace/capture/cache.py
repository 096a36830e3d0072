# SPDX-License-Identifier: Apache-2.0
"""Caches of keys and values that already hold tokens, for tracing a decode step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from simsparse.errors import TraceError
from simsparse.trace.capture.call import tensors_in

CACHE_ARGUMENTS = ("past_key_values", "cache_params")
"""Names under which models take and return a cache."""
_GROWING = ("keys", "values", "indexer_keys")
_STATES = ("conv_states", "recurrent_states")
_CACHES = ("self_attention_cache", "cross_attention_cache")
_SOURCE = ("input_ids", "inputs_embeds", "attention_mask")


def filled_cache(model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], kv_len: int) -> dict[str, Any]:
    """The keyword arguments of a decode step on a cache of ``kv_len`` tokens of zero keys and values.

    The shapes of the cache's layers are those that one pass of the model on the same inputs caches; the state of a
    recurrence is the one that the pass leaves. An encoder-decoder keeps the cache of its source and the output of its
    encoder, which does not run again. Raises TraceError when the model keeps no cache by layer.
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
    name = next((name for name in CACHE_ARGUMENTS if getattr(output, name, None) is not None), CACHE_ARGUMENTS[0])
    cache = _refilled(getattr(output, name, None), kv_len)
    step = {key: value for key, value in kwargs.items() if not (two_parts and key in _SOURCE)}
    return {**step, name: cache, **({"encoder_outputs": encoded[-1]} if encoded else {})}


def _encoder(model: Any) -> torch.nn.Module:
    encoder: torch.nn.Module = model.get_encoder()
    return encoder


def _refilled(cache: Any, kv_len: int) -> Any:
    """A cache whose keys, and what else grows with the tokens, are ``kv_len`` long."""
    decoder: Any = getattr(cache, _CACHES[0], cache)
    layers = getattr(decoder, "layers", None)
    if not layers or not all(any(True for _ in _held(layer)) for layer in layers):
        raise TraceError("kv_len needs a decoder that caches keys and values or a state by layer", key="kv_len")
    for i, layer in enumerate(layers):
        held = {name: tensor for name in _GROWING if isinstance(tensor := getattr(layer, name, None), torch.Tensor)}
        given = [_zeros(held[name], kv_len) for name in ("keys", "values") if name in held]
        if len(given) < 2:
            continue
        for name, tensor in held.items():
            setattr(layer, name, _zeros(tensor, 0 if name in ("keys", "values") else kv_len))
        if hasattr(layer, "cumulative_length"):
            layer.cumulative_length = 0
        decoder.update(*given, i)
    return cache


def _zeros(held: torch.Tensor, tokens: int) -> torch.Tensor:
    return held.new_zeros(*held.shape[:-2], tokens, held.shape[-1])


def _held(layer: Any) -> Iterator[torch.Tensor]:
    """The tensors that a layer of a cache holds: keys, values, what an indexer reads, states of recurrences."""
    for name in _GROWING:
        yield from tensors_in(getattr(layer, name, None))
    yield from _states(layer)


def _states(layer: Any) -> Iterator[torch.Tensor]:
    for name in _STATES:
        states = getattr(layer, name, None)
        yield from tensors_in(states if not isinstance(states, Mapping) else list(states.values()))


def cached_states(output: Any, given: Any) -> list[torch.Tensor]:
    """States of recurrences in the cache that a model returns, or else in the one that it was ``given``."""
    returned = next((found for name in CACHE_ARGUMENTS if (found := getattr(output, name, None)) is not None), given)
    cache = getattr(returned, _CACHES[0], returned)
    return [tensor for layer in getattr(cache, "layers", None) or () for tensor in _states(layer)]


def cached_tensors(cache: Any) -> list[torch.Tensor]:
    """What a cache holds from step to step: transformers' caches, or nested containers of tensors."""
    parts = [getattr(cache, name) for name in _CACHES if hasattr(cache, name)]
    if parts:
        return [tensor for part in parts for tensor in cached_tensors(part)]
    layers: Sequence[Any] | None = getattr(cache, "layers", None)
    if layers is None:
        return tensors_in(cache)
    return [tensor for layer in layers for tensor in _held(layer)]
