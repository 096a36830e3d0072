# SPDX-License-Identifier: Apache-2.0
"""Layers of latent attention as operators: on a whole cache (MLA), or on the tokens that an index selects (DSA).

A query runs on the cached latents themselves, its heads multiplied into them before and after ("absorbed"); a prompt on
a whole cache expands the latents to keys and values of each head. Sources: arXiv:2412.19437 (DeepSeek-V3),
arXiv:2512.02556 (DeepSeek-V3.2), the configurations of transformers, the order of vLLM 0.22.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from simsparse.core import DType, Op, ops


@dataclass(frozen=True)
class LatentSizes:
    """Sizes of a layer, in elements: ``hidden``, ranks of queries and of the cached latent, ``rope`` of a key beside
    it, ``key`` and ``value`` of a head; heads of the index, its head size, how many tokens it selects (0: none)."""

    hidden: int
    query_rank: int
    latent: int
    rope: int
    key: int
    value: int
    index_heads: int = 0
    index_dim: int = 128
    selected: int = 0

    @property
    def cached(self) -> int:
        """Elements cached per token."""
        return self.latent + self.rope


SIZES: Mapping[str, LatentSizes] = MappingProxyType({
    "DeepSeek-V3": LatentSizes(7168, 1536, 512, 64, 128, 128),
    "DeepSeek-V3.2": LatentSizes(7168, 1536, 512, 64, 128, 128, 64, 128, 2048),
    "GLM-5": LatentSizes(6144, 2048, 512, 64, 192, 256, 32, 128, 2048),
})  # fmt: skip
"""Sizes by model."""


def latent_layer(
    sizes: LatentSizes, heads: int, batch: int, q_len: int, kv_len: int, cache_dtype: str | DType = "bf16"
) -> list[Op]:
    """The attention layer of ``q_len`` new tokens in each of ``batch`` sequences of ``kv_len`` tokens in all.

    ``heads``: those of one device. Sizes with an index make each token attend to the ``selected`` best. Raises
    SpecError on sizes that make no operator.
    """
    tokens = batch * q_len
    down = [ops.linear(tokens, sizes.query_rank + sizes.cached, sizes.hidden, name="down"),
            ops.norm(tokens, sizes.query_rank, name="query_norm"), ops.norm(tokens, sizes.latent, name="latent_norm"),
            ops.linear(tokens, heads * (sizes.key + sizes.rope), sizes.query_rank, name="query_up"),
            _rotary(tokens * (heads + 1) * sizes.rope, "rotary"),
            _moved(tokens * sizes.cached, "cache_write")]  # fmt: skip
    index = _index(sizes, batch, q_len, kv_len) if sizes.selected else []
    expanded = q_len > 1 and not sizes.selected
    attend = _expanded if expanded else _absorbed
    out = ops.linear(tokens, sizes.hidden, heads * sizes.value, name="out")
    return [*down, *index, *attend(sizes, heads, batch, q_len, kv_len, cache_dtype), out]


def _rotary(elements: int, name: str) -> Op:
    return ops.elementwise(2 * elements, 2 * elements, 6 * elements, name=name)


def _moved(elements: int, name: str) -> Op:
    return ops.elementwise(2 * elements, 2 * elements, name=name)


def _index(sizes: LatentSizes, batch: int, q_len: int, kv_len: int) -> list[Op]:
    """Queries, keys and weights of the index, rounded to fp8, and the choice."""
    tokens, width = batch * q_len, sizes.index_heads * sizes.index_dim
    return [
        ops.linear(tokens, width, sizes.query_rank, name="index_queries"),
        ops.linear(tokens, sizes.index_dim, sizes.hidden, name="index_keys"),
        ops.linear(tokens, sizes.index_heads, sizes.hidden, name="index_weights"),
        ops.norm(tokens, sizes.index_dim, centred=True, name="index_norm"),
        _rotary(tokens * width, "index_rotary"),
        ops.elementwise(2 * tokens * width, tokens * width, tokens * width, name="index_quantize"),
        ops.elementwise(2 * tokens * sizes.index_dim, tokens * sizes.index_dim, name="index_cache_write"),
        ops.key_index(batch, sizes.index_heads, sizes.index_dim, q_len, kv_len, sizes.selected, name="index"),
    ]  # fmt: skip


def _absorbed(
    sizes: LatentSizes, heads: int, batch: int, q_len: int, kv_len: int, cache_dtype: str | DType
) -> list[Op]:
    tokens = batch * q_len
    if sizes.selected:
        attention = ops.selected_attention(
            batch, heads, 1, sizes.cached, q_len, kv_len, sizes.selected, v_head_dim=sizes.latent,
            cache_dtype=cache_dtype, latent_kv=True,
        )  # fmt: skip
    else:
        attention = ops.attention(
            batch, heads, 1, sizes.cached, q_len, kv_len, v_head_dim=sizes.latent, cache_dtype=cache_dtype,
            latent_kv=True,
        )  # fmt: skip
    return [
        ops.matmul(heads, tokens, sizes.latent, sizes.key, name="absorb"),
        _moved(tokens * heads * sizes.cached, "join"),
        attention,
        ops.matmul(heads, tokens, sizes.value, sizes.latent, name="expand"),
    ]


def _expanded(
    sizes: LatentSizes, heads: int, batch: int, q_len: int, kv_len: int, cache_dtype: str | DType
) -> list[Op]:
    del cache_dtype  # keys and values are expanded in the type of the queries
    width = sizes.key + sizes.rope
    return [
        ops.linear(batch * kv_len, heads * (sizes.key + sizes.value), sizes.latent, name="expand"),
        _moved(batch * kv_len * heads * width, "join"),
        ops.attention(batch, heads, heads, width, q_len, kv_len, v_head_dim=sizes.value),
    ]
