# SPDX-License-Identifier: Apache-2.0
"""Decode attention by kernels of a serving engine: bytes at a rate, and no sooner than the longest sequence is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simsparse.config.engine import EngineAttention
from simsparse.core import OpKind
from simsparse.serving.model import Repeated


@dataclass(frozen=True)
class Pieces:
    """How a kernel cuts sequences: see ``simsparse.config.engine.AttentionPieces``; ``time_s`` in seconds."""

    programs: int
    most: int
    keys: int
    time_s: float

    def seconds(self, sequences: int, kv_heads: int, longest: float) -> float:
        """Seconds of the program that reads most, of ``sequences`` whose longest has ``longest`` keys."""
        pieces = max(1, min(self.most, self.programs // (sequences * kv_heads)))
        of_one = -(-longest // pieces)
        return float(-(-of_one // self.keys)) * self.time_s


@dataclass(frozen=True)
class OwnAttention:
    """Seconds per layer ``start_s``, and ``memory``, the share of the bandwidth at which keys and values are read."""

    start_s: float
    memory: float
    pieces: Pieces | None = None

    @classmethod
    def of(cls, part: EngineAttention) -> OwnAttention:
        """The attention of an engine's file."""
        cut = part.pieces
        pieces = Pieces(cut.programs, cut.most, cut.keys, cut.time.si) if cut is not None else None
        return cls(part.start.si, part.memory.si, pieces)

    def seconds(self, listed: Sequence[Repeated], bytes_per_s: float) -> float:
        """Seconds of the attention ops among ``listed``, whose keys and values all programs read together."""
        rate = self.memory * bytes_per_s
        return sum(each.times * (self.start_s + each.op.kv_bytes / rate) for each in _attention(listed))

    def longest_seconds(self, listed: Sequence[Repeated], sequences: int, longest: float) -> float:
        """Seconds of the attention ops among ``listed`` until the longest sequence is read; 0 without pieces."""
        if self.pieces is None or longest <= 0:
            return 0.0
        return sum(
            each.times * (self.start_s + self.pieces.seconds(sequences, each.op.dims["kv_heads"], longest))
            for each in _attention(listed)
        )


def _attention(listed: Sequence[Repeated]) -> list[Repeated]:
    return [each for each in listed if each.op.kind == OpKind.ATTENTION]
