# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention, as one fused kernel runs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

from simsparse.core.kind import KINDS, Gemm, Kind, Unit, flag, positive
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of
from simsparse.errors import SpecError

WINDOW = "window"
"""Fact of an op: how many keys a query sees at most, its own among them."""
KV_APPEND = "kv_append"
"""Label of the op that writes the keys and values of new tokens to a cache."""
CACHE_DTYPE = "cache_dtype"
"""Fact of an attention: type of cached keys and values, where it is another than that of queries and outputs."""
CACHED_ELEMENTS = "cached_elements"
"""Fact of an attention: elements cached per token and sequence, where not its keys and values are cached but what they
are made of (a latent), or nothing (an encoder)."""
CACHED_KEYS, CACHED_BY = "cached_keys", "cached_by"
"""Facts of an attention that is cut in several ops: keys per sequence that stay cached after it, 0 where another of the
ops has them, and how many of its sequences stand for one of the model."""
GIVEN_MASK = "given_mask"
"""Fact of an attention that the model calls torch's function for: what mask that was given, one of MASK_FORMS. Without
the fact, a library such as transformers decides by itself."""
MASK_FORMS = ("none", "bool", "float")
"""No tensor, which leaves it to a flag whether the attention is causal; truths; numbers to add to the scores."""
MASK_BYTES = "mask_bytes"
"""Fact of a launched attention: bytes of each number of a mask that the kernel adds to the scores; none without one."""
SOFTMAX_FLOPS = 5
"""Vector operations per score: maximum, subtraction, exponential, sum, division."""


def attention(
    batch: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    q_len: int,
    kv_len: int,
    causal: bool = True,
    dtype: str | DType = "bf16",
    *,
    v_head_dim: int | None = None,
    window: int | None = None,
    cache_dtype: str | DType | None = None,
    name: str = "attention",
    **fields: Any,
) -> Op:
    """Scaled dot-product attention of ``q_len`` queries on ``kv_len`` cached keys and values.

    ``window``: how many keys a query sees at most, the last ones up to its own. ``cache_dtype``: type of the cached
    keys and values, ``dtype`` by default.

    With ``causal``, query i sees the keys up to kv_len - q_len + i, aligned at the
    bottom right; with more queries than keys the first ones see none. Raises SpecError on a bad dim or dtype, and when
    ``kv_heads`` does not divide ``heads``, or ``window`` is no whole number from 1.
    """
    dims = positive(batch=batch, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
                    v_head_dim=head_dim if v_head_dim is None else v_head_dim, q_len=q_len, kv_len=kv_len)  # fmt: skip
    facts: dict[str, Any] = positive(window=window) if window is not None else {}
    if cache_dtype is not None:
        facts = {**facts, CACHE_DTYPE: str(DType.parse(cache_dtype))}
    fields["stats"] = {**fields.get("stats", {}), **facts}
    return Op(ATTENTION.name, name, {**dims, "causal": flag("causal", causal)}, DType.parse(dtype), **fields).checked()


def cache_type(op: Op) -> DType:
    """Element type of cached keys and values. Raises SpecError."""
    return DType.parse(op.stats.get(CACHE_DTYPE, op.dtype))


def seen_keys(op: Op) -> int:
    """Keys that some query of a sequence sees."""
    d = op.dims
    return min(d["kv_len"], int(op.stats.get(WINDOW, d["kv_len"])) + d["q_len"] - 1)


