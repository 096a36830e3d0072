# SPDX-License-Identifier: Apache-2.0
"""Traces of training and its memory written down op by op: low-rank plus sparse weights, encoders, estimated masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simsparse.core import DType, Op, Trace, TraceBuilder, ops
from simsparse.models.gpt import backward

HALF, FULL = 2, 4
"""Bytes of a value of 16 and of 32 bits."""


@dataclass(frozen=True)
class Pretraining:
    """Llama-7B on ``tokens``: weights of ``rank`` plus ``density`` (0: full), ``state`` bytes per parameter, updates
    after each layer or at the end."""

    rank: int = 0
    density: float = 0.05
    state: int = 4
    per_layer: bool = False
    tokens: int = 256
    layers: int = 32
    width: int = 4096
    ffn: int = 11008
    vocabulary: int = 32_000

    def parameters(self, n: int, k: int) -> int:
        """Trained numbers of a weight (n, k)."""
        return self.rank * (n + k) + round(self.density * n * k) if self.rank else n * k


INDEX = 8
"""Bytes of the place of a kept weight: int64, as torch has them."""


def pretraining(name: str, p: Pretraining) -> Trace:
    """Forward pass, backward pass and the optimizer's updates; the gradient of a full weight lives until its update."""
    shapes = {"q": (p.width, p.width), "k": (p.width, p.width), "v": (p.width, p.width), "o": (p.width, p.width),
              "gate": (p.ffn, p.width), "up": (p.ffn, p.width), "down": (p.width, p.ffn)}  # fmt: skip
    builder = TraceBuilder(name, phase="train", batch=1, written="study_training.py")
    layers = [[(f"layers.{i}.{part}", *shape) for part, shape in shapes.items()] for i in range(p.layers)]
    layers.append([("lm_head", p.vocabulary, p.width)])
    for weight, n, k in (each for layer in layers for each in layer):
        builder.add(ops.linear(p.tokens, n, k, name=weight, module=weight, weight=f"{weight}.weight", label="fwd",
                               weight_sparsity=_kept(p, weight)))  # fmt: skip
    for layer in reversed(layers):
        for weight, n, k in reversed(layer):
            _gradients(builder, p, weight, n, k)
            if p.per_layer:
                builder.add(_update(p, weight, n, k), [f"{weight}.bwd_weight"])
    if not p.per_layer:
        for weight, n, k in (each for layer in layers for each in layer):
            builder.add(_update(p, weight, n, k), [f"{weight}.bwd_weight"])
    return builder.build()


def _kept(p: Pretraining, weight: str) -> str:
    return f"lowrank{p.rank}+unstructured:{p.density}" if p.rank and weight != "lm_head" else "dense"


def _gradients(builder: TraceBuilder, p: Pretraining, weight: str, n: int, k: int) -> None:
    before = builder.last
    builder.add(ops.matmul(1, n, k, p.tokens, name=f"{weight}.bwd_weight", module=weight, label="bwd_weight"),
                [before, weight])  # fmt: skip
    builder.add(ops.linear(p.tokens, k, n, name=f"{weight}.bwd_input", module=weight, weight=f"{weight}.weight",
                           label="bwd_input", weight_sparsity=_kept(p, weight)), [before])  # fmt: skip


def _update(p: Pretraining, weight: str, n: int, k: int) -> Op:
    """Reads and writes the parameters and the state; places of kept weights count as state."""
    own = p.parameters(n, k) if weight != "lm_head" else n * k
    places = round(p.density * n * k) * INDEX if p.rank and weight != "lm_head" else 0
    state = p.state * own + places
    moved = HALF * own + state
    return ops.elementwise(moved, moved, 8 * own, label="update", name=f"{weight}.update", module=weight,
                           weight=f"{weight}.weight", stats={"state_bytes": state})  # fmt: skip


@dataclass(frozen=True)
class Encoder:
    """An encoder of ``layers`` on ``sequences`` of ``length``, of which the last ``attended`` attend and the others mix
    by a matrix along the sequence and one along the width; ``experts`` in ``mixtures`` feed-forward layers, one per
    token."""

    layers: int
    width: int
    heads: int
    ffn: int
    attended: int
    mixtures: int = 0
    experts: int = 16
    sequences: int = 32
    length: int = 512


def encoder(name: str, e: Encoder, train: bool) -> Trace:
    """A forward pass, with ``train`` the backward pass and Adam's updates too."""
    forward = [op for i in range(e.layers) for op in _encoder_layer(e, i)]
    builder = TraceBuilder(name, phase="train" if train else "forward", batch=e.sequences, written="study_training.py")
    for op in forward:
        builder.add(op)
    if not train:
        return builder.build()
    for op in reversed(forward):
        for each in backward(op):
            builder.add(each)
    for op in (op for op in forward if op.weight):
        size = op.resident_bytes
        builder.add(ops.elementwise(7 * size, 7 * size, 7 * size, "fp16", label="update", name=f"{op.weight}.update",
                                    module=op.module))  # fmt: skip
    return builder.build()


