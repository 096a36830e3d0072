# SPDX-License-Identifier: Apache-2.0
"""Transformers of equal layers as traces without torch: a training step, a prompt, a decode step, from a few numbers.

A layer is attention and a feed-forward layer, each behind a norm and before an addition; every ``every``-th
feed-forward layer has experts where there are any. For published systems of which the sizes are known and no code is.
Left out: biases, dropout, positions, and the embedding's look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from simsparse.core import Op, OpKind, Routing, Trace, TraceBuilder, ops
from simsparse.core.tensor import DType

ADAM = 6
"""Bytes of Adam's states per byte of a 16-bit parameter: two moments and a copy in 32 bits."""


Elementwise = Callable[[str, str, int, int], Op]
SCORES = "fwd scores"
"""Products of queries and keys, which the softmax overwrites."""


@dataclass(frozen=True)
class EqualLayers:
    """A decoder of equal layers; with ``experts``, every ``every``-th feed-forward layer has so many, ``top_k`` per
    token.

    ``skew``: exponent of Zipf's law by which experts are chosen, 0 all alike; which expert is popular is spread over
    them. ``padded``: every expert has as many rows as the one with most. ``inner``: width of feed-forward layers, four
    times ``width`` by default; ``gated``: with a gate beside the first matrix, of experts too unless ``gate_experts``
    is off; ``shared``: columns that every token goes through beside its experts; ``unfused``: scores of attention are
    written to memory. ``kv_heads`` as ``heads``, ``head_dim`` ``width`` over ``heads`` by default.
    """

    layers: int
    width: int
    heads: int
    sequences: int
    length: int
    experts: int = 0
    vocabulary: int = 50_257
    inner: int = 0
    top_k: int = 1
    every: int = 2
    gated: bool = False
    gate_experts: bool = True
    causal: bool = True
    kv_heads: int = 0
    head_dim: int = 0
    shared: int = 0
    skew: float = 0.0
    padded: bool = False
    unfused: bool = False
    dtype: str = "fp16"

    @property
    def tokens(self) -> int:
        """Tokens of the batch."""
        return self.sequences * self.length

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return DType.parse(self.dtype).bits // 8

    @property
    def ff(self) -> int:
        """Width of feed-forward layers."""
        return self.inner or 4 * self.width

    @property
    def dim(self) -> int:
        """Width of a head."""
        return self.head_dim or self.width // self.heads

    @property
    def parameters(self) -> int:
        """Parameters of layers and head, biases and norms left out."""
        mixed = self.layers // self.every if self.experts else 0
        kv = 2 * (self.kv_heads or self.heads) * self.dim
        ffn = (3 if self.gated else 2) * self.width * self.ff
        attention = self.width * (2 * self.heads * self.dim + kv)
        expert = ffn if self.gate_experts else 2 * self.width * self.ff
        beside = self.width * (self.experts + 3 * self.shared)
        own = (self.layers - mixed) * ffn + mixed * (self.experts * expert + beside)
        return self.layers * attention + own + self.vocabulary * self.width

    def counts(self, tokens: int) -> tuple[int, ...]:
        """Rows of each expert for so many tokens."""
        rows = tokens * self.top_k
        weights = [(1 + (7 * i) % self.experts) ** -self.skew for i in range(self.experts)]
        exact = [rows * weight / sum(weights) for weight in weights]
        counts = [min(tokens, int(each)) for each in exact]
        order = sorted(range(self.experts), key=lambda i: counts[i] - exact[i])
        for i in range(rows - sum(counts)):
            counts[order[i % self.experts]] += 1
        return (max(counts),) * self.experts if self.padded else tuple(counts)


