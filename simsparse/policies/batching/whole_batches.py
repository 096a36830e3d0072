# SPDX-License-Identifier: Apache-2.0
"""Whole batches: requests are admitted together, when all of the batch before have ended."""

from __future__ import annotations

from simsparse.policies.batching.base import BATCHINGS, Batching, BatchView, StepPlan


@BATCHINGS.register("whole_batches")
class WholeBatches(Batching):
    """A batch of up to ``max_seqs`` requests runs to its end before the next is admitted, as before Orca."""

    name = "whole_batches"

    def plan(self, view: BatchView) -> StepPlan:
        if view.decoding:
            return StepPlan()
        chunks = []
        while (request := view.admit()) is not None:
            chunks.append((request, view.left(request)))
        return StepPlan(tuple(chunks), decode=False)
