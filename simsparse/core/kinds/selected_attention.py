# SPDX-License-Identifier: Apache-2.0
"""Attention of each query on the cached tokens that were selected for it: top-k of an index, heavy hitters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from simsparse.core.kind import KINDS, Gemm, flag, positive
from simsparse.core.kinds.attention import CACHE_DTYPE, PartOfPairs, cache_type
from simsparse.core.op import Op
from simsparse.core.tensor import DType, bytes_of


def selected_attention(
    batch: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    q_len: int,
    kv_len: int,
    selected: int,
    causal: bool = True,
    dtype: str | DType = "bf16",
    *,
    v_head_dim: int | None = None,
    cache_dtype: str | DType | None = None,
    name: str = "selected_attention",
    **fields: Any,
) -> Op:
    """Attention of ``q_len`` queries, each on up to ``selected`` of ``kv_len`` cached tokens of its own choice.

    Heads that share keys share the choice. A query before which fewer tokens are cached sees those, but kernels may
    take as long as for ``selected``. Other arguments as
    of ``attention``. Raises SpecError on a bad dim or dtype.
    """
    dims = positive(batch=batch, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
                    v_head_dim=head_dim if v_head_dim is None else v_head_dim, q_len=q_len, kv_len=kv_len,
                    selected=selected)  # fmt: skip
    if cache_dtype is not None:
        fields["stats"] = {**fields.get("stats", {}), CACHE_DTYPE: str(DType.parse(cache_dtype))}
    dims["causal"] = flag("causal", causal)
    return Op(SELECTED_ATTENTION.name, name, dims, DType.parse(dtype), **fields).checked()


class SelectedAttentionKind(PartOfPairs):
    """Each query reads ``selected`` tokens from anywhere in the cache, fewer where fewer are before it."""

    name = "selected_attention"
    dims = ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "q_len", "kv_len", "selected", "causal")
    priced_facts: ClassVar[tuple[str, ...]] = (CACHE_DTYPE,)

    @property
    def factory(self) -> Callable[..., Op]:
        return selected_attention

    def examples(self, dtype: str) -> list[Op]:
        return [
            selected_attention(8, 16, 1, 576, 1, 8192, 2048, dtype=dtype, v_head_dim=512, latent_kv=True),
            selected_attention(1, 32, 8, 128, 64, 4096, 256, dtype=dtype, name="of-a-prompt"),
        ]

    def pairs(self, op: Op) -> int:
        d = op.dims
        if not d["causal"]:
            return d["batch"] * d["q_len"] * min(d["selected"], d["kv_len"])
        before = max(d["kv_len"] - d["q_len"], 0)
        return d["batch"] * (_pairs_up_to(d["kv_len"], d["selected"]) - _pairs_up_to(before, d["selected"]))

    def products(self, op: Op) -> tuple[Gemm, ...]:
        """Two products per query and group of heads that share keys; scores stay on chip."""
        d, size, row = op.dims, op.dtype.bits / 8, cache_type(op).bits / 8
        count, queries, keys = d["batch"] * d["kv_heads"] * d["q_len"], d["heads"] // d["kv_heads"], d["selected"]
        key, value = d["head_dim"], d["v_head_dim"]
        values = 0.0 if op.latent_kv else keys * value * row
        return (
            Gemm(count, queries, keys, key, keys * key * row, queries * key * size, 0.0),
            Gemm(count, queries, value, keys, values, 0.0, queries * value * size),
        )

    def kv_bytes(self, op: Op) -> int:
        """Keys and values that some query selects, as many different ones as there can be."""
        return self.cache_bytes(op, min(op.dims["kv_len"], op.dims["q_len"] * op.dims["selected"]))

    def input_bytes(self, op: Op) -> int:
        d = op.dims
        return bytes_of(d["batch"] * d["heads"] * d["q_len"] * d["head_dim"], op.dtype) + self.kv_bytes(op)

    def after_tokens(self, op: Op, tokens: int) -> Op:
        """With ``tokens`` more cached ones to select from."""
        return op.with_(dims={**op.dims, "kv_len": op.dims["kv_len"] + tokens})


def _pairs_up_to(token: int, selected: int) -> int:
    """Pairs of the queries up to ``token``, each with the tokens before it and itself, ``selected`` at most."""
    few = min(token, selected)
    return few * (few + 1) // 2 + (token - few) * selected


SELECTED_ATTENTION = SelectedAttentionKind()
KINDS.register(SELECTED_ATTENTION.name)(SELECTED_ATTENTION)
