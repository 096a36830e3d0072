# SPDX-License-Identifier: Apache-2.0
"""Chunked prefill: every step gives all sequences a token and fills the rest of its budget with parts of prompts."""

from __future__ import annotations

from simsparse.policies.batching.base import BATCHINGS, Batching, BatchView, StepPlan


@BATCHINGS.register("chunked")
class Chunked(Batching):
    """Decoding sequences first, then admitted prompts, then new ones, each as far as ``tokens`` reach.

    Source: the scheduler of vLLM 1 (vllm/v1/core/sched/scheduler.py), without its limit on long prompts.
    """

    name = "chunked"

    def plan(self, view: BatchView) -> StepPlan:
        budget = self.tokens - view.decoding
        chunks: list[tuple[int, int]] = []
        for request in view.unfinished():
            if budget < 1:
                break
            chunks.append((request, min(view.left(request), budget)))
            budget -= chunks[-1][1]
        while budget >= 1 and (new := view.admit()) is not None:
            chunks.append((new, min(view.left(new), budget)))
            budget -= chunks[-1][1]
        return StepPlan(tuple(chunks))
