# SPDX-License-Identifier: Apache-2.0
"""Attention on blocks of keys that a mask keeps: sliding windows with sinks, selected blocks, block-sparse masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from simsparse.core.kind import KINDS, Gemm, positive
from simsparse.core.kinds.attention import PartOfPairs
from simsparse.core.op import Op
from simsparse.core.tensor import DType, whole
from simsparse.errors import SpecError


def block_sparse_attention(
    batch: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    q_len: int,
    kv_len: int,
    block: int,
    kept: Sequence[int] | None = None,
    density: float | None = None,
    dtype: str | DType = "bf16",
    *,
    v_head_dim: int | None = None,
    name: str = "block_sparse_attention",
    **fields: Any,
) -> Op:
    """Attention of ``q_len`` queries, on the blocks of ``block`` keys that a mask keeps for each block of queries.

    ``kept``: blocks of keys kept by each block of queries; or ``density``: share of all pairs of blocks that are kept,
    rounded up to whole blocks. Heads that share keys share their mask. Raises SpecError on a bad dim or dtype, and
    when the mask does not fit the lengths.
    """
    dims = positive(batch=batch, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
                    v_head_dim=head_dim if v_head_dim is None else v_head_dim, q_len=q_len, kv_len=kv_len,
                    block=block)  # fmt: skip
    side = dims["block"]
    blocks = _kept_blocks(-(-dims["q_len"] // side), -(-dims["kv_len"] // side), kept, density)
    kind = BLOCK_SPARSE_ATTENTION.name
    return Op(kind, name, {**dims, "kept_blocks": blocks}, DType.parse(dtype), **fields).checked()


def _kept_blocks(rows: int, cols: int, kept: Sequence[int] | None, density: float | None) -> int:
    if (kept is None) == (density is None):
        raise SpecError("give either the blocks kept by each row or a density", key="kept")
    if kept is None:
        if not isinstance(density, float | int) or not 0 < density <= 1:
            raise SpecError(f"{density!r} is not a share above 0 and up to 1", key="density")
        return math.ceil(round(rows * cols * density, 6))
    counts = [whole(blocks) for blocks in kept] if isinstance(kept, Sequence) else []
    fitting = [count for count in counts if count is not None and 0 <= count <= cols]
    if len(fitting) != rows or len(counts) != rows:
        raise SpecError(f"expected {rows} counts from 0 to {cols}, one per block of queries", key="kept")
    return sum(fitting)


class BlockSparseAttentionKind(PartOfPairs):
    """Attention of which ``kept_blocks`` tiles of ``block`` x ``block`` scores are computed per head.

    Blocks at the ends of the lengths are smaller; pairs are those of all tiles times the share that is kept.
    """

    name = "block_sparse_attention"
    dims = ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "q_len", "kv_len", "block", "kept_blocks")
    flags = frozenset()

    @property
    def factory(self) -> Callable[..., Op]:
        return block_sparse_attention

    def examples(self, dtype: str) -> list[Op]:
        return [
            block_sparse_attention(8, 32, 8, 128, 1, 8192, 64, kept=[16], dtype=dtype, name="selected-decode"),
            block_sparse_attention(1, 32, 8, 128, 2048, 2048, 128, density=0.1, dtype=dtype, name="masked-prefill"),
        ]

    def check(self, op: Op) -> None:
        super().check(op)
        kept, blocks = op.dims["kept_blocks"], query_blocks(op) * key_blocks(op)
        if kept > blocks:
            raise SpecError(f"{kept} exceeds the {blocks} blocks of the lengths", key="kept_blocks")

    def pairs(self, op: Op) -> int:
        d, blocks = op.dims, query_blocks(op) * key_blocks(op)
        return -(-d["batch"] * d["kept_blocks"] * d["q_len"] * d["kv_len"] // blocks)

    def products(self, op: Op) -> tuple[Gemm, ...]:
        """Two products per kept tile and group of heads that share keys; scores stay on chip."""
        d, size = op.dims, op.dtype.bits / 8
        tiles = d["batch"] * d["kv_heads"] * d["kept_blocks"]
        queries, keys = min(d["block"], d["q_len"]) * d["heads"] // d["kv_heads"], min(d["block"], d["kv_len"])
        key_size, value_size = d["head_dim"], d["v_head_dim"]
        return (
            Gemm(tiles, queries, keys, key_size, keys * key_size * size, queries * key_size * size, 0.0),
            Gemm(tiles, queries, value_size, keys, keys * value_size * size, 0.0, queries * value_size * size),
        )

    def kv_bytes(self, op: Op) -> int:
        """Keys and values of the blocks that some query keeps, as many different ones as there can be."""
        return self.cache_bytes(op, min(op.dims["kv_len"], op.dims["kept_blocks"] * op.dims["block"]))


def query_blocks(op: Op) -> int:
    """Blocks of queries, the last one maybe smaller."""
    return -(-op.dims["q_len"] // op.dims["block"])


def key_blocks(op: Op) -> int:
    """Blocks of keys, the last one maybe smaller."""
    return -(-op.dims["kv_len"] // op.dims["block"])


BLOCK_SPARSE_ATTENTION = BlockSparseAttentionKind()
KINDS.register(BLOCK_SPARSE_ATTENTION.name)(BLOCK_SPARSE_ATTENTION)
