# SPDX-License-Identifier: Apache-2.0
"""A send and its receive: one copy, from the first rank to the second."""

from __future__ import annotations

from simsparse.lowering.collectives.base import ALGORITHMS, Algorithm, Send, SendSteps


@ALGORITHMS.register("send_recv")
class SendRecv(Algorithm):
    """One copy; further ranks take no part."""

    labels = ("send_recv",)

    def steps(self, label: str, bytes: int, ranks: int) -> SendSteps:
        del label, ranks
        return [[Send(0, 1, bytes)]]