class AttentionKind(Kind):
    """``q_len`` queries of ``heads`` heads on ``kv_len`` keys and values of ``kv_heads`` heads, scores kept on chip."""

    name = "attention"
    dims: ClassVar[tuple[str, ...]] = (
        "batch", "heads", "kv_heads", "head_dim", "v_head_dim", "q_len", "kv_len", "causal",
    )  # fmt: skip
    batch_dims = ("batch",)
    flags: ClassVar[frozenset[str]] = frozenset({"causal"})
    unit = Unit.MATRIX
    priced_facts: ClassVar[tuple[str, ...]] = (WINDOW, CACHE_DTYPE, CACHED_ELEMENTS, MASK_BYTES)

    @property
    def factory(self) -> Callable[..., Op]:
        return attention

    def examples(self, dtype: str) -> list[Op]:
        return [
            attention(8, 32, 8, 128, 1, 2048, dtype=dtype, name="decode"),
            attention(1, 32, 32, 128, 512, 512, dtype=dtype, name="prefill"),
        ]

    def check(self, op: Op) -> None:
        super().check(op)
        heads, kv_heads = op.dims["heads"], op.dims["kv_heads"]
        if heads % kv_heads:
            raise SpecError(f"{kv_heads} does not divide heads {heads}", key="kv_heads")
        for fact, least in ((WINDOW, 1), (CACHED_ELEMENTS, 0), (CACHED_KEYS, 0), (CACHED_BY, 1), (MASK_BYTES, 0)):
            value = op.stats.get(fact, least)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**62:
                raise SpecError(f"{value!r:.80} is not a whole number from {least} to 2**62", key=fact)
        if not isinstance(op.stats.get(CACHE_DTYPE, ""), str):
            raise SpecError(f"{op.stats[CACHE_DTYPE]!r:.80} is not the name of a type", key=CACHE_DTYPE)
        if op.stats.get(GIVEN_MASK, "none") not in MASK_FORMS:
            raise SpecError(f"{op.stats[GIVEN_MASK]!r:.80} is none of {', '.join(MASK_FORMS)}", key=GIVEN_MASK)
        cache_type(op)

    def products(self, op: Op) -> tuple[Gemm, ...]:
        """Two products per group of heads that share keys; every score is computed, masked or not."""
        d, size = op.dims, op.dtype.bits / 8
        count, queries, keys = d["batch"] * d["kv_heads"], d["q_len"] * d["heads"] // d["kv_heads"], seen_keys(op)
        key_size, value_size = d["head_dim"], d["v_head_dim"]
        return (
            Gemm(count, queries, keys, key_size, keys * key_size * size, queries * key_size * size, 0.0),
            Gemm(count, queries, value_size, keys, keys * value_size * size, 0.0, queries * value_size * size),
        )

    def pairs(self, op: Op) -> int:
        """Query-key pairs per head: all, or those that a causal mask and a window keep."""
        d = op.dims
        q, kv = d["q_len"], d["kv_len"]
        window = min(kv, int(op.stats.get(WINDOW, kv)))
        if not d["causal"] or q <= 1:
            return d["batch"] * q * window
        seen = q * kv - q * (q - 1) // 2 if q <= kv else kv * (kv + 1) // 2
        short = min(q, kv - window)
        return d["batch"] * (seen - short * (kv - window) + short * (short - 1) // 2)

    def dense_macs(self, op: Op) -> int:
        """Multiply-accumulates of the pairs that the mask keeps."""
        d = op.dims
        return self.pairs(op) * d["heads"] * (d["head_dim"] + d["v_head_dim"])

    def useful_macs(self, op: Op) -> int:
        return self.dense_macs(op)

    def vector_flops(self, op: Op) -> int:
        d = op.dims
        return SOFTMAX_FLOPS * d["batch"] * d["heads"] * d["q_len"] * d["kv_len"]

    def kv_bytes(self, op: Op) -> int:
        """Cached keys and values that are seen; where others are cached (CACHED_ELEMENTS), these, as far as they are no
        more."""
        kept, keys = op.stats.get(CACHED_ELEMENTS), seen_keys(op)
        all_of_them = self.cache_bytes(op, keys)
        if kept is None:
            return all_of_them
        return min(all_of_them, bytes_of(op.dims["batch"] * keys * int(kept), cache_type(op)))

    def resident_kv_bytes(self, op: Op) -> int:
        """Cached keys and values that stay after the op: at most those of its window."""
        kept = op.stats.get(CACHED_KEYS)
        if kept is not None:
            return self.cache_bytes(op, int(kept)) // int(op.stats.get(CACHED_BY, 1))
        window = op.stats.get(WINDOW) if op.dims["causal"] else None
        return self.kv_bytes(op) if window is None else min(self.kv_bytes(op), self.cache_bytes(op, int(window)))

    def cache_bytes(self, op: Op, keys: int) -> int:
        """Bytes of ``keys`` cached keys and their values, of all sequences and heads."""
        d = op.dims
        row = d["head_dim"] + (0 if op.latent_kv else d["v_head_dim"])
        return bytes_of(d["batch"] * d["kv_heads"] * keys * row, cache_type(op))

    def after_tokens(self, op: Op, tokens: int) -> Op:
        """With ``tokens`` more cached keys, as many as its window (``stats``) holds at most."""
        keys = min(op.dims["kv_len"] + tokens, int(op.stats.get(WINDOW, sys.maxsize)))
        return op if keys <= op.dims["kv_len"] else op.with_(dims={**op.dims, "kv_len": keys})

    def input_bytes(self, op: Op) -> int:
        d = op.dims
        return bytes_of(d["batch"] * d["heads"] * d["q_len"] * d["head_dim"], op.dtype) + self.cache_bytes(
            op, seen_keys(op)
        )

    def output_bytes(self, op: Op) -> int:
        d = op.dims
        return bytes_of(d["batch"] * d["heads"] * d["q_len"] * d["v_head_dim"], op.dtype)


class PartOfPairs(AttentionKind):
    """An attention that computes a part of the pairs of queries and keys, on a cache that stays whole."""

    def vector_flops(self, op: Op) -> int:
        return SOFTMAX_FLOPS * self.pairs(op) * op.dims["heads"]

    def resident_kv_bytes(self, op: Op) -> int:
        return self.cache_bytes(op, op.dims["kv_len"])


ATTENTION = KINDS.register("attention")(AttentionKind())
