# SPDX-License-Identifier: Apache-2.0
"""Traces of torch models: a pass or a training step, on real weights or on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch.nn.parameter import is_lazy

from simsparse.core import Op, OpKind, Trace, TraceBuilder
from simsparse.errors import SimsparseError, TraceError, nearest
from simsparse.trace.capture.cache import CACHE_ARGUMENTS, cached_states, cached_tensors, filled_cache
from simsparse.trace.capture.call import tensors_in
from simsparse.trace.capture.experts import MoeTracing, routing_of_rows
from simsparse.trace.capture.fold import without_weight_making
from simsparse.trace.capture.fuse import BESIDE, build
from simsparse.trace.capture.huggingface import own_functions, pretrained_models
from simsparse.trace.capture.latent import FORMS, latent_modules
from simsparse.trace.capture.layout import held_bytes
from simsparse.trace.capture.mixture import unmerged_experts, with_mixtures
from simsparse.trace.capture.recorder import Capture
from simsparse.trace.capture.rnn import RnnCalls
from simsparse.trace.capture.sdpa import FunctionCalls
from simsparse.trace.capture.training import OPTIMIZERS, step, train_mode
from simsparse.trace.masks import MaskStore
from simsparse.trace.routing import MODEL, RoutingProcess

PHASES = ("forward", "prefill", "decode", "train")
WEIGHTS = ("meta", "random", "trained")
Inputs: TypeAlias = Mapping[str, Any] | Sequence[Any] | torch.Tensor


def trace_model(
    model: torch.nn.Module,
    inputs: Inputs,
    phase: Literal["forward", "prefill", "decode", "train"] = "forward",
    *,
    name: str | None = None,
    weights: Literal["random", "trained"] | None = None,
    routing: str | None = None,
    kv_len: int | None = None,
    steps: int = 1,
    latent: Literal["naive", "absorbed"] = "naive",
    optimizer: str = "adamw",
    seed: int = 0,
    meta: Mapping[str, Any] | None = None,
    masks: MaskStore | None = None,
) -> Trace:
    """The operators of one pass of ``model`` on ``inputs``, or of one training step.

    The model runs in evaluation mode and without gradients (but for ``train``) and is left as it
    was. Raises TraceError when the model can't run, naming the module and the operation.

    Parameters
    ----------
    model
        Any nn.Module; on the meta device no weights are needed and nothing is computed.
    inputs
        Keyword arguments as a mapping, positional ones as a sequence, or one tensor.
    phase
        What the pass is; ``decode`` with ``kv_len`` gives a transformers model a cache that already
        holds ``kv_len`` tokens; ``train`` follows the forward pass by both gradients of every
        weighted op and the update of the weights.
    weights
        ``trained`` when the weights are trained ones; the routing of a MoE model is recorded only
        then.
    routing
        ``uniform``, ``zipf:S``, ``reuse:P``, ``counts:NAME-OR-CSV`` (generated from ``seed``) or
        ``model`` (the router's own choice). Default: ``model`` when trained, else ``uniform``.
    steps
        Tokens decoded one after the other, on a cache that grows; needs ``kv_len``.
    latent
        How multi-head latent attention runs: ``naive`` expands the cached latent, as transformers
        does; ``absorbed`` attends on it, as serving engines do in decode.
    optimizer
        Of ``train``: sgd, momentum or adamw.
    meta
        More facts to keep with the trace.
    masks
        Takes the masks of real weights and inputs; ``simsparse.trace.masks.save_with_masks`` writes
        them beside the trace.
    """
    _check(phase, routing, kv_len, steps, optimizer)
    _check_shapes(model)
    on_meta = _on_meta(model)
    absorbed = _form(model, latent, phase)
    chosen = routing or (MODEL if weights == "trained" and not on_meta else "uniform")
    run = _TracedRun(model, *_arguments(inputs), phase, chosen, seed, weights == "trained", absorbed, optimizer, masks)
    title = name or type(model).__name__
    facts = _facts(run, title, "meta" if on_meta else (weights or "random"), steps, kv_len)
    return _recorded(run, TraceBuilder(title), {**facts, **(meta or {})}, steps, kv_len)


def _facts(run: _TracedRun, title: str, weights: str, steps: int, kv_len: int | None) -> dict[str, Any]:
    """What a trace says of where it comes from, known before the model runs."""
    return {
        "model": title, "phase": run.phase, **({"kv_len": kv_len} if kv_len else {}),
        **({"steps": steps} if steps > 1 else {}), **({"latent_attention": run.latent} if run.latent else {}),
        "weights": weights, "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
    }  # fmt: skip


def _recorded(run: _TracedRun, builder: TraceBuilder, facts: dict[str, Any], steps: int, kv_len: int | None) -> Trace:
    """The trace of ``steps`` passes, ``facts`` and what the passes add to them as its meta."""
    origins: set[str] = set()
    for number in range(steps):
        tracing, more = run.record(builder, number, kv_len)
        facts |= more
        origins |= set(tracing.origins)
    if origins:
        facts |= {"routing": sorted(origins), "seed": run.seed}
    trace = builder.build()
    trace = trace.map(_sized(run.model, trace))
    others = sum(op.kind == OpKind.OTHER for op in trace.ops)
    return replace(trace, meta={**facts, "other_ops": others, "other_share": other_share(trace)})


def _sized(model: torch.nn.Module, trace: Trace) -> Callable[[Op], Op]:
    """Adds the bytes of parameters to an op whose dims do not give them: a table, a norm, a batched product.

    A parameter that an op reads beside its weight, such as the bias of a norm, counts with the first such weight,
    unless it is a weight itself.
    """
    stored = (*model.named_parameters(), *model.named_buffers())
    sizes = {name: held_bytes(tensor) for name, tensor in stored}
    weights, beside = {op.weight for op in trace.ops}, dict[str, str]()
    for op in trace.ops:
        for name in op.stats.get(BESIDE, ()):
            if name not in weights and op.weight is not None:
                beside.setdefault(name, op.weight)
    whole = dict(sizes)
    for name, owner in beside.items():
        if owner in whole:
            whole[owner] += sizes.get(name, 0)

    def sized(op: Op) -> Op:
        stats = {key: fact for key, fact in op.stats.items() if key != BESIDE}
        if op.weight in sizes and not op.resident_bytes and op.label != "update":
            stats["parameter_bytes"] = whole[op.weight]
        return op if stats == op.stats else op.with_(stats=stats)

    return sized


def other_share(trace: Trace) -> float:
    """Share of the trace's bytes that move in operations that are not understood (OTHER)."""
    total = sum(op.min_bytes for op in trace.ops)
    other = sum(op.min_bytes for op in trace.ops if op.kind == OpKind.OTHER)
    return round(other / total, 6) if total else 0.0


@dataclass(frozen=True)
class _TracedRun:
    """A model and how to run it."""

    model: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    phase: str
    routing: str
    seed: int
    trained: bool
    latent: str
    optimizer: str
    masks: MaskStore | None

    def record(self, builder: TraceBuilder, number: int, kv_len: int | None) -> tuple[MoeTracing, dict[str, Any]]:
        """Add the ops of the pass (of the decode step ``number``) to ``builder``; returns facts for the trace."""
        kwargs = dict(self.kwargs)
        if kv_len:
            kwargs = self._filled(kv_len + number)
        if self.phase == "train" and _keeps_cache(self.model):
            kwargs.setdefault("use_cache", False)
        given = tensors_in((self.args, kwargs))
        capture = Capture(self.model, cached_tensors(_cache_of(kwargs)), self.masks, given)
        tracing = self._tracing(capture, number)
        output, facts = self._run(kwargs, tracing)
        recording, folded = without_weight_making(capture.finish(output, cached_states(output, _cache_of(kwargs))))
        recording = with_mixtures(recording, partial(routing_of_rows, tracing))
        build(recording, builder, f"step{number}." if number else "")
        more = {"folded_ops": folded, **unmerged_experts(recording)}
        return tracing, {**facts, **{key: value for key, value in more.items() if value}}

    def _filled(self, kv_len: int) -> dict[str, Any]:
        unseen = replace(self._tracing(Capture(self.model, []), 0), routing="uniform")
        with torch.no_grad(), _evaluation(self.model), own_functions(self.model, unseen):
            return filled_cache(self.model, self.args, self.kwargs, kv_len)

    def _tracing(self, capture: Capture, number: int) -> MoeTracing:
        first = next((tensor for tensor in tensors_in((self.args, dict(self.kwargs))) if tensor.dim() > 1), None)
        sequences = first.shape[0] if first is not None else 1
        return MoeTracing(
            capture, self.routing, self.seed, self.trained, _on_meta(self.model), max(1, sequences), number
        )

    def _run(self, kwargs: dict[str, Any], tracing: MoeTracing) -> tuple[Any, dict[str, Any]]:
        capture, train = tracing.capture, self.phase == "train"
        with ExitStack() as stack:
            stack.enter_context(train_mode(self.model) if train else _evaluation(self.model))
            stack.enter_context(_module_paths(self.model, capture))
            stack.enter_context(own_functions(self.model, tracing, self.latent))
            if not train:
                stack.enter_context(torch.no_grad())
            calls = stack.enter_context(FunctionCalls(capture))
            stack.enter_context(calls.flex())
            stack.enter_context(RnnCalls(capture))
            stack.enter_context(capture)
            try:
                return self._pass(lambda: self.model(*self.args, **kwargs), capture)
            except SimsparseError:
                raise
            except Exception as error:
                raise _failure(error, self.model, capture) from error

    def _pass(self, forward: Callable[[], Any], capture: Capture) -> tuple[Any, dict[str, Any]]:
        if self.phase == "train":
            return step(self.model, forward, capture, self.optimizer)
        return forward(), {}


def _cache_of(kwargs: Mapping[str, Any]) -> Any:
    """The cache that a model is given, None without one."""
    return next((kwargs[name] for name in CACHE_ARGUMENTS if kwargs.get(name) is not None), None)


def _failure(error: Exception, model: torch.nn.Module, capture: Capture) -> TraceError:
    """What went wrong, where, and what to do."""
    path, operation = capture.failed_at or ("", "")
    name = path or type(model).__name__
    place = f"{name} ({capture.recording.classes.get(path, '')})" if path else name
    running = f"{operation} in {place}" if operation else place
    advice = ""
    if _on_meta(model) and (isinstance(error, NotImplementedError) or "meta" in str(error).lower()):
        advice = "; what the model does here depends on values, which the meta device has not: trace it on the CPU"
    text = " ".join(str(error).split())
    return TraceError(f"the model can't run: {type(error).__name__} at {running}: {text:.300}{advice}", key=name)


def _on_meta(model: torch.nn.Module) -> bool:
    tensors = list(model.parameters())
    return bool(tensors) and all(tensor.is_meta for tensor in tensors)


def _keeps_cache(model: torch.nn.Module) -> bool:
    return any(part is model and getattr(part.config, "use_cache", False) for part in pretrained_models(model))


def _form(model: torch.nn.Module, latent: str, phase: str) -> str:
    """The form of the model's latent attention, "" without any."""
    if latent not in FORMS:
        raise TraceError(f"{latent!r} is not a form of latent attention; {nearest(latent, FORMS)}", key="latent")
    if latent == "absorbed" and phase == "train":
        raise TraceError("the absorbed form of latent attention is for inference; use naive", key="latent")
    return latent if latent_modules(model) else ""


def _check(phase: str, routing: str | None, kv_len: int | None, steps: int, optimizer: str) -> None:
    if phase not in PHASES:
        raise TraceError(f"{phase!r} is not a phase; {nearest(phase, PHASES)}", key="phase")
    if optimizer not in OPTIMIZERS:
        raise TraceError(f"{optimizer!r} is not an optimizer; {nearest(optimizer, OPTIMIZERS)}", key="optimizer")
    if routing not in (None, MODEL):
        RoutingProcess.parse(routing or "")
    if kv_len is not None and (kv_len < 0 or phase != "decode"):
        raise TraceError(f"{kv_len} with phase {phase}; a cache length of 0 or more belongs to decode", key="kv_len")
    if steps < 1 or (steps > 1 and not kv_len):
        raise TraceError(f"{steps}; one or more, more than one with kv_len only", key="steps")


def _check_shapes(model: torch.nn.Module) -> None:
    lazy = next((name for name, own in (*model.named_parameters(), *model.named_buffers()) if is_lazy(own)), None)
    if lazy is not None:
        raise TraceError("has no shape before the model has seen a batch; run the model on one first", key=lazy)


def _arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    return ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})


@contextmanager
def _evaluation(model: torch.nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with suppress(NotImplementedError):  # an exported graph keeps the mode in which it was exported
        model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module in training:
            module.training = True


@contextmanager
def _module_paths(model: torch.nn.Module, capture: Capture) -> Iterator[None]:
    handles: list[Any] = []
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise TraceError("is compiled by torch.jit, which hides its operations; trace the module it was made from",
                             key=path or type(model).__name__)  # fmt: skip
        handles.append(module.register_forward_pre_hook(lambda *_, path=path: capture.enter(path)))
        handles.append(module.register_forward_hook(lambda *_: capture.leave(), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
