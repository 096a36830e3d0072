# SPDX-License-Identifier: Apache-2.0
"""Masks that scores choose: the best blocks of keys, by pooled queries and keys; the best tokens, by some channels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from simsparse.core.attention_mask import BLOCK, MASKS, MaskPattern, named
from simsparse.core.attention_masks.positions import on_blocks, seen_blocks
from simsparse.core.kinds.matmul import matmul
from simsparse.core.kinds.reduce import reduce
from simsparse.core.kinds.selected_attention import selected_attention
from simsparse.core.kinds.softmax import softmax
from simsparse.core.kinds.topk import topk

if TYPE_CHECKING:
    from simsparse.core.op import Op


@MASKS.register("blocks")
@dataclass(frozen=True)
class Blocks(MaskPattern):
    """A ``share`` of the blocks that each block of queries sees, the best by the scores of pooled queries and keys.

    An attention of one query reads that share of its tokens; the pooled keys of a cache are kept beside it.
    """

    share: float
    name: ClassVar[str] = "blocks"
    syntax: ClassVar[str] = "blocks:SHARE"

    @classmethod
    def read(cls, text: str) -> Self | None:
        match = re.fullmatch(r"blocks:(\d*\.?\d+)", text)
        return cls(float(match[1])) if match and 0 < float(match[1]) <= 1 else None

    def finding(self, op: Op) -> list[Op]:
        d = op.dims
        heads, cols = d["batch"] * d["heads"], -(-d["kv_len"] // BLOCK)
        if d["q_len"] == 1:
            return _best(op, heads, 1, cols, d["head_dim"], max(1, round(cols * self.share)))
        rows = -(-d["q_len"] // BLOCK)
        pooled = [
            named(op, "pooled_queries", reduce, heads * rows * d["head_dim"], BLOCK, function="mean"),
            named(op, "pooled_keys", reduce, d["batch"] * d["kv_heads"] * cols * d["head_dim"], BLOCK, function="mean"),
        ]
        return [*pooled, *_best(op, heads, rows, cols, d["head_dim"], max(1, round(cols * self.share)))]

    def reading(self, op: Op) -> Op:
        if op.dims["q_len"] == 1:
            return on_tokens(op, max(1, round(op.dims["kv_len"] * self.share)))
        seen = seen_blocks(op)
        return on_blocks(op, np.minimum(np.ceil(seen * self.share), seen))


@MASKS.register("tokens")
@dataclass(frozen=True)
class Tokens(MaskPattern):
    """The ``kept`` best tokens of the cache, by the scores of ``channels`` of each head's channels (0: of all)."""

    kept: int
    channels: int
    name: ClassVar[str] = "tokens"
    syntax: ClassVar[str] = "tokens:KEPT or tokens:KEPT/CHANNELS"

    @classmethod
    def read(cls, text: str) -> Self | None:
        match = re.fullmatch(r"tokens:(\d{1,9})(?:/(\d{1,6}))?", text)
        return cls(int(match[1]), int(match[2] or 0)) if match and int(match[1]) else None

    def finding(self, op: Op) -> list[Op]:
        d = op.dims
        if self.kept >= d["kv_len"]:
            return []
        width = min(self.channels or d["head_dim"], d["head_dim"])
        return _best(op, d["batch"] * d["heads"], d["q_len"], d["kv_len"], width, self.kept)

    def reading(self, op: Op) -> Op:
        return on_tokens(op, self.kept)


def _best(op: Op, heads: int, rows: int, cols: int, width: int, kept: int) -> list[Op]:
    """Scores of ``rows`` queries of each head against ``cols`` keys, and the ``kept`` best of each row."""
    return [
        named(op, "choice_scores", matmul, heads, rows, cols, width),
        named(op, "choice_softmax", softmax, heads * rows, cols),
        named(op, "choice", topk, heads * rows, cols, min(kept, cols)),
    ]


def on_tokens(op: Op, kept: int) -> Op:
    """``op`` on ``kept`` tokens of each query's own choice; itself where the cache has no more."""
    d = op.dims
    if kept >= d["kv_len"]:
        return op
    made = selected_attention(
        d["batch"], d["heads"], d["kv_heads"], d["head_dim"], d["q_len"], d["kv_len"], kept, bool(d["causal"]),
        dtype=op.dtype, v_head_dim=d["v_head_dim"], name=op.name,
    )  # fmt: skip
    return made.with_(module=op.module, deps=op.deps, latent_kv=op.latent_kv, stats=op.stats)
