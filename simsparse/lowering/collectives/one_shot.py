# SPDX-License-Identifier: Apache-2.0
"""One shot: every rank sends to all others at once; one latency, and more bytes than in a ring.

Source: the one-shot all-reduce of TensorRT-LLM and vLLM for small inputs, where each rank reads the whole
input of all others.
"""

from __future__ import annotations

from simsparse.lowering.collectives.base import ALGORITHMS, Algorithm, Send, SendSteps, shares


@ALGORITHMS.register("one_shot")
class OneShot(Algorithm):
    """A rank's input goes whole to every other rank, of all-to-all and reduce-scatter the other's share."""

    labels = ("all_gather", "all_reduce", "all_to_all", "reduce_scatter")

    def steps(self, label: str, bytes: int, ranks: int) -> SendSteps:
        whole = label in ("all_gather", "all_reduce")
        parts = [bytes] * ranks if whole else shares(bytes, ranks)
        return [[Send(src, dst, parts[dst]) for src in range(ranks) for dst in range(ranks) if src != dst]]
