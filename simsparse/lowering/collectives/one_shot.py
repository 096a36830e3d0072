# SPDX-License-Identifier: Apache-2.0
"""One shot: every rank sends to all others at once; one latency, and more bytes than in a ring.

Source: the one-shot all-reduce of TensorRT-LLM and vLLM for small inputs, where each rank reads the whole
input of all others.
"""

from __future__ import annotations

from simsparse.lowering.collectives.base import ALGORITHMS, Algorithm, Send, SendSteps, shares


@ALGORITHMS.register("one_shot")
class OneShot(Algorithm):
    """A rank's input goes whole to every other rank, of all-to-all and reduce-scatter the other's share.

    With a root, its copies are those that the root sends or receives: the whole input of each, of scatter their shares.
    """

    labels = ("all_gather", "all_reduce", "all_to_all", "broadcast", "gather", "reduce", "reduce_scatter", "scatter")

    def steps(self, label: str, bytes: int, ranks: int) -> SendSteps:
        parts = shares(bytes, ranks) if label in ("all_to_all", "reduce_scatter", "scatter") else [bytes] * ranks
        if label in ("broadcast", "scatter"):
            return [[Send(0, dst, parts[dst]) for dst in range(1, ranks)]]
        if label in ("gather", "reduce"):
            return [[Send(src, 0, bytes) for src in range(1, ranks)]]
        return [[Send(src, dst, parts[dst]) for src in range(ranks) for dst in range(ranks) if src != dst]]