def training_step(name: str, gpt: EqualLayers, written: str = "gpt.py") -> Trace:
    """Forward pass, backward pass and Adam's updates, as the tracer of torch models writes them."""
    builder = TraceBuilder(name, phase="train", written=written, batch=gpt.sequences)
    forward = [op for i in range(gpt.layers) for op in _layer(gpt, i, gpt.tokens, gpt.length, gpt.length)]
    forward.append(_linear(gpt, "lm_head", gpt.tokens, gpt.vocabulary, gpt.width))
    for op in forward:
        builder.add(op)
    gradient = builder.last
    for op in reversed(forward):
        for each in backward(op):
            builder.add(each, [gradient, op.name] if op.label != SCORES else [gradient])
            gradient = builder.last if each.label != "bwd_weight" else gradient
    for op in (op for op in forward if op.weight):
        size = op.resident_bytes
        weight = f"{op.weight}.up" if op.kind == OpKind.MOE_FFN else op.weight
        state = ADAM * size * 2 // gpt.size
        builder.add(ops.elementwise(size + state, size + state, size + state, gpt.dtype, label="update",
                                    name=f"{op.weight}.update", module=op.module, weight=weight,
                                    stats={"state_bytes": state}), [f"{op.name}.bwd_weight"])  # fmt: skip
    return builder.build()


def prompt(name: str, gpt: EqualLayers) -> Trace:
    """The forward pass of a prompt (``length`` tokens of each sequence); the head runs on the last of each."""
    return _forward(name, "prefill", gpt, gpt.length, gpt.length)


def decode(name: str, gpt: EqualLayers) -> Trace:
    """A decode step: one token of each sequence, on ``length`` tokens with its own."""
    return _forward(name, "decode", gpt, 1, gpt.length)


def _forward(name: str, phase: str, gpt: EqualLayers, queries: int, keys: int) -> Trace:
    builder = TraceBuilder(name, phase=phase, written="gpt.py", batch=gpt.sequences, model=name, kv_len=keys)
    for i in range(gpt.layers):
        for op in _layer(gpt, i, gpt.sequences * queries, queries, keys):
            builder.add(op.with_(label=op.label.removeprefix("fwd").strip()))
    builder.add(_linear(gpt, "lm_head", gpt.sequences, gpt.vocabulary, gpt.width, "lm_head"))
    return builder.build()


def _layer(gpt: EqualLayers, i: int, tokens: int, queries: int, keys: int) -> list[Op]:
    at, d, size = f"model.layers.{i}", gpt.width, gpt.size * tokens * gpt.width
    kv_heads = gpt.kv_heads or gpt.heads

    def moved(name: str, label: str, read: int, written: int) -> Op:
        return ops.elementwise(read, written, written, gpt.dtype, label=f"fwd {label}", name=f"{at}.{name}", module=at)

    attend = _in_memory(gpt, at, queries, keys, moved) if gpt.unfused else [
        ops.attention(gpt.sequences, gpt.heads, kv_heads, gpt.dim, queries, keys, gpt.causal, gpt.dtype,
                      name=f"{at}.attention", module=at, label="fwd")]  # fmt: skip
    qkv, out = (gpt.heads + 2 * kv_heads) * gpt.dim, gpt.heads * gpt.dim
    mixed = gpt.experts and i % gpt.every == gpt.every - 1
    inside = _mixed(gpt, at, tokens) if mixed else _plain(gpt, at, tokens, moved)
    return [
        moved("norm1", "layernorm", size, size), _linear(gpt, f"{at}.qkv", tokens, qkv, d), *attend,
        _linear(gpt, f"{at}.out", tokens, d, out), moved("add1", "add", 2 * size, size),
        moved("norm2", "layernorm", size, size), *inside, moved("add2", "add", 2 * size, size),
    ]  # fmt: skip


