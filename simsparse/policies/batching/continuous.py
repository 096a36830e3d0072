# SPDX-License-Identifier: Apache-2.0
"""Continuous batching with whole prompts: a step gives all sequences a token and reads new prompts beside them."""

from __future__ import annotations

from simsparse.policies.batching.base import BATCHINGS, Batching, BatchView, StepPlan


@BATCHINGS.register("continuous")
class Continuous(Batching):
    """Prompts are never split; a prompt longer than what the step has left waits for one that reads it first.

    A step admits while fewer than ``tokens`` are planned, so that the last prompt may go beyond them. Source: iteration
    level scheduling of Yu et al., Orca, OSDI 2022, with a budget.
    """

    name = "continuous"

    def plan(self, view: BatchView) -> StepPlan:
        chunks = [(i, view.left(i)) for i in view.unfinished()]
        used = view.decoding + sum(tokens for _, tokens in chunks)
        while used < self.tokens and (request := view.admit()) is not None:
            chunks.append((request, view.left(request)))
            used += chunks[-1][1]
        return StepPlan(tuple(chunks))
