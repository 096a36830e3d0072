# SPDX-License-Identifier: Apache-2.0
"""What happens to each request: admitted, first token, ended, and how many steps it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from simsparse.sources.requests import Floats, Ints, Requests


@dataclass
class Book:
    """The requests of a run and what is known of each.

    ``steps``: decode steps after the first token of each request, fewer than its tokens where a step makes several.
    ``queries``: tokens of a sequence that a decode step computes, drafts included. ``draft_s``: seconds per step that
    drafts take.
    """

    requests: Requests
    steps: Ints | None = None
    queries: int = 1
    draft_s: float = 0.0
    admitted_s: Floats = field(init=False)
    first_s: Floats = field(init=False)
    done_s: Floats = field(init=False)
    found: Ints = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.requests)
        self.admitted_s, self.first_s, self.done_s = (np.full(count, np.nan) for _ in range(3))
        self.found = np.zeros(count, np.int64)
        after = np.maximum(self.requests.output_tokens - 1, 0)
        steps = after if self.steps is None else self.steps
        self._input: list[int] = self.requests.input_tokens.tolist()
        self._steps: list[int] = steps.tolist()
        self._growth: list[float] = (after / np.maximum(steps, 1)).tolist()
        self._produced, self._context, self._done_steps = [0.0] * count, [0.0] * count, [0] * count
        self._first = [False] * count

    def prefix(self, request: int) -> tuple[int, ...]:
        """Ids of the leading blocks of a prompt."""
        return self.requests.prefix[request] if self.requests.prefix else ()

    def tokens(self, request: int) -> int:
        """Tokens of the prompt and those produced so far."""
        return self._input[request] + round(self._produced[request])

    def to_read(self, request: int) -> int:
        """Tokens to read before the next token: the prompt, and what was produced before a preemption."""
        return self.tokens(request)

    def read_before(self, request: int, left: int) -> int:
        """Tokens of those that are in the cache when ``left`` are still to be read."""
        return self.to_read(request) - left

    def admitted(self, request: int, time: float) -> None:
        """The request got its place."""
        if np.isnan(self.admitted_s[request]):
            self.admitted_s[request] = time

    def admission(self, request: int) -> tuple[float, int]:
        """Order of admission."""
        return float(self.admitted_s[request]), request

    def first_token(self, request: int, time: float) -> None:
        """Its prompt is read, which gives a token."""
        self._context[request] = float(self.to_read(request))
        if not self._first[request]:
            self._first[request] = True
            self.first_s[request] = time
            self._produced[request] = 1.0
        else:  # what was read anew after a preemption gives the next token
            self._produced[request] += self._growth[request]
            self._done_steps[request] += 1

    def came_read(self, request: int) -> None:
        """Its prompt was read by another replica, which gave its first token."""
        self._context[request] = float(self.to_read(request) - 1)

    def steps_left(self, request: int) -> int:
        """Decode steps that it still needs."""
        return self._steps[request] - self._done_steps[request]

    def context(self, request: int) -> float:
        """Tokens in its cache when it joined the batch."""
        return self._context[request]

    def longest(self, joined: Mapping[int, int], steps: int) -> float:
        """Tokens in the largest cache of sequences at decode step ``steps``, by the step at which each joined."""
        return max(self._context[each] + (steps - since) * self._growth[each] for each, since in joined.items())

    def growth(self, request: int) -> float:
        """Tokens that a decode step adds to its cache."""
        return self._growth[request]

    def preempted(self, request: int, steps: int) -> None:
        """It left the batch after ``steps`` decode steps."""
        self._done_steps[request] += steps
        self._produced[request] += steps * self._growth[request]

    def ended(self, request: int, time: float) -> None:
        """Its last token is there."""
        self.done_s[request] = time
