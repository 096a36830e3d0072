# SPDX-License-Identifier: Apache-2.0
"""All-reduces of a serving engine's own: every rank reads the others' memory over NVLink, in one step or in two.

In one step each rank reads all of what the others have, in two it reads a share, adds up, and reads the others' sums.
Source: the custom all-reduce of vLLM, which takes one step for small messages. Here the faster one counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simsparse.config.engine import EngineAllReduce


@dataclass(frozen=True)
class RankAllReduce:
    """Seconds of start in one step and in two, and bytes per second that a rank reads."""

    once_s: float
    twice_s: float
    bytes_per_s: float

    def seconds(self, size: int, ranks: int) -> float:
        """Seconds for ``size`` bytes on each of ``ranks``."""
        once = self.once_s + size * (ranks - 1) / self.bytes_per_s
        return min(once, self.twice_s + 2 * size * (ranks - 1) / ranks / self.bytes_per_s)


@dataclass(frozen=True)
class OwnAllReduce:
    """``by_ranks``: of each number of ranks that has one; ``most``: bytes beyond which the library's runs."""

    most: int
    by_ranks: tuple[tuple[int, RankAllReduce], ...]

    @classmethod
    def of(cls, part: EngineAllReduce) -> OwnAllReduce:
        """The all-reduce of an engine's file."""
        return cls(int(part.most.si), tuple(
            (ranks, RankAllReduce(own.once.si, own.twice.si, own.rate.si)) for ranks, own in sorted(part.ranks.items())
        ))  # fmt: skip

    def seconds(self, size: int, ranks: int) -> float | None:
        """Seconds for ``size`` bytes on each of ``ranks``; None where the library's kernel runs."""
        known: Mapping[int, RankAllReduce] = dict(self.by_ranks)
        return known[ranks].seconds(size, ranks) if size <= self.most and ranks in known else None
