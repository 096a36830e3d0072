# SPDX-License-Identifier: Apache-2.0
"""Keys found along a tree (HiP): chunks are scored by one key each, the best are split, the best tokens are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from simsparse.core.attention_mask import BLOCK, MASKS, MaskPattern, named
from simsparse.core.attention_masks.chosen import on_tokens
from simsparse.core.attention_masks.positions import on_blocks, seen_blocks
from simsparse.core.kinds.matmul import matmul
from simsparse.core.kinds.topk import topk

if TYPE_CHECKING:
    from simsparse.core.op import Op

QUERY_STRIDE = 4
"""Every so many queries of a block score chunks. Source: HiP attention's configuration."""


@MASKS.register("hierarchical")
@dataclass(frozen=True)
class Hierarchical(MaskPattern):
    """``stages`` of (chunk, kept): keys are cut into chunks, of which the best with ``kept`` tokens go on.

    A block of 64 queries shares its choice. The key that stands for a chunk is found by halving it, one score per
    halving and one for the chunk. A query reads the tokens that the last stage keeps; in a prompt these fill blocks of
    64. Source: Lee et al., arXiv:2406.09827, and the chunks of its successor's configuration.
    """

    stages: tuple[tuple[int, int], ...]
    name: ClassVar[str] = "hierarchical"
    syntax: ClassVar[str] = "hierarchical:CHUNK>KEPT,..."

    @classmethod
    def read(cls, text: str) -> Self | None:
        if re.fullmatch(r"hierarchical:\d{1,6}>\d{1,9}(,\d{1,6}>\d{1,9})*", text) is None:
            return None
        parts = (stage.split(">") for stage in text.removeprefix("hierarchical:").split(","))
        found = tuple((int(chunk), int(kept)) for chunk, kept in parts)
        return cls(found) if all(0 < chunk <= kept for chunk, kept in found) else None

    def finding(self, op: Op) -> list[Op]:
        d = op.dims
        left = before = d["kv_len"]
        made: list[Op] = []
        heads, rows = d["batch"] * d["heads"], -(-d["q_len"] // BLOCK)
        queries = -(-min(d["q_len"], BLOCK) // QUERY_STRIDE)
        for place, (chunk, kept) in enumerate(self.stages):
            if kept >= left:
                continue
            chunks, halvings = -(-left // chunk), min(chunk, before).bit_length()
            count, m = (heads * rows, queries) if made else (heads, rows * queries)
            made += [
                named(op, f"scores_{place}", matmul, count, m, chunks * halvings, d["head_dim"]),
                named(op, f"choice_{place}", topk, heads * rows, chunks, max(1, kept // chunk)),
            ]
            left, before = kept, chunk
        return made

    def reading(self, op: Op) -> Op:
        kept = self.stages[-1][1]
        if op.dims["q_len"] == 1:
            return on_tokens(op, kept)
        return on_blocks(op, np.minimum(seen_blocks(op), -(-kept // BLOCK)))
