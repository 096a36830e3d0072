# SPDX-License-Identifier: Apache-2.0
"""Masks that positions alone give: full, windows with sinks, windows that grow with the length, strided shards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from simsparse.core.attention_mask import BLOCK, MASKS, MaskPattern
from simsparse.core.kinds.attention import WINDOW
from simsparse.core.kinds.block_sparse_attention import block_sparse_attention

if TYPE_CHECKING:
    from simsparse.core.op import Op


BlockCounts = NDArray[np.int64]
"""Blocks of keys by block of queries."""


class ByPosition(MaskPattern):
    """A pattern that needs no finding; ``kept`` says how many keys a query reads that sees ``seen``."""

    def finding(self, op: Op) -> list[Op]:
        del op
        return []


@MASKS.register("full")
@dataclass(frozen=True)
class Full(ByPosition):
    """Every query reads every key, later ones too: diffusion models, encoders."""

    name: ClassVar[str] = "full"
    syntax: ClassVar[str] = "full"

    @classmethod
    def read(cls, text: str) -> Self | None:
        return cls() if text == cls.name else None

    def reading(self, op: Op) -> Op:
        return op.with_(dims={**op.dims, "causal": 0})


@MASKS.register("a-shape")
@dataclass(frozen=True)
class AShape(ByPosition):
    """The first ``sink`` keys and the last ``window``; a cache keeps no others."""

    sink: int
    window: int
    name: ClassVar[str] = "a-shape"
    syntax: ClassVar[str] = "a-shape:SINK+WINDOW"

    @classmethod
    def read(cls, text: str) -> Self | None:
        match = re.fullmatch(r"a-shape:(\d{1,9})\+(\d{1,9})", text)
        return cls(int(match[1]), int(match[2])) if match and int(match[2]) else None

    def reading(self, op: Op) -> Op:
        return windowed(op, self.sink, self.window)


@MASKS.register("spans")
@dataclass(frozen=True)
class Spans(ByPosition):
    """A window of its own for each head: ``start`` keys and a ``share`` of the length, in so many of all heads.

    Heads whose windows differ are one launch; a cache keeps as many keys as the mean window.
    """

    heads: tuple[tuple[int, float, int], ...]
    name: ClassVar[str] = "spans"
    syntax: ClassVar[str] = "spans:START+SHARExHEADS,..."

    @classmethod
    def read(cls, text: str) -> Self | None:
        if re.fullmatch(r"spans:\d{1,9}\+\d*\.?\d+x\d{1,6}(,\d{1,9}\+\d*\.?\d+x\d{1,6})*", text) is None:
            return None
        parts = [re.split(r"[+x]", part) for part in text.removeprefix("spans:").split(",")]
        found = tuple((int(start), float(share), int(heads)) for start, share, heads in parts)
        return cls(found) if all(0 <= share <= 1 and heads for _, share, heads in found) else None

    def reading(self, op: Op) -> Op:
        length, heads = op.dims["kv_len"], sum(count for *_, count in self.heads)
        keys = sum(min(start + share * length, length) * count for start, share, count in self.heads) / heads
        return windowed(op, 0, max(1, round(keys)))


@MASKS.register("strided")
@dataclass(frozen=True)
class Strided(ByPosition):
    """``local`` blocks before a query, and every ``stride``-th of those before, at an offset of each head's own."""

    local: int
    stride: int
    name: ClassVar[str] = "strided"
    syntax: ClassVar[str] = "strided:LOCAL+STRIDE"

    @classmethod
    def read(cls, text: str) -> Self | None:
        match = re.fullmatch(r"strided:(\d{1,6})\+(\d{1,6})", text)
        return cls(int(match[1]), int(match[2])) if match and int(match[1]) and int(match[2]) else None

    def reading(self, op: Op) -> Op:
        blocks = -(-op.dims["kv_len"] // BLOCK)
        if op.dims["q_len"] == 1:
            return cut(op, BLOCK * int(self._kept(np.array([blocks]))[0]))
        return on_blocks(op, self._kept(seen_blocks(op)))

    def _kept(self, seen: BlockCounts) -> BlockCounts:
        far = np.maximum(seen - self.local, 0)
        kept: BlockCounts = np.minimum(seen, self.local) + -(-far // self.stride)
        return kept


def windowed(op: Op, sink: int, window: int) -> Op:
    """``op`` on the first ``sink`` keys and the last ``window``."""
    d = op.dims
    if d["q_len"] == 1:
        return cut(op, sink + window)
    if window >= d["kv_len"]:
        return op
    if not sink and d["causal"]:
        return op.with_(stats={**op.stats, WINDOW: window})
    seen = seen_blocks(op)
    return on_blocks(op, np.minimum(seen, -(-sink // BLOCK) + -(-window // BLOCK) + 1))


def cut(op: Op, keys: int) -> Op:
    """``op`` on a cache of ``keys`` at most."""
    return op if keys >= op.dims["kv_len"] else op.with_(dims={**op.dims, "kv_len": max(1, keys)})


def seen_blocks(op: Op) -> BlockCounts:
    """Blocks of keys that each block of queries sees."""
    d = op.dims
    rows = -(-d["q_len"] // BLOCK)
    if not d["causal"]:
        return np.full(rows, -(-d["kv_len"] // BLOCK))
    last = np.minimum(np.arange(1, rows + 1) * BLOCK, d["q_len"]) + (d["kv_len"] - d["q_len"])
    seen: BlockCounts = -(-np.clip(last, 1, d["kv_len"]) // BLOCK)
    return seen


def on_blocks(op: Op, kept: BlockCounts) -> Op:
    """``op`` where each block of queries reads so many blocks of keys; itself where these are all that it sees."""
    d = op.dims
    if int(kept.sum()) >= int(seen_blocks(op).sum()):
        return op
    made = block_sparse_attention(
        d["batch"], d["heads"], d["kv_heads"], d["head_dim"], d["q_len"], d["kv_len"], BLOCK, [int(k) for k in kept],
        dtype=op.dtype, v_head_dim=d["v_head_dim"], name=op.name,
    )  # fmt: skip
    return made.with_(module=op.module, deps=op.deps)
