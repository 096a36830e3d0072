# SPDX-License-Identifier: Apache-2.0
"""Traces of the studies that are written down op by op: shards of models, layers and kernels. No torch needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simsparse.core import Op, OpKind, Trace, TraceBuilder, ops

BF16_BYTES = 2


@dataclass(frozen=True)
class Decoder:
    """What one device holds of a decoder's layer, and the step that it runs.

    ``q_width`` and ``kv_width`` are the outputs of the projections of queries and of keys; ``experts`` 0 is a dense
    feed-forward layer; ``gated`` one with three matrices.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    batch: int
    kv_len: int
    gated: bool = True
    experts: int = 0
    top_k: int = 2

    @property
    def q_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim


def moved(name: str, label: str, read: int, written: int, flops: int = 0) -> Op:
    """An elementwise op on bf16 numbers; sizes in elements."""
    return ops.elementwise(BF16_BYTES * read, BF16_BYTES * written, flops, label=label, name=name)


def decode_step(name: str, d: Decoder, source: str) -> Trace:
    """One token for each of ``batch`` sequences, ``kv_len`` tokens in the cache; layers alone, no embedding or head."""
    builder = TraceBuilder(name, phase="decode", batch=d.batch, kv_len=d.kv_len, written=source)
    for layer in range(d.layers):
        _attention(builder, f"layers.{layer}", d)
        _feed_forward(builder, f"layers.{layer}", d, layer)
    return builder.build()


def _attention(builder: TraceBuilder, at: str, d: Decoder) -> None:
    m, wide = d.batch, d.batch * d.hidden
    module = f"{at}.self_attn"
    builder.add(moved(f"{at}.input_norm", "rmsnorm", wide + d.hidden, wide, 4 * wide))
    norm = builder.last
    widths = {"q_proj": d.q_width, "k_proj": d.kv_width, "v_proj": d.kv_width}
    for part, width in widths.items():
        builder.add(ops.linear(m, width, d.hidden, name=f"{module}.{part}", module=f"{module}.{part}"), [norm])
    projected = [f"{module}.{part}" for part in widths]
    both = d.batch * (d.q_width + d.kv_width)
    builder.add(moved(f"{module}.rope", "rope", both, both, 4 * both), projected[:2])
    grown = 2 * d.batch * d.kv_width
    builder.add(moved(f"{module}.kv_append", "kv_append", grown, grown), [f"{module}.rope", projected[2]])
    builder.add(ops.attention(d.batch, d.heads, d.kv_heads, d.head_dim, 1, d.kv_len + 1, name=f"{module}.attention",
                              module=module))  # fmt: skip
    builder.add(ops.linear(m, d.hidden, d.q_width, name=f"{module}.o_proj", module=f"{module}.o_proj"))
    builder.add(moved(f"{at}.residual", "add", 2 * wide, wide, wide))


def _feed_forward(builder: TraceBuilder, at: str, d: Decoder, layer: int) -> None:
    m, wide, inner = d.batch, d.batch * d.hidden, d.batch * d.ffn
    builder.add(moved(f"{at}.post_norm", "rmsnorm", wide + d.hidden, wide, 4 * wide))
    norm = builder.last
    module = f"{at}.mlp"
    if d.experts:
        router = f"{module}.router"
        builder.add(ops.linear(m, d.experts, d.hidden, name=router, label="router", module=router))
        builder.add(ops.moe_ffn(m, d.hidden, d.ffn, d.experts, d.gated, routing=even_routing(m, d, layer),
                                name=f"{module}.experts", module=f"{module}.experts"), [norm, router])  # fmt: skip
    else:
        parts = ("gate_proj", "up_proj") if d.gated else ("up_proj",)
        for part in parts:
            builder.add(ops.linear(m, d.ffn, d.hidden, name=f"{module}.{part}", module=f"{module}.{part}"), [norm])
        label = "silu_mul" if d.gated else "relu"
        builder.add(moved(f"{module}.act", label, len(parts) * inner, inner, 2 * inner),
                    [f"{module}.{part}" for part in parts])  # fmt: skip
        builder.add(ops.linear(m, d.hidden, d.ffn, name=f"{module}.down_proj", module=f"{module}.down_proj"))
    builder.add(moved(f"{at}.residual2", "add", 2 * wide, wide, wide))


def even_routing(tokens: int, d: Decoder, layer: int) -> list[list[int]]:
    """``top_k`` different experts for each token, drawn evenly; the seed is the layer."""
    draw = np.random.default_rng(layer)
    return [sorted(draw.choice(d.experts, d.top_k, replace=False).tolist()) for _ in range(tokens)]


def mixtral_shard() -> Trace:
    """One of four devices of Mixtral-8x7B, sharded by heads and by columns of the experts."""
    shard = Decoder(32, 4096, 8, 2, 128, 3584, batch=64, kv_len=2048, experts=8)
    return decode_step(
        "mixtral-8x7b-tp4-decode-b64", shard, "arXiv:2401.04088, table 1; a quarter of heads and columns"
    )


def opt_175b(heads: int, ffn: int) -> Trace:
    """All of OPT-175B's layers, with some of its 96 heads and 49,152 neurons; a cache of 128 tokens."""
    whole = Decoder(96, 12288, heads, heads, 128, ffn, batch=1, kv_len=128, gated=False)
    return decode_step(f"opt-175b-decode-h{heads}-f{ffn}", whole, "arXiv:2205.01068, table 1")


