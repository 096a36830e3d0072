"""Traces of torch models: one forward pass, on real weights or on the meta device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeAlias

import torch

from simsparse.core import OpKind, Trace, TraceBuilder
from simsparse.errors import SimsparseError, TraceError, nearest
from simsparse.trace.capture import Capture, tensors_in
from simsparse.trace.fuse import build
from simsparse.trace.huggingface import MoeTracing, own_functions
from simsparse.trace.masks import MaskStore
from simsparse.trace.routing import MODEL, RoutingProcess
from simsparse.trace.sdpa import AttentionCalls

PHASES = ("forward", "prefill", "decode")
WEIGHTS = ("meta", "random", "trained")
Inputs: TypeAlias = Mapping[str, Any] | Sequence[Any] | torch.Tensor


def trace_model(
    model: torch.nn.Module,
    inputs: Inputs,
    phase: Literal["forward", "prefill", "decode"] = "forward",
    *,
    name: str | None = None,
    weights: Literal["random", "trained"] | None = None,
    routing: str | None = None,
    kv_len: int | None = None,
    seed: int = 0,
    meta: Mapping[str, Any] | None = None,
    masks: MaskStore | None = None,
) -> Trace:
    """The operators of one forward pass of ``model`` on ``inputs``.

    The model runs in evaluation mode without gradients and is left as it was. Raises TraceError
    when the model can't run, naming the operation.

    Parameters
    ----------
    model
        Any nn.Module; on the meta device no weights are needed and nothing is computed.
    inputs
        Keyword arguments as a mapping, positional ones as a sequence, or one tensor.
    phase
        What the pass is; ``decode`` with ``kv_len`` gives a transformers model a cache that already
        holds ``kv_len`` tokens.
    weights
        ``trained`` when the weights are trained ones; the routing of a MoE model is recorded only
        then.
    routing
        ``uniform``, ``zipf:S``, ``counts:NAME-OR-CSV`` (generated from ``seed``) or ``model`` (the
        router's own choice). Default: ``model`` when trained, else ``uniform``.
    meta
        More facts to keep with the trace.
    masks
        Takes the masks of real weights and inputs; ``simsparse.trace.masks.save_with_masks`` writes
        them beside the trace.
    """
    _check(phase, routing, kv_len)
    tensors = list(model.parameters())
    on_meta = bool(tensors) and all(tensor.device.type == "meta" for tensor in tensors)
    chosen = routing or (MODEL if weights == "trained" and not on_meta else "uniform")
    args, kwargs = _arguments(inputs)
    if phase == "decode" and kv_len:
        kwargs["past_key_values"] = filled_cache(model, args, kwargs, kv_len)
    capture = Capture(model, _cache_tensors(kwargs.get("past_key_values")), masks)
    tracing = MoeTracing(capture, chosen, seed, weights == "trained")
    output = _run(model, args, kwargs, tracing)
    facts: dict[str, Any] = {
        "model": name or type(model).__name__, "phase": phase, **({"kv_len": kv_len} if kv_len else {}),
        "weights": "meta" if on_meta else (weights or "random"), "parameters": sum(p.numel() for p in tensors),
        **(meta or {}),
    }  # fmt: skip
    if tracing.origins:
        facts |= {"routing": sorted(set(tracing.origins)), "seed": seed}
    trace = build(capture.finish(output), TraceBuilder(name or type(model).__name__, **facts)).build()
    return Trace(trace.name, trace.ops, {**trace.meta, "other_share": other_share(trace)})


def other_share(trace: Trace) -> float:
    """Share of the trace's bytes that move in operations that are not understood (OTHER)."""
    total = sum(op.min_bytes for op in trace.ops)
    other = sum(op.min_bytes for op in trace.ops if op.kind is OpKind.OTHER)
    return round(other / total, 6) if total else 0.0


def filled_cache(model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], kv_len: int) -> Any:
    """A DynamicCache that holds ``kv_len`` tokens of zero keys and values.

    The shapes of its layers are those that one pass of the model on the same inputs caches. Raises
    TraceError when the model keeps no cache of keys and values by layer.
    """
    with torch.no_grad(), _evaluation(model), own_functions(model, None):
        try:
            cache: Any = getattr(model(*args, **kwargs, use_cache=True), "past_key_values", None)
        except Exception as error:
            raise TraceError(f"kv_len needs a decoder with a cache: {error}", key="kv_len") from error
    layers = getattr(cache, "layers", None)
    if not layers or not all(isinstance(getattr(layer, "keys", None), torch.Tensor) for layer in layers):
        raise TraceError("kv_len needs a decoder that caches keys and values by layer", key="kv_len")
    shapes = [(layer.keys, layer.values) for layer in layers]
    cache.reset()
    for i, pair in enumerate(shapes):
        cache.update(*(held.new_zeros(*held.shape[:-2], kv_len, held.shape[-1]) for held in pair), i)
    return cache


def _check(phase: str, routing: str | None, kv_len: int | None) -> None:
    if phase not in PHASES:
        raise TraceError(f"{phase!r} is not a phase; {nearest(phase, PHASES)}", key="phase")
    if routing not in (None, MODEL):
        RoutingProcess.parse(routing or "")
    if kv_len is not None and (kv_len < 0 or phase != "decode"):
        raise TraceError(f"{kv_len} with phase {phase}; a cache length of 0 or more belongs to decode", key="kv_len")


def _arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    return ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})


def _cache_tensors(cache: Any) -> list[torch.Tensor]:
    layers = getattr(cache, "layers", None)
    if layers is None:
        return tensors_in(cache)
    held = [getattr(layer, part, None) for layer in layers for part in ("keys", "values")]
    return [tensor for tensor in held if isinstance(tensor, torch.Tensor)]


def _run(model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], tracing: MoeTracing) -> Any:
    with ExitStack() as stack:
        stack.enter_context(_evaluation(model))
        stack.enter_context(_module_paths(model, tracing.capture))
        stack.enter_context(own_functions(model, tracing))
        stack.enter_context(torch.no_grad())
        stack.enter_context(AttentionCalls(tracing.capture))
        stack.enter_context(tracing.capture)
        try:
            return model(*args, **kwargs)
        except SimsparseError:
            raise
        except Exception as error:
            place = tracing.capture.module or type(model).__name__
            raise TraceError(f"the model can't run: {type(error).__name__}: {error}", key=place) from error


@contextmanager
def _evaluation(model: torch.nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module in training:
            module.training = True


@contextmanager
def _module_paths(model: torch.nn.Module, capture: Capture) -> Iterator[None]:
    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, path=path: capture.enter(path)))
        handles.append(module.register_forward_hook(lambda *_: capture.leave(), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
