# SPDX-License-Identifier: Apache-2.0
"""Extraction of traces by a model's name, from its published shapes alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from simsparse.errors import TraceError, nearest
from simsparse.models.trained import TRAINED, trace_trained
from simsparse.models.versions import versions
from simsparse.models.zoo import MODELS, ModelSpec, ModelTask

if TYPE_CHECKING:
    import torch

    from simsparse.core import Trace

__all__ = ["MODELS", "ModelSpec", "build_model", "extract", "trace_name", "usual_phase"]

_AUTO = {
    ModelTask.CAUSAL: "AutoModelForCausalLM", ModelTask.SEQ2SEQ: "AutoModelForSeq2SeqLM", ModelTask.TEXT: "AutoModel",
    ModelTask.IMAGE: "AutoModelForImageClassification",
}  # fmt: skip


def build_model(name: str, device: str = "meta", layers: int | None = None) -> torch.nn.Module:
    """The model called ``name`` with untrained weights, on ``meta`` without any; MiniLM with its trained ones.

    ``layers``: how many decoder layers it has, by default all.

    Raises TraceError with the nearest name, or when torch or transformers is not installed.
    """
    spec = _spec(name) if layers is None else _spec(name).with_layers(layers)
    try:
        import torch
    except ImportError as error:
        raise TraceError("torch is not installed; pip install 'simsparse[torch]'") from error
    if spec.family == "minilm":
        from simsparse.models.minilm import load_minilm

        return load_minilm(spec.pattern)
    with torch.device(device):
        if spec.family == "plain":
            from simsparse.models.plain import SmallCnn

            return SmallCnn().eval()
        return _from_config(spec, getattr(torch, spec.dtype))


def extract(
    model: str,
    phase: Literal["prefill", "decode", "forward", "train"] = "decode",
    batch: int = 1,
    seq: int = 2048,
    kv_len: int = 2048,
    routing: str | None = None,
    seed: int = 0,
    *,
    steps: int = 1,
    latent: Literal["naive", "absorbed"] | None = None,
    optimizer: str = "adamw",
    layers: int | None = None,
) -> Trace:
    """The trace of a model of MODELS, extracted on the meta device (MiniLM on its trained weights).

    ``seq`` tokens a sequence in prefill, where only the last position goes through the language
    head, as in serving, and in training; ``steps`` times one token on a cache of ``kv_len`` tokens in
    decode. An encoder-decoder reads ``seq`` tokens: prefill runs its encoder and the first step of
    its decoder, decode a further step. A model that is no language model runs forward or a training
    step: on ``batch`` images, or texts of ``seq`` tokens. ``routing`` as in ``trace_model``; by
    default the model's measured expert counts where they are known, else uniform. ``latent``: as in
    ``trace_model``; by default absorbed in decode and naive otherwise, as serving engines do.
    ``layers``: trace a model of so many decoder layers.
    A model of ``simsparse.models.trained`` runs forward on real inputs, pruned by magnitude to what
    follows its name: ``crepe-full:2:4``. Raises TraceError.
    """
    name, _, pattern = model.partition(":")
    if model not in MODELS and name in TRAINED:
        if phase != "forward":
            raise TraceError(f"{phase} does not fit {name}; allowed: forward", key="phase")
        return trace_trained(name, pattern or "dense", batch=batch, judge=False)
    spec = _spec(model)
    for key, value in (("batch", batch), ("seq", seq), ("kv_len", kv_len)):
        if not 1 <= value <= 2**31:
            raise TraceError(f"{value} is not a whole number from 1 to 2**31", key=key)
    if phase not in spec.task.phases:
        raise TraceError(f"{phase} does not fit {model}; allowed: {', '.join(spec.task.phases)}", key="phase")
    with _no_collection():
        module = build_model(model, layers=layers)
        from simsparse.trace.capture.tracing import trace_model

        return trace_model(
            module, _inputs(spec, phase, batch, seq), phase, name=trace_name(model, phase, batch, seq, kv_len),
            seed=seed, routing=routing or spec.routing, kv_len=kv_len if phase == "decode" else None, steps=steps,
            weights="trained" if spec.family == "minilm" else None, optimizer=optimizer,
            latent=latent or ("absorbed" if phase == "decode" else "naive"),
            meta={"model": model, "batch": batch, **({"seq": seq} if _has_seq(spec, phase) else {}), **versions()},
        )  # fmt: skip


def usual_phase(model: str) -> str:
    """The phase that a model is traced in when none is asked for. Raises TraceError with the nearest name."""
    if model not in MODELS and model.partition(":")[0] in TRAINED:
        return "forward"
    return _spec(model).task.phases[0]


def trace_name(model: str, phase: str, batch: int, seq: int, kv_len: int) -> str:
    """Usual name of a trace, such as ``llama2-7b-decode-b8-kv2048``."""
    spec = MODELS.get(model)
    source = f"-s{seq}" if spec is not None and _has_seq(spec, phase) and phase != "forward" else ""
    return f"{model}-{phase}-b{batch}{source}{f'-kv{kv_len}' if phase == 'decode' else ''}"


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the search for garbage, whose passes over all that torch imports take a fifth of an extraction."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _has_seq(spec: ModelSpec, phase: str) -> bool:
    return spec.task is not ModelTask.IMAGE and (spec.task is not ModelTask.CAUSAL or phase != "decode")


def _spec(name: str) -> ModelSpec:
    if name not in MODELS:
        raise TraceError(f"{name!r} is not a known model; {nearest(name, {*MODELS, *TRAINED})}", key="model")
    return MODELS[name]


def _from_config(spec: ModelSpec, dtype: torch.dtype) -> torch.nn.Module:
    try:
        import transformers
    except ImportError as error:
        raise TraceError("transformers is not installed; pip install 'simsparse[torch]'") from error
    config = transformers.AutoConfig.for_model(spec.family, **spec.shape)
    model: torch.nn.Module = getattr(transformers, _AUTO[spec.task]).from_config(config, dtype=dtype)
    return model.eval()


def _inputs(spec: ModelSpec, phase: str, batch: int, seq: int) -> dict[str, Any] | torch.Tensor:
    import torch

    if spec.family == "minilm":
        from simsparse.models.minilm import encode

        return encode(batch, seq)
    if spec.task is ModelTask.IMAGE:
        return _images(spec, phase, batch)

    def tokens(length: int) -> torch.Tensor:
        return torch.zeros(batch, length, dtype=torch.long, device="meta")

    if spec.task is ModelTask.SEQ2SEQ:
        given = {"input_ids": tokens(seq), "decoder_input_ids": tokens(seq if phase == "train" else 1)}
        return {**given, **({"labels": tokens(seq)} if phase == "train" else {})}
    ids = {"input_ids": tokens(1 if phase == "decode" else seq)}
    if spec.task is ModelTask.TEXT:
        return ids
    extra = {"prefill": {"logits_to_keep": 1}, "train": {"labels": tokens(seq)}}.get(phase, {})
    return {**ids, **extra}


def _images(spec: ModelSpec, phase: str, batch: int) -> dict[str, Any] | torch.Tensor:
    import torch

    images = torch.empty(batch, 3, spec.image, spec.image, device="meta", dtype=getattr(torch, spec.dtype))
    if spec.family == "plain":
        return images
    labels = torch.zeros(batch, dtype=torch.long, device="meta")
    return {"pixel_values": images, **({"labels": labels} if phase == "train" else {})}