def upcycled(experts: int) -> Trace:
    """A decoder of 1.4B parameters with dense feed-forward layers, or upcycled to eight experts of which two run."""
    name = f"upcycled-1b-{'moe' if experts else 'dense'}-decode-b256"
    return decode_step(name, Decoder(24, 2048, 16, 16, 128, 8192, batch=256, kv_len=512, gated=False, experts=experts),
                       "sizes assumed: 24 layers, 2048 wide, as MPT-1B")  # fmt: skip


def attention_only(kv_len: int, name: str) -> Trace:
    """Attention of one layer of Llama-2-7B."""
    batch, heads, size = 8, 32, 128
    builder = TraceBuilder(name, phase="decode", batch=batch, kv_len=kv_len, written="Llama-2-7B: 32 heads of 128")
    builder.add(ops.attention(batch, heads, heads, size, 1, kv_len, name="attention"))
    return builder.build()


def alexnet(share: float) -> Trace:
    """AlexNet's convolutions on one image, each with ``share`` of its filters, in whole eights."""

    def kept(filters: int) -> int:
        return 8 * round(filters * share / 8)

    c1, c2, c3, c4, c5 = (kept(filters) for filters in (96, 256, 384, 384, 256))
    layers = [
        (3, c1, 227, 11, 4, 0, 1), (c1, c2, 27, 5, 1, 2, 2), (c2, c3, 13, 3, 1, 1, 1), (c3, c4, 13, 3, 1, 1, 2),
        (c4, c5, 13, 3, 1, 1, 2),
    ]  # fmt: skip
    builder = TraceBuilder(f"alexnet-convolutions-{share:g}", batch=1, written="Krizhevsky et al., 2012")
    for index, (c_in, c_out, size, kernel, stride, padding, groups) in enumerate(layers, 1):
        builder.add(ops.conv2d(1, c_in, c_out, size, size, kernel, kernel, stride=stride, padding=padding,
                               groups=groups, dtype="fp32", name=f"conv{index}"))  # fmt: skip
    return builder.build()


def mlp(name: str, tokens: int, hidden: int, ffn: int) -> Trace:
    """The three products of a gated feed-forward layer and the activation between."""
    builder = TraceBuilder(name, tokens=tokens, written=f"{hidden} to {ffn} and back")
    builder.add(ops.linear(tokens, ffn, hidden, name="gate")).add(ops.linear(tokens, ffn, hidden, name="up"), [])
    inner = tokens * ffn
    builder.add(moved("act", "silu_mul", 2 * inner, inner, 2 * inner), ["gate", "up"])
    return builder.add(ops.linear(tokens, hidden, ffn, name="down")).build()


def layer_products(name: str, tokens: int, hidden: int) -> Trace:
    """The six products with weights of a transformer's layer, one after the other."""
    builder = TraceBuilder(name, tokens=tokens, written=f"{hidden} wide")
    for part in ("q", "k", "v", "out"):
        builder.add(ops.linear(tokens, hidden, hidden, name=part))
    builder.add(ops.linear(tokens, 4 * hidden, hidden, name="fc1"))
    return builder.add(ops.linear(tokens, hidden, 4 * hidden, name="fc2")).build()


def spmm() -> Trace:
    """A square matrix times eight columns, as SMaT's tall and narrow operands."""
    return TraceBuilder("spmm-16k-8", written="n of 8 columns").add(ops.linear(8, 16384, 16384, "fp16")).build()


def bert_product() -> Trace:
    """The first feed-forward product of BERT-base on 128 tokens, in int8."""
    return TraceBuilder("bert-ffn-int8", written="768 to 3072").add(ops.linear(128, 3072, 768, "int8")).build()


def longer(trace: Trace, name: str, kv_len: int) -> Trace:
    """``trace`` with caches of ``kv_len`` tokens."""

    def change(op: Op) -> Op:
        if op.kind != OpKind.ATTENTION:
            return op
        return op.with_(dims={**op.dims, "kv_len": kv_len + 1}, kernels=())

    return Trace(name, trace.map(change).ops, {**trace.meta, "kv_len": kv_len})


def read_me() -> Trace:
    """A step of Read-ME's model: Llama-2-7B's attention, and two of eight experts of 5,504 neurons in each layer."""
    d = Decoder(32, 4096, 32, 32, 128, 5504, batch=1, kv_len=1024, experts=8)
    return decode_step(
        "read-me-decode-b1", d, "arXiv:2410.19123: Llama-2-7B, eight experts of 5504 neurons, two chosen"
    )


BY_HAND = {
    "read-me-decode": read_me,
    "mixtral-tp4-decode-b64": mixtral_shard,
    "opt-175b-dense": lambda: opt_175b(96, 49152),
    "opt-175b-sparse": lambda: opt_175b(40, 4928),
    "upcycled-dense": lambda: upcycled(0),
    "upcycled-moe": lambda: upcycled(8),
    "attention-16k": lambda: attention_only(16384, "attention-16k"),
    "alexnet-dense": lambda: alexnet(1.0),
    "alexnet-small": lambda: alexnet(0.4),
    "gpt2-medium-products": lambda: layer_products("gpt2-medium-products", 8192, 1024),
    "mlp-8k": lambda: mlp("mlp-8k", 4096, 8192, 28672),
    "spmm-16k": spmm,
    "bert-ffn-int8": bert_product,
}
