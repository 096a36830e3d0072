# SPDX-License-Identifier: Apache-2.0
"""Attention layers on compressed caches as operators: one new token per sequence.

Keys and values are one vector of ``head`` elements per token, shared by all heads. A query reads the last WINDOW tokens
as they are, and of the rest one entry for every few tokens: with ``every`` 4 those that an index selects (CSA), with
128 all of them (HCA). Sources: the configuration and the module of transformers 5.23 (``deepseek_v4``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from simsparse.core import DType, Op, ops

WINDOW = 128
"""Tokens that are read uncompressed."""
SELECTING = 4
"""Tokens per entry of layers that select; their entries overlap, so that each token is projected twice."""


@dataclass(frozen=True)
class CompressedSizes:
    """Sizes of a layer, in elements: ``hidden``, ranks of queries and of a group of outputs, ``head`` of keys and
    values, ``rope`` of these; ``heads`` and ``groups`` of the whole model; heads of the index, its head size, how many
    entries it selects."""

    hidden: int
    heads: int
    query_rank: int
    groups: int
    out_rank: int
    selected: int
    head: int = 512
    rope: int = 64
    index_heads: int = 64
    index_dim: int = 128


SIZES: Mapping[str, CompressedSizes] = MappingProxyType({
    "DeepSeek-V4-Flash": CompressedSizes(4096, 64, 1024, 8, 1024, 512),
    "DeepSeek-V4-Pro": CompressedSizes(7168, 128, 1536, 16, 1024, 1024),
})  # fmt: skip
"""Sizes by model; of the second, heads are those of the public table, the others are from memory."""


def compressed_layer(
    sizes: CompressedSizes, heads: int, batch: int, kv_len: int, every: int, dtype: str | DType = "fp8"
) -> list[Op]:
    """The attention layer of one new token in each of ``batch`` sequences of ``kv_len`` tokens in all.

    ``heads``: those of one device, whose groups of outputs are as many of all groups. ``every``: tokens per compressed
    entry. ``dtype``: of the large projections and of the cache. Raises SpecError on sizes that make no operator.
    """
    entries, head = kv_len // every, sizes.head
    groups = max(1, sizes.groups * heads // sizes.heads)
    selects = every == SELECTING
    shared = {"v_head_dim": head, "cache_dtype": dtype, "latent_kv": True}
    keys = min(kv_len, WINDOW) + (min(entries, sizes.selected) if selects else entries)
    return [
        ops.linear(batch, sizes.query_rank + head, sizes.hidden, dtype, name="down"),
        ops.norm(batch, sizes.query_rank, name="query_norm"), ops.norm(batch, head, name="key_norm"),
        ops.linear(batch, heads * head, sizes.query_rank, dtype, name="query_up"),
        ops.norm(batch * heads, head, name="head_norm"),
        _moved(batch * (heads + 1) * sizes.rope, "rotary"), _moved(batch * head, "cache_write"),
        ops.linear(batch, (2 if selects else 1) * 2 * head, sizes.hidden, name="compress"),
        _moved(2 * batch * head, "compressed_write"),
        *(_index(sizes, batch, entries, dtype) if selects else ()),
        ops.selected_attention(batch, heads, 1, head, 1, keys, keys, **shared),
        ops.matmul(groups, batch, sizes.out_rank, heads * head // groups, name="out_groups"),
        ops.linear(batch, sizes.hidden, groups * sizes.out_rank, dtype, name="out"),
    ]  # fmt: skip


def _moved(elements: int, name: str) -> Op:
    return ops.elementwise(2 * elements, 2 * elements, name=name)


def _index(sizes: CompressedSizes, batch: int, entries: int, dtype: str | DType) -> list[Op]:
    """Queries, compressed keys and weights of the index, and the choice where there is an entry to choose."""
    width, heads, dim = sizes.index_heads * sizes.index_dim, sizes.index_heads, sizes.index_dim
    asked = [
        ops.linear(batch, width, sizes.query_rank, dtype, name="index_queries"),
        ops.linear(batch, 4 * dim, sizes.hidden, name="index_compress"),
        ops.linear(batch, heads, sizes.hidden, name="index_weights"),
        _moved(batch * width, "index_rotary"),
    ]
    return (
        asked if not entries else [*asked, ops.key_index(batch, heads, dim, 1, entries, sizes.selected, name="index")]
    )