def _encoder_layer(e: Encoder, i: int) -> list[Op]:
    at, tokens, d = f"layers.{i}", e.sequences * e.length, e.width

    def linear(part: str, n: int, k: int) -> Op:
        return ops.linear(tokens, n, k, "fp16", name=f"{at}.{part}", module=f"{at}.{part}", weight=f"{at}.{part}",
                          label="fwd")  # fmt: skip

    def moved(part: str, label: str, read: int, written: int) -> Op:
        return ops.elementwise(HALF * read, HALF * written, written, "fp16", label=f"fwd {label}", name=f"{at}.{part}",
                               module=at)  # fmt: skip

    wide = tokens * d
    if i >= e.layers - e.attended:
        attention = ops.attention(e.sequences, e.heads, e.heads, d // e.heads, e.length, e.length, False, "fp16",
                                  name=f"{at}.attention", module=at, label="fwd")  # fmt: skip
        mixing = [linear("qkv", 3 * d, d), attention, linear("out", d, d)]
    else:
        along = ops.linear(e.sequences * d, e.length, e.length, "fp16", name=f"{at}.mix_tokens", module=f"{at}.mix",
                           weight=f"{at}.mix_tokens", label="fwd")  # fmt: skip
        mixing = [linear("mix_width", d, d), along]
    apart = e.layers // e.mixtures if e.mixtures else 0
    if e.mixtures and i % apart == 1 and i // apart < e.mixtures:
        counts = tokens // e.experts
        routing = [[t // counts] for t in range(tokens)]
        inside = [linear("router", e.experts, d), ops.moe_ffn(
            tokens, d, e.ffn, e.experts, False, "fp16", routing=routing, name=f"{at}.experts", module=f"{at}.experts",
            weight=f"{at}.experts", label="fwd")]  # fmt: skip
    else:
        inside = [
            linear("up", e.ffn, d),
            moved("gelu", "gelu", tokens * e.ffn, tokens * e.ffn),
            linear("down", d, e.ffn),
        ]
    return [*mixing, moved("norm1", "layernorm", 2 * wide, wide), *inside, moved("norm2", "layernorm", 2 * wide, wide)]


BERT = Encoder(12, 768, 12, 3072, 12)
MIXER = Encoder(14, 512, 8, 2048, 4, 4)


def estimated(sparse: bool, length: int = 2048, kept: int = 64, wide: int = 256) -> Trace:
    """A forward pass of OPT-1.3B with matrices of scores, or with a mask estimated at ``wide`` columns (SEA).

    ``kept`` entries of a row are computed then.
    """
    d, heads, size = 2048, 32, 64
    builder = TraceBuilder(f"opt-1.3b-{'sea' if sparse else 'eager'}-{length}", phase="forward", batch=1,
                           written="study_training.py")  # fmt: skip

    def add(op: Op, *deps: str) -> str:
        builder.add(op, list(deps) or None)
        return str(builder.last)

    for i in range(24):
        at = f"layers.{i}"
        for part in ("q", "k", "v"):
            add(ops.linear(length, d, d, "fp16", name=f"{at}.{part}", module=f"{at}.{part}"))
        if sparse:
            add(ops.scan(1, heads, length, size, size, "fp16", groups=heads, name=f"{at}.performer", module=at))
            estimate = add(
                ops.linear(heads * length, wide, 2 * size, "fp16", name=f"{at}.estimate", module=f"{at}.estimate")
            )
            chosen = add(ops.topk(heads * length, wide, kept, "fp16", name=f"{at}.mask", module=at), estimate)
            add(ops.selected_attention(1, heads, heads, size, length, length, kept, dtype="fp16", name=f"{at}.sparse",
                                       module=at), chosen)  # fmt: skip
        else:
            scores = add(ops.matmul(heads, length, length, size, "fp16", name=f"{at}.scores", module=at))
            masked = add(_whole(f"{at}.masked", heads * length * length, HALF, HALF), scores)
            soft = add(_whole(f"{at}.softmax", heads * length * length, HALF, FULL), masked)
            half = add(_whole(f"{at}.half", heads * length * length, FULL, HALF), soft)
            add(ops.matmul(heads, length, size, length, "fp16", name=f"{at}.values", module=at), half)
        add(ops.linear(length, d, d, "fp16", name=f"{at}.out", module=f"{at}.out"))
        add(ops.linear(length, 4 * d, d, "fp16", name=f"{at}.fc1", module=f"{at}.fc1"))
        add(ops.linear(length, d, 4 * d, "fp16", name=f"{at}.fc2", module=f"{at}.fc2"))
    return builder.build()


def _whole(name: str, elements: int, read: int, written: int) -> Op:
    return ops.elementwise(read * elements, written * elements, elements, "fp16", name=name)


def encoder_int8(name: str, layers: int, width: int, heads: int, sequences: int = 8, length: int = 384) -> Trace:
    """A forward pass of a BERT in int8, softmax and norms with it."""
    sizes = Encoder(layers, width, heads, 4 * width, layers, sequences=sequences, length=length)
    builder = TraceBuilder(name, phase="forward", batch=sequences, written="study_training.py")
    for i in range(layers):
        for op in _encoder_layer(sizes, i):
            halved = {key: value // 2 if key.endswith("_bytes") else value for key, value in op.dims.items()}
            builder.add(op.with_(dtype=DType.INT8, dims=halved))
    return builder.build()


TRAINED: Mapping[str, Callable[[], Trace]] = {
    "llama-7b-pretraining": lambda: pretraining("llama-7b-pretraining", Pretraining()),
    "llama-7b-sltrain": lambda: pretraining("llama-7b-sltrain", Pretraining(1024, state=2, per_layer=True)),
    "bert-base-train": lambda: encoder("bert-base-train", BERT, True),
    "sparse-mixer-train": lambda: encoder("sparse-mixer-train", MIXER, True),
    "bert-base-forward": lambda: encoder("bert-base-forward", BERT, False),
    "sparse-mixer-forward": lambda: encoder("sparse-mixer-forward", MIXER, False),
    "bert-base-int8": lambda: encoder_int8("bert-base-int8", 12, 768, 12),
    "bert-large-int8": lambda: encoder_int8("bert-large-int8", 24, 1024, 16),
    "opt-1.3b-eager": lambda: estimated(False),
    "opt-1.3b-sea": lambda: estimated(True),
    "opt-1.3b-eager-4k": lambda: estimated(False, 4096),
    "opt-1.3b-sea-4k": lambda: estimated(True, 4096),
}
