# SPDX-License-Identifier: Apache-2.0
"""A chain from the root over all ranks, or back to it, in pieces that follow each other.

A rank passes a piece on while the next one comes in, so that a long broadcast takes little more than one copy of its
bytes. Source: NCCL's ring broadcast and reduce, which pass on slots of 512 KiB (a buffer of 4 MiB in 8 steps).
"""

from __future__ import annotations

from simsparse.lowering.collectives.base import ALGORITHMS, Algorithm, Send, SendSteps, shares

PIECE_BYTES = 512 << 10
MAX_PIECES = 64
"""Longer pieces rather than more: with N ranks that costs (N - 2) / 64 of the time at most."""


@ALGORITHMS.register("chain")
class Chain(Algorithm):
    """Ranks in the order of their group, the root first."""

    labels = ("broadcast", "reduce")

    def steps(self, label: str, bytes: int, ranks: int) -> SendSteps:
        pieces = shares(bytes, min(-(-bytes // PIECE_BYTES), MAX_PIECES))
        links = [(rank, rank + 1) for rank in range(ranks - 1)]
        if label == "reduce":
            links = [(dst, src) for src, dst in reversed(links)]
        return [
            [Send(*link, pieces[step - i]) for i, link in enumerate(links) if 0 <= step - i < len(pieces)]
            for step in range(len(pieces) + len(links) - 1)
        ]
