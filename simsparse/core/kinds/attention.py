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
CACHED_ELEMENTS = "cached_elements"
"""Fact of an attention: elements cached per token and sequence, where not its keys and values are cached but what they
are made of (a latent), or nothing (an encoder)."""
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
    name: str = "attention",
    **fields: Any,
) -> Op:
    """Scaled dot-product attention of ``q_len`` queries on ``kv_len`` cached keys and values.

    With ``causal``, query i sees the keys up to kv_len - q_len + i, aligned at the
    bottom right; with more queries than keys the first ones see none. Raises SpecError on a bad dim or dtype, and when
    ``kv_heads`` does not divide ``heads``.
    """
    dims = positive(batch=batch, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
                    v_head_dim=head_dim if v_head_dim is None else v_head_dim, q_len=q_len, kv_len=kv_len)  # fmt: skip
    return Op(ATTENTION.name, name, {**dims, "causal": flag("causal", causal)}, DType.parse(dtype), **fields).checked()


class AttentionKind(Kind):
    """``q_len`` queries of ``heads`` heads on ``kv_len`` keys and values of ``kv_heads`` heads, scores kept on chip."""

    name = "attention"
    dims: ClassVar[tuple[str, ...]] = (
        "batch", "heads", "kv_heads", "head_dim", "v_head_dim", "q_len", "kv_len", "causal",
    )  # fmt: skip
    batch_dims = ("batch",)
    flags: ClassVar[frozenset[str]] = frozenset({"causal"})
    unit = Unit.MATRIX

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

    def products(self, op: Op) -> tuple[Gemm, ...]:
        """Two products per group of heads that share keys; every score is computed, masked or not."""
        d, size = op.dims, op.dtype.bits / 8
        count, queries, keys = d["batch"] * d["kv_heads"], d["q_len"] * d["heads"] // d["kv_heads"], d["kv_len"]
        key_size, value_size = d["head_dim"], d["v_head_dim"]
        return (
            Gemm(count, queries, keys, key_size, keys * key_size * size, queries * key_size * size, 0.0),
            Gemm(count, queries, value_size, keys, keys * value_size * size, 0.0, queries * value_size * size),
        )

    def pairs(self, op: Op) -> int:
        """Query-key pairs per head: all, or those that a causal mask keeps."""
        d = op.dims
        q, kv = d["q_len"], d["kv_len"]
        if not d["causal"] or q <= 1:
            return d["batch"] * q * kv
        seen = q * kv - q * (q - 1) // 2 if q <= kv else kv * (kv + 1) // 2
        return d["batch"] * seen

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
        """Cached keys and values; where others are cached (CACHED_ELEMENTS), these, as far as they are no more."""
        d, kept, all_of_them = op.dims, op.stats.get(CACHED_ELEMENTS), self.cache_bytes(op, op.dims["kv_len"])
        if kept is None:
            return all_of_them
        return min(all_of_them, bytes_of(d["batch"] * d["kv_len"] * int(kept), op.dtype))

    def cache_bytes(self, op: Op, keys: int) -> int:
        """Bytes of ``keys`` cached keys and their values, of all sequences and heads."""
        d = op.dims
        row = d["head_dim"] + (0 if op.latent_kv else d["v_head_dim"])
        return bytes_of(d["batch"] * d["kv_heads"] * keys * row, op.dtype)

    def after_tokens(self, op: Op, tokens: int) -> Op:
        """With ``tokens`` more cached keys, as many as its window (``stats``) holds at most."""
        keys = min(op.dims["kv_len"] + tokens, int(op.stats.get(WINDOW, sys.maxsize)))
        return op if keys <= op.dims["kv_len"] else op.with_(dims={**op.dims, "kv_len": keys})

    def input_bytes(self, op: Op) -> int:
        d = op.dims
        return bytes_of(d["batch"] * d["heads"] * d["q_len"] * d["head_dim"], op.dtype) + self.cache_bytes(
            op, d["kv_len"]
        )

    def output_bytes(self, op: Op) -> int:
        d = op.dims
        return bytes_of(d["batch"] * d["heads"] * d["q_len"] * d["v_head_dim"], op.dtype)


ATTENTION = KINDS.register("attention")(AttentionKind())