def _in_memory(gpt: EqualLayers, at: str, queries: int, keys: int, moved: Elementwise) -> Iterator[Op]:
    """Attention as kernels before the fused ones: scores, a softmax, dropout with its mask, and the mean of values."""
    batch, size = gpt.sequences * gpt.heads, gpt.size * gpt.sequences * gpt.heads * queries * keys
    yield ops.matmul(batch, queries, keys, gpt.dim, gpt.dtype, name=f"{at}.scores", module=at, label=SCORES)
    yield moved("softmax", "softmax", size, size)
    yield moved("dropout", "dropout", size, size + size // gpt.size)
    yield ops.matmul(batch, queries, gpt.dim, keys, gpt.dtype, name=f"{at}.values", module=at, label="fwd values")


def _plain(gpt: EqualLayers, at: str, tokens: int, moved: Elementwise) -> Iterator[Op]:
    wide = gpt.size * tokens * gpt.ff
    yield _linear(gpt, f"{at}.up", tokens, (2 if gpt.gated else 1) * gpt.ff, gpt.width)
    yield moved("gelu", "gelu", (2 if gpt.gated else 1) * wide, wide)
    yield _linear(gpt, f"{at}.down", tokens, gpt.width, gpt.ff)


def _mixed(gpt: EqualLayers, at: str, tokens: int) -> Iterator[Op]:
    """A router, ``shared`` columns that every token goes through, and the experts."""
    counts = gpt.counts(tokens)
    yield _linear(gpt, f"{at}.gate", tokens, gpt.experts, gpt.width, "fwd router")
    if gpt.shared:
        yield _linear(gpt, f"{at}.shared_up", tokens, 2 * gpt.shared, gpt.width)
        yield _linear(gpt, f"{at}.shared_down", tokens, gpt.width, gpt.shared)
    routing = Routing(counts, (), "generated:uniform" if not gpt.skew else f"generated:zipf:{gpt.skew:g}")
    rows = sum(counts) // gpt.top_k if not gpt.padded else sum(counts)
    gated = gpt.gated and gpt.gate_experts
    yield ops.moe_ffn(rows, gpt.width, gpt.ff, gpt.experts, gated, gpt.dtype, routing=routing, name=f"{at}.experts",
                      module=f"{at}.experts", weight=f"{at}.experts", label="fwd")  # fmt: skip


def _linear(gpt: EqualLayers, name: str, m: int, n: int, k: int, label: str = "fwd") -> Op:
    return ops.linear(m, n, k, gpt.dtype, name=name, module=name, weight=f"{name}.weight", label=label)


def backward(op: Op) -> Sequence[Op]:
    """The ops of the backward pass of an op: gradients of weights, if any, then of inputs."""
    d, dtype = op.dims, op.dtype
    if op.kind == OpKind.LINEAR:
        return [
            ops.matmul(1, d["n"], d["k"], d["m"], dtype, name=f"{op.name}.bwd_weight", module=op.module,
                       weight=op.weight, label="bwd_weight", stats={"parameter_bytes": op.resident_bytes}),
            ops.linear(d["m"], d["k"], d["n"], dtype, name=f"{op.name}.bwd_input", module=op.module, weight=op.weight,
                       label="bwd_input"),
        ]  # fmt: skip
    if op.kind == OpKind.MOE_FFN:
        return [op.with_(name=f"{op.name}.{label}", label=label) for label in ("bwd_weight", "bwd_input")]
    if op.kind == OpKind.MATMUL:
        left = ops.matmul(
            d["batch"], d["m"], d["k"], d["n"], dtype, name=f"{op.name}.bwd_left", module=op.module, label="bwd"
        )
        right = ops.matmul(
            d["batch"], d["k"], d["n"], d["m"], dtype, name=f"{op.name}.bwd", module=op.module, label="bwd"
        )
        return [left, right]
    if op.kind == OpKind.ATTENTION:
        dims = {**d, "head_dim": 3 * d["head_dim"], "v_head_dim": 2 * d["v_head_dim"]}
        return [op.with_(name=f"{op.name}.bwd", label="bwd", dims=dims)]
    dims = {**d, "read_bytes": d["read_bytes"] + d["write_bytes"]}
    return [op.with_(name=f"{op.name}.bwd", label=op.label.replace("fwd", "bwd"), dims=dims)]
