# SPDX-License-Identifier: Apache-2.0
"""Prompts before tokens: a step reads whole prompts, or gives every sequence a token, never both."""

from __future__ import annotations

from simsparse.errors import SpecError
from simsparse.policies.batching.base import BATCHINGS, Batching, BatchView, StepPlan


@BATCHINGS.register("prefill_first")
class PrefillFirst(Batching):
    """While requests wait and have room, steps read their prompts, ``prompts`` at a time at most and whole.

    The first prompt of a step may be longer than ``tokens``; further ones fit into what it leaves of them. This is
    how vLLM batched before version 1, and TensorRT-LLM without in-flight chunks.
    """

    name = "prefill_first"

    def __init__(
        self, max_seqs: int = 256, tokens: int = 8192, priorities: bool = False, prompts: int | None = None
    ) -> None:
        super().__init__(max_seqs, tokens, priorities)
        if prompts is not None and (isinstance(prompts, bool) or not isinstance(prompts, int) or prompts < 1):
            raise SpecError(f"{prompts!r} prompts in a step; expected 1 or more", key="prompts")
        self.prompts = prompts

    def plan(self, view: BatchView) -> StepPlan:
        chunks: list[tuple[int, int]] = []
        used, waiting = 0, view.unfinished()
        while self.prompts is None or len(chunks) < self.prompts:
            request = waiting.pop(0) if waiting else view.admit() if used < self.tokens else None
            if request is None or (chunks and used + view.left(request) > self.tokens):
                break
            chunks.append((request, view.left(request)))
            used += chunks[-1][1]
        return StepPlan(tuple(chunks), decode=not chunks)
