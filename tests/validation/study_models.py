# SPDX-License-Identifier: Apache-2.0
"""Traces of studies written down op by op: models whose code is not at hand, training with its memory. No torch needed.

Sizes that no source states are named in the study that uses the trace, under ``assumed``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from study_layers import Decoder, decode_step, moved

from simsparse.core import Op, Trace, TraceBuilder, ops

HALF, FULL = 2, 4
"""Bytes of a value of 16 and of 32 bits."""


def narrow_weights(trace: Trace, name: str, dtype: str) -> Trace:
    """``trace`` with weights of ``dtype`` in its linear layers."""
    return Trace(
        name, trace.map(lambda op: op.with_(weight_dtype=dtype) if op.kind == "linear" else op).ops, trace.meta
    )


def copied_cache(trace: Trace, name: str) -> Trace:
    """``trace`` where every step concatenates the whole cache with the new keys and values."""

    def change(op: Op) -> Op:
        if op.label != "kv_append":
            return op
        cache = int(trace.meta["kv_len"]) * op.dims["read_bytes"]
        return op.with_(dims={**op.dims, "read_bytes": cache, "write_bytes": cache}, label="cat")

    return Trace(name, trace.map(change).ops, trace.meta)


LLAMA7 = partial(Decoder, 32, 4096, 32, 32, 128, 11008)


def opt_175b(batch: int, dtype: str = "") -> Trace:
    """A step of OPT-175B for ``batch`` sequences, whole, to be split over GPUs."""
    sizes = Decoder(96, 12288, 96, 96, 128, 49152, batch=batch, kv_len=256, gated=False)
    trace = decode_step(f"opt-175b-decode-b{batch}", sizes, "arXiv:2205.01068, table 1")
    return narrow_weights(trace, f"{trace.name}-{dtype}", dtype) if dtype else trace


def attention_full(name: str, length: int) -> Trace:
    """Attention of one layer of a diffusion model, 24 heads of 128, all tokens on all tokens."""
    return TraceBuilder(name).add(ops.attention(1, 24, 24, 128, length, length, False)).build()


def grouped_pruning() -> Trace:
    """A step of Llama-2-7B whose kernels read half of the groups of 4-bit weights along k."""

    def half(op: Op) -> Op:
        return op.with_(dims={**op.dims, "k": op.dims["k"] // 2}, weight_dtype="int4") if op.kind == "linear" else op

    dense = decode_step("llama2-7b-decode", LLAMA7(batch=1, kv_len=512), "arXiv:2307.09288")
    return Trace("llama2-7b-w4s50", dense.map(half).ops, dense.meta)


def translation(experts: bool, width: int = 1024, tokens: int = 64, held: int = 32) -> Trace:
    """A step of 12 decoder layers with 32 experts each, as one product per expert that is hit; int4 experts or fp16."""
    kind = {"weight_dtype": "int4"} if experts else {}
    name = f"moe-translation-{'int4' if experts else 'fp16'}"
    builder = TraceBuilder(name, phase="decode", batch=tokens, kv_len=64, written="study_models.py")
    for layer in range(12):
        at = f"layers.{layer}"
        for part in ("q", "k", "v", "o", "cross_q", "cross_o"):
            builder.add(ops.linear(tokens, width, width, "fp16", name=f"{at}.{part}", module=f"{at}.{part}"))
        builder.add(ops.attention(tokens, 16, 16, 64, 1, 64, dtype="fp16", name=f"{at}.attention", module=at))
        builder.add(ops.attention(tokens, 16, 16, 64, 1, 64, dtype="fp16", name=f"{at}.cross", module=at))
        if layer % 2:
            for part, n, k in (("up", 4 * width, width), ("down", width, 4 * width)):
                builder.add(ops.linear(tokens // 16, n, k, "fp16", groups=16, held=held, name=f"{at}.experts.{part}",
                                       module=f"{at}.experts.{part}", **kind))  # fmt: skip
        else:
            builder.add(ops.linear(tokens, 4 * width, width, "fp16", name=f"{at}.up", module=f"{at}.up"))
            builder.add(ops.linear(tokens, width, 4 * width, "fp16", name=f"{at}.down", module=f"{at}.down"))
        builder.add(moved(f"{at}.add", "add", 2 * tokens * width, tokens * width))
    return builder.build()


def mixture_tuning(shared: bool, tokens: int = 2048, experts: int = 8, rank: int = 8) -> Trace:
    """Forward and backward of one layer of Llama-2-7B with LoRA experts, top 2, on a frozen feed-forward layer.

    ``shared``: the frozen gate and up products run once for all experts of a token; else every expert computes its own.
    """
    d, ffn, rows = 4096, 11008, 2 * tokens
    share = rows // experts
    builder = TraceBuilder(
        f"mixlora-{'shared' if shared else 'each'}", phase="train", batch=4, written="study_models.py"
    )

    def frozen(part: str, m: int, n: int, k: int, count: int = 1) -> None:
        for i in range(count):
            for label, (out, inner) in {"fwd": (n, k), "bwd_input": (k, n)}.items():
                name = f"{part}.{i}.{label}" if count > 1 else f"{part}.{label}"
                builder.add(ops.linear(m, out, inner, name=name, module=part, weight=f"{part}.weight", label=label))

    for part in ("q", "k", "v", "o"):
        frozen(f"layers.0.{part}", tokens, d, d)
    for label, dims in (("fwd", (128, 128)), ("bwd", (384, 256))):
        builder.add(ops.attention(4, 32, 32, dims[0], 512, 512, True, v_head_dim=dims[1], name=f"attention.{label}",
                                  module="layers.0", label=label))  # fmt: skip
    for part, n, k in (("gate", ffn, d), ("up", ffn, d), ("down", d, ffn)):
        once = shared and part != "down"
        frozen(f"layers.0.{part}", tokens if once else share, n, k, 1 if once else experts)
        for factor, (out, inner) in {"a": (rank, k), "b": (n, rank)}.items():
            builder.add(ops.linear(share, out, inner, groups=experts, name=f"layers.0.{part}.{factor}",
                                   module=f"layers.0.{part}.{factor}", label="fwd"))  # fmt: skip
            builder.add(ops.matmul(experts, out, inner, share, name=f"layers.0.{part}.{factor}.bwd", module="layers.0",
                                   label="bwd_weight"))  # fmt: skip
    for label in ("fwd", "bwd"):
        builder.add(moved(f"act.{label}", f"{label} silu_mul", 2 * rows * ffn, rows * ffn, 2 * rows * ffn))
        builder.add(moved(f"sum.{label}", f"{label} index_add", rows * d, tokens * d, rows * d))
    return builder.build()


def hybrid(name: str, softmax_every: int, batch: int, kv_len: int) -> Trace:
    """A step of Ring-mini: 20 layers, 2,048 wide, 256 experts of 512 of which 8 run; one layer in ``softmax_every`` has
    grouped-query attention, the others linear attention with a state of 128 x 128 per head."""
    sizes = Decoder(20, 2048, 16, 4, 128, 512, batch=batch, kv_len=kv_len, experts=256, top_k=8)
    trace = decode_step(name, sizes, "sizes recalled: Ring-mini-2.0")

    def change(op: Op) -> Op:
        layer = int((op.module or op.name).split(".")[1])
        if op.kind != "attention" or layer % softmax_every == softmax_every - 1:
            return op
        return ops.scan(batch, 16, 1, 128, 128, groups=16, name=op.name, module=op.module)

    return Trace(name, trace.map(change).ops, trace.meta)


def dense_32b(batch: int, kv_len: int) -> Trace:
    """A step of Qwen3-32B."""
    sizes = Decoder(64, 5120, 64, 8, 128, 25600, batch=batch, kv_len=kv_len)
    return decode_step("qwen3-32b-32k", sizes, "Qwen3-32B's configuration")


def weather(modulated: bool, tokens: int = 4096, width: int = 384, experts: int = 8) -> Trace:
    """The feed-forward layers of 8 blocks: one shared layer with modulations per expert, or experts, two per token."""
    builder = TraceBuilder(f"deweather-{'film' if modulated else 'moe'}", phase="forward", batch=1,
                           written="study_models.py")  # fmt: skip
    hidden = 4 * width
    for block in range(8):
        at = f"blocks.{block}"
        for part, n in (("qkv", 3 * width), ("proj", width)):
            builder.add(ops.linear(tokens, n, width, name=f"{at}.{part}", module=f"{at}.{part}"))
        builder.add(ops.attention(tokens // 64, 6, 6, 64, 64, 64, False, name=f"{at}.window_attention", module=at))
        builder.add(ops.linear(tokens, experts, width, name=f"{at}.router", label="router", module=f"{at}.router"))
        if modulated:
            builder.add(ops.linear(tokens, hidden, width, name=f"{at}.up", module=f"{at}.up"))
            for k in range(2):
                builder.add(moved(f"{at}.film{k}", "mul", tokens * hidden + 2 * experts * hidden, tokens * hidden))
            builder.add(ops.linear(tokens, width, hidden, name=f"{at}.down", module=f"{at}.down"))
        else:
            routing = [[t % experts, (t + 1) % experts] for t in range(tokens)]
            builder.add(ops.moe_ffn(tokens, width, hidden, experts, False, routing=routing, name=f"{at}.experts",
                                    module=f"{at}.experts"))  # fmt: skip
    return builder.build()


def double_sparsity(batch: int = 32, kv_len: int = 16_384, channels: int = 8) -> Trace:
    """Attention of one layer of Llama-2-7B: labels of 4 bits scored in one pass, a top-k, the chosen sixteenth."""
    rows, kept = batch * 32, kv_len // 16
    builder = TraceBuilder("attention-16k-labels", phase="decode", batch=batch, kv_len=kv_len)
    labels = rows * kv_len * channels // 2
    builder.add(ops.elementwise(labels, HALF * rows * kv_len, 2 * rows * kv_len * channels, name="label_scores"))
    builder.add(ops.topk(rows, kv_len, kept, "fp16", name="choice"))
    return builder.add(ops.selected_attention(batch, 32, 32, 128, 1, kv_len, kept, name="attention")).build()


def offloaded_cache(sparse: bool, kv_len: int = 262_144, layers: int = 4) -> Trace:
    """Layers of Llama-2-7B with the cache in host memory: all of it is copied for each token, or, with ``sparse``, the
    sixteenth that labels of 4 bits on the GPU choose.
    """
    name, kept = f"llama2-7b-256k-offload{'-sparse' if sparse else ''}", kv_len // 16
    builder = TraceBuilder(name, phase="decode", batch=1, kv_len=kv_len, written="Llama-2-7B's configuration")
    copied = before = ""
    for layer in range(layers):
        at = f"layers.{layer}"
        chosen = [copied] if copied else []
        if sparse:
            labels = 32 * kv_len * 8 // 2
            builder.add(ops.elementwise(labels, HALF * 32 * kv_len, 2 * 32 * kv_len * 8, name=f"{at}.label_scores"),
                        deps=[before] if before else [])  # fmt: skip
            builder.add(ops.topk(32, kv_len, kept, "fp16", name=f"{at}.choice"), deps=[f"{at}.label_scores"])
            chosen = [f"{at}.choice", *chosen]
        rows = kept if sparse else kv_len
        copied = f"{at}.copy"
        builder.add(ops.transfer(2 * HALF * rows * 4096, src="host", dst="gpu0", name=copied), deps=chosen)
        builder.add(ops.linear(1, 3 * 4096, 4096, name=f"{at}.qkv"), deps=[before] if before else [])
        cache = ops.selected_attention(1, 32, 32, 128, 1, kv_len, rows, name=f"{at}.attention")
        builder.add(cache, deps=[f"{at}.qkv", copied])
        builder.add(ops.linear(1, 4096, 4096, name=f"{at}.out"), deps=[f"{at}.attention"])
        builder.add(ops.linear(1, 2 * 11008, 4096, name=f"{at}.up"), deps=[f"{at}.out"])
        before = f"{at}.down"
        builder.add(ops.linear(1, 4096, 11008, name=before), deps=[f"{at}.up"])
    return builder.build()


def llama_1b() -> Trace:
    """A step of Llama-3.2-1B with its head."""
    name = "llama3.2-1b-decode"
    builder = TraceBuilder(name, phase="decode", batch=1, kv_len=512, written="Llama-3.2-1B's configuration")
    for op in decode_step(name, Decoder(16, 2048, 32, 8, 64, 8192, batch=1, kv_len=512), "Llama-3.2-1B").ops:
        builder.add(op, op.deps)
    return builder.add(ops.linear(1, 128_256, 2048, name="lm_head", module="lm_head")).build()


def sparse_times_dense(name: str, rows: int) -> Trace:
    """A square matrix times eight columns."""
    return TraceBuilder(name, written="n of 8 columns").add(ops.linear(8, rows, rows, "fp16")).build()


def expert_vit() -> Trace:
    """M3ViT as its sequel's code has it: 12 layers of 192 on 129 tokens, 16 experts in every other one, two a token."""
    tokens, width = 129, 192
    builder = TraceBuilder(
        "m3vit", phase="forward", batch=1, written="github.com/sharc-lab/Edge-MoE, include/model.hpp"
    )
    for layer in range(12):
        at = f"layers.{layer}"
        builder.add(ops.linear(tokens, 3 * width, width, "fp32", name=f"{at}.qkv", module=f"{at}.qkv"))
        builder.add(ops.attention(1, 3, 3, 64, tokens, tokens, False, "fp32", name=f"{at}.attention", module=at))
        builder.add(ops.linear(tokens, width, width, "fp32", name=f"{at}.proj", module=f"{at}.proj"))
        if layer % 2:
            routing = [[(2 * t) % 16, (2 * t + 1) % 16] for t in range(tokens)]
            builder.add(ops.linear(tokens, 16, width, "fp32", name=f"{at}.gate", label="router", module=f"{at}.gate"))
            builder.add(ops.moe_ffn(tokens, width, 384, 16, False, "fp32", routing=routing, name=f"{at}.experts",
                                    module=f"{at}.experts"))  # fmt: skip
        else:
            builder.add(ops.linear(tokens, 768, width, "fp32", name=f"{at}.up", module=f"{at}.up"))
            builder.add(ops.linear(tokens, width, 768, "fp32", name=f"{at}.down", module=f"{at}.down"))
    return builder.build()


