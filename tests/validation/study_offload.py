# SPDX-License-Identifier: Apache-2.0
"""Traces of the studies of offloading that are written down op by op. No torch needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from study_layers import Decoder, decode_step, moved

from simsparse.core import DType, Op, Routing, Trace, TraceBuilder, ops
from simsparse.devices.gpu_experts import LOOP

VOCABULARY = 151_936
SMALLTHINKER_21B = Decoder(52, 2560, 28, 4, 128, 768, batch=1, kv_len=256, experts=64, top_k=6)
SMALLTHINKER_4B = Decoder(32, 1536, 12, 2, 128, 768, batch=1, kv_len=256, experts=32, top_k=4)


def smallthinker(name: str, decoder: Decoder) -> Trace:
    """A step of SmallThinker with all weights in four bits, as Q4_0 without its scales; the head included."""
    trace = decode_step(name, decoder, "arXiv:2507.20984, table of models; a cache of 256 tokens is assumed")
    head = ops.linear(1, VOCABULARY, decoder.hidden, name="lm_head", module="lm_head", deps=(trace.ops[-1].name,))
    return replace(trace, ops=tuple(map(_in_four_bits, (*trace.ops, head))))


def _in_four_bits(op: Op) -> Op:
    return op.with_(weight_dtype=DType.INT4) if op.definition.prunable else op


def mixtral_pass(sequences: int, prompts: int, kv_len: int, prompt: int) -> Trace:
    """A pass of Mixtral-8x7B over two groups of requests: tokens of ``sequences`` that decode, and ``prompts`` whole.

    Attention of what decodes is an op of its own (``decode_attention``), as MoE-Lens gives it to the host; the groups
    take turns, so that it runs beside the products of the other group. Both read one set of weights.
    """
    builder = TraceBuilder(f"mixtral-pass-{sequences}", phase="decode", batch=sequences, kv_len=kv_len,
                           written="arXiv:2401.04088, table 1; arXiv:2504.09345, sections 5.1 and 5.2")  # fmt: skip
    groups = ("a", "b")
    last: dict[str, list[str]] = {group: [] for group in groups}
    decode, new = sequences // 2, prompts // 2
    for layer in range(32):
        for group in groups:
            _projections(builder, layer, group, decode, new, prompt, kv_len, last)
        for group in groups:
            _experts(builder, layer, group, decode + new * prompt, last)
    return builder.build()


def _projections(
    builder: TraceBuilder, layer: int, group: str, decode: int, new: int, prompt: int, kv_len: int,
    last: dict[str, list[str]],
) -> None:  # fmt: skip
    at, tokens = f"layers.{layer}", decode + new * prompt
    qkv, split, there, here = (f"{at}.{part}.{group}" for part in ("qkv", "split", "decode_attention", "attention"))
    builder.add(ops.linear(tokens, 6144, 4096, name=qkv, module=f"{at}.qkv", weight=f"{at}.qkv"), last[group])
    builder.add(moved(split, "split", decode * 6144, decode * 6144), [qkv])
    builder.add(ops.attention(decode, 32, 8, 128, 1, kv_len, name=there, module=f"{at}.decode_attention"), [split])
    builder.add(ops.attention(new, 32, 8, 128, prompt, prompt, name=here, module=f"{at}.attention"), [qkv])
    last[group] = [there, here]


def _experts(builder: TraceBuilder, layer: int, group: str, tokens: int, last: dict[str, list[str]]) -> None:
    at = f"layers.{layer}"
    out, router, experts = (f"{at}.{part}.{group}" for part in ("o_proj", "router", "experts"))
    builder.add(ops.linear(tokens, 4096, 4096, name=out, module=f"{at}.o_proj", weight=f"{at}.o_proj"), last[group])
    builder.add(ops.linear(tokens, 8, 4096, name=router, label="router", module=f"{at}.router",
                           weight=f"{at}.router"), [out])  # fmt: skip
    counts = tuple(tokens * 2 // 8 + (expert < tokens * 2 % 8) for expert in range(8))
    routing = Routing(counts, (), "generated:uniform")
    builder.add(ops.moe_ffn(tokens, 4096, 14336, 8, True, routing=routing, name=experts, label=LOOP,
                            module=f"{at}.experts",
                            weight=f"{at}.experts"), [router])  # fmt: skip
    last[group] = [experts]


def graphsage_step(name: str) -> Trace:
    """Forward and backward pass of a two-layer GraphSAGE on 1,024 nodes with 25 neighbours, each with 10.

    Features have 128 numbers in fp32, as those of ogbn-papers100M, of whose 111 million nodes the batch needs 270,000;
    the inner layer is 256 wide. A layer averages the rows of neighbours and multiplies them and the node's own by a
    weight each; backward passes take twice the forward one's reads and products.
    """
    seeds, second, features, hidden = 1024, 1024 * 26, 128, 256
    rows = second * 11 - second // 2  # a few neighbours are the same
    builder = TraceBuilder(name, phase="forward", written="arXiv:2103.03330; sizes of GraphSAGE's own example")
    builder.add(ops.gather(rows, 4 * features, "fp32", table_rows=111_000_000, name="features",
                           module="layers.0.features"))  # fmt: skip
    for layer, (nodes, fan, wide) in enumerate(((second, 10, features), (seeds, 25, hidden)), 1):
        for part, times in (("forward", 1), ("backward", 2)):
            read, at = 4 * nodes * fan * wide, f"layers.{layer}.{part}"
            builder.add(ops.elementwise(times * read, times * read // fan, times * nodes * fan * wide, "fp32",
                                        label="mean", name=f"{at}.mean", module=at))  # fmt: skip
            builder.add(ops.matmul(1, times * nodes, hidden, 2 * wide, "fp32", name=f"{at}.product", module=at))
    return builder.build()


OFFLOAD: Mapping[str, Callable[[], Trace]] = {
    "smallthinker-21b": lambda: smallthinker("smallthinker-21b", SMALLTHINKER_21B),
    "graphsage-step": lambda: graphsage_step("graphsage-step"),
    "mixtral-pass-70gb": lambda: mixtral_pass(4684, 146, 114, 98),
    "smallthinker-4b": lambda: smallthinker("smallthinker-4b", SMALLTHINKER_4B),
}
