# SPDX-License-Identifier: Apache-2.0
"""Columns of keys and diagonals of scores, chosen for each head by the last queries of a prompt (MInference)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from simsparse.core.attention_mask import BLOCK, MASKS, MaskPattern, named
from simsparse.core.attention_masks.positions import on_blocks, seen_blocks
from simsparse.core.kernel import KernelCall
from simsparse.core.kinds.elementwise import elementwise
from simsparse.core.kinds.matmul import matmul
from simsparse.core.kinds.reduce import reduce
from simsparse.core.kinds.softmax import softmax
from simsparse.core.kinds.topk import topk
from simsparse.core.tensor import DType

if TYPE_CHECKING:
    from simsparse.core.op import Op

LAST_QUERIES = 64
"""Queries whose scores choose. Source: MInference, last_q."""
RECENT = 100
"""Diagonals next to the main one that are always kept. Source: MInference."""


@MASKS.register("vertical-slash")
@dataclass(frozen=True)
class VerticalSlash(MaskPattern):
    """So many ``columns`` and ``diagonals`` in so many ``heads``; diagonals lie in runs of ``run`` neighbours.

    A block is computed where a kept diagonal crosses it; columns are gathered, 64 to a block. Runs are taken to lie
    anywhere with equal chance; the expected number of different blocks is counted. The mean over the heads is what all
    heads read. An attention of one query is left as it is.
    """

    heads: tuple[tuple[int, int, int], ...]
    run: int
    name: ClassVar[str] = "vertical-slash"
    syntax: ClassVar[str] = "vertical-slash:COLUMNS+DIAGONALSxHEADS,.../RUN"

    @classmethod
    def read(cls, text: str) -> Self | None:
        number = r"\d{1,9}"
        part = rf"{number}\+{number}x\d{{1,6}}"
        match = re.fullmatch(rf"vertical-slash:({part}(?:,{part})*)/({number})", text)
        if match is None or not int(match[2]):
            return None
        parts = (re.split(r"[+x]", part) for part in match[1].split(","))
        found = tuple((int(columns), int(diagonals), int(heads)) for columns, diagonals, heads in parts)
        return cls(found, int(match[2])) if all(heads for *_, heads in found) else None

    def finding(self, op: Op) -> list[Op]:
        d = op.dims
        if d["q_len"] == 1:
            return []
        heads, keys, last = d["batch"] * d["heads"], d["kv_len"], min(LAST_QUERIES, d["q_len"])
        columns, diagonals = (max(1, min(max(head[i] for head in self.heads), keys)) for i in (0, 1))
        scores = heads * last * keys
        return [
            named(op, "last_scores", matmul, heads, last, keys, d["head_dim"]),
            named(op, "last_softmax", softmax, heads * last, keys, dtype="fp32"),
            named(op, "column_sums", reduce, heads * keys, last, dtype="fp32"),
            _copied(op, "skew", 4 * scores, 4 * scores),
            named(op, "diagonal_sums", reduce, heads * keys, last, dtype="fp32"),
            named(op, "columns", topk, heads, keys, columns, dtype="fp32"),
            named(op, "diagonals", topk, heads, keys, diagonals, dtype="fp32"),
            _copied(op, "blocks", 8 * heads * (columns + diagonals), 4 * heads * -(-keys // BLOCK)),
        ]

    def reading(self, op: Op) -> Op:
        if op.dims["q_len"] == 1:
            return op
        seen, all_heads = seen_blocks(op), sum(count for *_, count in self.heads)
        kept = sum(count * self._kept(seen, columns, diagonals) for columns, diagonals, count in self.heads)
        return on_blocks(op, np.minimum(np.ceil(kept / all_heads), seen))

    def _kept(self, seen: NDArray[np.int64], columns: int, diagonals: int) -> NDArray[np.float64]:
        """Blocks that each block of queries of a head reads, the last of ``seen`` those of the whole length."""
        most = float(seen[-1])
        recent = min(RECENT, diagonals)
        near = np.minimum(seen, 1 + np.ceil(recent / BLOCK))
        runs, width = max(diagonals - recent, 0) / self.run, (self.run + 2 * BLOCK - 2) / BLOCK
        missed = (1 - np.minimum(width / most, 1.0)) ** runs
        crossed = near + (seen - near) * (1 - missed)
        gathered = np.ceil(np.minimum(columns * seen / most, seen * BLOCK) * missed / BLOCK)
        kept: NDArray[np.float64] = np.minimum(crossed + gathered, seen)
        return kept


def _copied(op: Op, part: str, read: int, written: int) -> Op:
    """One kernel that moves fp32 values from place to place."""
    call = KernelCall(part, read, written, 0, DType.FP32, written // 4, 1, True)
    return named(op, part, elementwise, read, written, dtype=DType.FP32, kernels=(call,))