MODELS: Mapping[str, Callable[[], Trace]] = {
    **{f"opt-175b-decode-b{batch}": partial(opt_175b, batch) for batch in (1, 32)},
    **{f"opt-175b-decode-b{batch}-int4": partial(opt_175b, batch, "int4") for batch in (1, 32, 256)},
    "attention-16k-labels": double_sparsity,
    "llama2-7b-256k-offload": lambda: offloaded_cache(False),
    "llama2-7b-256k-offload-sparse": lambda: offloaded_cache(True),
    "llama3.2-1b-decode": llama_1b,
    "spmm-cant": lambda: sparse_times_dense("spmm-cant", 62_464),
    "attention-22k-full": lambda: attention_full("attention-22k-full", 22_000),
    "attention-4k-full": lambda: attention_full("attention-4k-full", 4_500),
    "llama2-7b-w4s50": grouped_pruning,
    "llama2-7b-decode-512": lambda: decode_step(
        "llama2-7b-decode-512", LLAMA7(batch=1, kv_len=512), "arXiv:2307.09288"),
    "llama2-7b-8k-b14-cat": lambda: copied_cache(
        decode_step("llama2-7b-8k-b14", LLAMA7(batch=14, kv_len=8192), "arXiv:2307.09288"), "llama2-7b-8k-b14-cat"),
    "moe-translation-fp16": lambda: translation(False),
    "moe-translation-int4": lambda: translation(True),
    "mixlora-each": lambda: mixture_tuning(False),
    "mixlora-shared": lambda: mixture_tuning(True),
    "ring-mini-linear": lambda: hybrid("ring-mini-linear", 5, 64, 32_768),
    "ring-mini-softmax": lambda: hybrid("ring-mini-softmax", 1, 64, 32_768),
    "qwen3-32b-32k": lambda: dense_32b(8, 32_768),
    "m3vit": expert_vit,
    "deweather-film": lambda: weather(True),
    "deweather-moe": lambda: weather(False),
}  # fmt: skip
