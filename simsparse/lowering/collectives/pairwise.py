# SPDX-License-Identifier: Apache-2.0
"""Pairwise exchange: in step s every rank sends to the rank s places on, and receives from the one s places back.

Source: Thakur, Rabenseifner and Gropp, Optimization of Collective Communication Operations in MPICH (2005).
"""

from __future__ import annotations

from simsparse.lowering.collectives.base import ALGORITHMS, Algorithm, Send, SendSteps, shares


@ALGORITHMS.register("pairwise")
class Pairwise(Algorithm):
    """An equal share of a rank's input goes to each rank, its own included."""

    labels = ("all_to_all",)

    def steps(self, label: str, bytes: int, ranks: int) -> SendSteps:
        del label
        parts = shares(bytes, ranks)
        return [[Send(rank, to := (rank + step) % ranks, parts[to]) for rank in range(ranks)]
                for step in range(1, ranks)]  # fmt: skip
