# SPDX-License-Identifier: Apache-2.0
"""Ring algorithms: every rank sends to the next one, as many steps as there are other ranks.

An all-reduce is a reduce-scatter of shares and an all-gather of the sums: each rank sends 2 (N - 1) / N of
its input, in 2 (N - 1) steps. Source: Thakur, Rabenseifner and Gropp, Optimization of Collective
Communication Operations in MPICH (2005).
"""

from __future__ import annotations

from simsparse.lowering.collectives.base import ALGORITHMS, Algorithm, Send, SendSteps, shares


@ALGORITHMS.register("ring")
class Ring(Algorithm):
    """Ranks in the order of their group, the last beside the first."""

    labels = ("all_gather", "all_reduce", "reduce_scatter")

    def steps(self, label: str, bytes: int, ranks: int) -> SendSteps:
        parts = [bytes] * ranks if label == "all_gather" else shares(bytes, ranks)
        rounds = 2 if label == "all_reduce" else 1
        return [_step(parts, step) for step in range(rounds * (ranks - 1))]


def _step(parts: list[int], step: int) -> list[Send]:
    """Rank r sends part r - step; after N - 1 steps that is part r + 1, whose sum it has."""
    ranks = len(parts)
    return [Send(rank, (rank + 1) % ranks, parts[(rank - step) % ranks]) for rank in range(ranks)]
