# SPDX-License-Identifier: Apache-2.0
"""One replica of a model over time: its queue, its batch, its memory, step by step.

Steps in which nothing but the contexts changes are taken together: decode steps run until the first sequence ends,
memory runs short, or a request comes that could join. So the work of a simulation grows with requests, not with tokens.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SimulationError
from simsparse.policies.batching import Batching, StepPlan
from simsparse.serving.book import Book
from simsparse.serving.clock import PowerClock
from simsparse.serving.costs import Costs, StepShape
from simsparse.serving.engine import Engine
from simsparse.serving.kv import BlockPool
from simsparse.serving.log import StepLog
from simsparse.serving.simulated import SimulatedCosts
from simsparse.serving.waiting import Waiting

Floats = NDArray[np.float64]
LONGEST_RUN = 512
"""Decode steps that are taken together at most."""


@dataclass
class _Pending:
    """Steps that run from the replica's clock on: when each ends, and what they do."""

    ends: list[float]
    joules: float
    plan: StepPlan
    shape: StepShape


@dataclass
class Replica:
    """A model on one machine. ``book`` holds the requests; ``submit`` brings one, ``advance`` lets time pass.

    ``on_end`` is called with each request that ends and the time. ``ends_after_prefill``: requests leave with their
    first token, to decode elsewhere; ``comes_read``: they come with their prompt read and its cache. ``swap_s``:
    seconds in which the cache of so many tokens goes to the host, or back; None where a sequence that loses its place
    is read anew. Raises SimulationError when a request can never fit.
    """

    costs: Costs | SimulatedCosts
    batching: Batching
    pool: BlockPool
    engine: Engine
    book: Book
    power: PowerClock
    on_end: Callable[[int, float], None] | None = None
    ends_after_prefill: bool = False
    comes_read: bool = False
    swap_s: Callable[[int], float] | None = None
    now: float = 0.0
    log: StepLog = field(default_factory=StepLog)
    preemptions: int = 0

    def __post_init__(self) -> None:
        self._waiting = Waiting(self.book.requests.priority if self.batching.priorities else None)
        self._reading: dict[int, int] = {}
        self._ending: list[tuple[int, int]] = []
        self._blocks: dict[int, int] = {}
        self._joined: dict[int, int] = {}
        self._ends_at: dict[int, int] = {}
        self._steps = 0
        self._context = self._growth = 0.0
        self._pending: _Pending | None = None
        self._reserve = 0
        self._lost: set[int] = set()
        self._away: set[int] = set()
        self._copying_s = 0.0

    # What a batching rule sees.

    @property
    def decoding(self) -> int:
        """Sequences that have their first token and want the next."""
        return len(self._joined)

    def unfinished(self) -> list[int]:
        """Admitted requests whose prompt is not read to its end."""
        return list(self._reading)

    def left(self, request: int) -> int:
        """Tokens of its prompt that are to be read."""
        return self._reading[request]

    def admit(self) -> int | None:
        """Admit the first waiting request, None where none waits, no place is free, or memory is short."""
        waiting = self._waiting
        if not waiting or not waiting.in_time or not self._could_join() or self._has_cache(waiting.first):
            return None
        request = waiting.first
        if not self._take(request, self.book.to_read(request)):
            return None
        waiting.leave()
        self.book.admitted(request, self.now)
        return request

    def _has_cache(self, request: int) -> bool:
        """Whether a waiting request was read before and its cache is kept elsewhere."""
        return request in self._away or (self.comes_read and request not in self._lost)

    def _admit_read(self) -> None:
        """Admit waiting requests whose cache is kept elsewhere; they decode in the next step."""
        while self._waiting and self._could_join():
            request = self._waiting.first
            comes = self._has_cache(request) and self._waiting.in_time
            if not comes or not self._take(request, self.book.to_read(request) - 1):
                return
            if request in self._away:
                self._away.discard(request)
                self._copying_s += self._swapped_s(request)
            self._waiting.leave()
            del self._reading[request]
            self.book.came_read(request)
            self._join(request, self.book.steps_left(request))
            self._reserve = self._missing(1)

    def _take(self, request: int, tokens: int) -> bool:
        """Memory for the prompt of ``request``: shared blocks of its prefix, and blocks of its own."""
        pool, ids = self.pool, self.book.prefix(request)
        cache = pool.prefixes
        matched = cache.matched(ids) if cache is not None else 0
        need = pool.of_tokens(tokens + 1)
        if not pool.fits(need + self._reserve):
            if not self._joined and not self._reading:
                raise SimulationError(
                    f"a request of {tokens} tokens needs {need} blocks of {pool.block}; there are {pool.blocks}"
                )
            return False
        shared = 0
        if cache is not None and ids:
            shared = len(ids) * self.book.requests.prefix_block // pool.block
            cache.hold(ids)
        pool.take(max(0, need - shared))
        self._blocks[request] = max(0, need - shared)
        found = min(matched * self.book.requests.prefix_block, tokens - 1)
        self.book.found[request] += found
        self._reading[request] = tokens - found
        return True

    # Time.

    @property
    def outstanding(self) -> int:
        """Requests that wait or run."""
        return len(self._waiting) + len(self._reading) + len(self._joined)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def submit(self, request: int, time: float) -> None:
        """A request comes at ``time``; the step that runs is finished first."""
        self.advance(time)
        pending = self._pending
        if pending is not None and self._could_join():
            begun = bisect_left(pending.ends, time) + 1 + self.engine.ahead
            if begun < len(pending.ends):
                share = begun / len(pending.ends)
                pending.joules *= share
                del pending.ends[begun:]
        if pending is None and not self._joined and not self._reading:
            self.now = max(self.now, time)
        self._waiting.came(request, time)

    def _could_join(self) -> bool:
        return len(self._reading) + len(self._joined) < self.batching.max_seqs

    def next_end(self) -> float | None:
        """When what runs now ends; None when nothing runs or waits."""
        if self._pending is None:
            self._pending = self._next()
        return self._pending.ends[-1] if self._pending else None

    def advance(self, until: float) -> None:
        """Let time pass up to ``until``; steps that have begun by then and end later stay pending."""
        while (end := self.next_end()) is not None and end <= until:
            self._commit()

    def _commit(self) -> None:
        pending = self._pending
        assert pending is not None
        self._pending = None
        steps, end = len(pending.ends), pending.ends[-1]
        self._waiting.planned = pending.ends[-2] if steps > 1 else self.now
        self.log.add((self.now, end), steps, pending.shape, len(self._waiting), self.tokens_held, pending.joules)
        if pending.plan.decode and self._joined:
            self._grow(steps)
            self._steps += steps
            self._context += self._growth * steps
        self.now = end
        for request, tokens in pending.plan.chunks:
            self._read(request, tokens)
        while self._ending and self._ending[0][0] <= self._steps:
            end_step, request = heapq.heappop(self._ending)
            if self._ends_at.get(request) == end_step:
                self._leave(request)
                self._end(request)

    def _read(self, request: int, tokens: int) -> None:
        left = self._reading[request] - tokens
        if left > 0:
            self._reading[request] = left
            return
        del self._reading[request]
        self.book.first_token(request, self.now)
        steps = self.book.steps_left(request)
        if steps == 0 or self.ends_after_prefill:
            self._end(request)
            return
        self._join(request, steps)

    def _join(self, request: int, steps: int) -> None:
        """Let a sequence decode from the next step on, for ``steps``."""
        self._joined[request] = self._steps
        self._context += self.book.context(request)
        self._growth += self.book.growth(request)
        self._ends_at[request] = self._steps + steps
        heapq.heappush(self._ending, (self._steps + steps, request))

    def _leave(self, request: int) -> int:
        """Take a sequence out of the batch; returns the steps that it has had in it."""
        steps = self._steps - self._joined.pop(request)
        del self._ends_at[request]
        self._context -= self.book.context(request) + steps * self.book.growth(request)
        self._growth -= self.book.growth(request)
        if not self._joined:
            self._context = self._growth = 0.0
        return steps

    def _end(self, request: int) -> None:
        self._give(request)
        self.book.ended(request, self.now)
        if self.on_end is not None:
            self.on_end(request, self.now)

    def _give(self, request: int) -> None:
        self.pool.give(self._blocks.pop(request))
        ids = self.book.prefix(request)
        if self.pool.prefixes is not None and ids:
            self.pool.prefixes.release(ids)

    @property
    def tokens_held(self) -> int:
        """Tokens in the cache of sequences that decode."""
        return round(self._context)

    # Steps.

    def _next(self) -> _Pending | None:
        """The next steps from now on; None when there is nothing to do."""
        if not self._waiting and not self._reading and not self._joined:
            return None
        if not self.engine.ahead or not (self._reading or self._joined):
            self._waiting.planned = math.inf
        while self._joined and self._room(1) < 1:
            self._preempt()
        self._reserve = self._missing(1)
        self._admit_read()
        plan = self.batching.plan(self)
        self.now, self._copying_s = self.now + self._copying_s, 0.0
        if plan.chunks:
            return self._mixed(plan)
        if not self._joined:
            raise SimulationError(f"{self.batching.name} plans no step though requests wait")
        return self._decoding()

    def _mixed(self, plan: StepPlan) -> _Pending:
        decoding = len(self._joined) if plan.decode else 0
        chunks, last = [], 0
        for request, tokens in plan.chunks:
            ended = tokens >= self._reading[request]
            last += ended
            before = self.book.read_before(request, self._reading[request])
            chunks.append((self.engine.padded_prompt(tokens), before))
        queries = self.book.queries
        context = self._context / decoding + queries if decoding else 0.0
        longest = self._longest() if decoding else 0.0
        shape = StepShape(tuple(chunks), decoding, context, last + decoding * queries, queries, longest=longest)
        seconds, joules = self._spend(shape)
        return _Pending([self.now + seconds], joules, plan, shape)

    def _spend(self, shape: StepShape) -> tuple[float, float]:
        work = self.costs.of(shape)
        if self.engine.replays(shape.decoding, len(shape.chunks)):
            work = work._replace(host=0.0)
        return self.power.spend(work, self._host(shape), self.now)

    def _swapped_s(self, request: int) -> float:
        assert self.swap_s is not None
        return self.swap_s(self.book.tokens(request) - 1)

    def _host(self, shape: StepShape) -> float:
        return self.engine.step_s + self.engine.sequence_s * (shape.decoding + len(shape.chunks)) + self.book.draft_s

    def _decoding(self) -> _Pending:
        count, queries = len(self._joined), self.book.queries
        steps = min(self._ending_first() - self._steps, LONGEST_RUN)
        steps = max(1, min(steps, self._room(steps)))
        if self._waiting and not self._waiting.in_time and self._could_join():
            steps = 1  # the first one joins the step after
        rows = count * queries
        context = self._context / count + queries
        shape = StepShape((), count, context, rows, queries, self.engine.padded(count) * queries, self._longest())
        contexts: Floats = context + self._growth / count * np.arange(steps, dtype=np.float64)
        work, seconds = self.costs.decoding(shape, contexts)
        if self.engine.replays(count, 0):
            work = work._replace(host=0.0)
        paces, joules = self.power.spend_many(work, seconds, self._host(shape), self.now)
        ends = self.now + np.cumsum(paces)
        return _Pending(ends.tolist(), joules, StepPlan(), shape)

    def _longest(self) -> float:
        """Keys that the longest decoding sequence has in the next step; 0 where no kernel waits for it."""
        if not self.engine.waits_for_longest:
            return 0.0
        return self.book.longest(self._joined, self._steps) + self.book.queries

    def _ending_first(self) -> int:
        while self._ends_at.get(self._ending[0][1]) != self._ending[0][0]:  # of a sequence that was preempted
            heapq.heappop(self._ending)
        return self._ending[0][0]

    # Memory.

    def _needed(self, steps: int) -> list[int]:
        """Blocks of its own that each decoding sequence has or needs after ``steps`` more steps."""
        book, now, block = self.book, self._steps, self.pool.block
        per = book.requests.prefix_block // block if self.pool.prefixes is not None else 0
        needed = []
        for request, joined in self._joined.items():
            tokens = book.context(request) + (now - joined + steps) * book.growth(request)
            own = math.ceil(tokens / block - 1e-9) - len(book.prefix(request)) * per
            needed.append(max(own, self._blocks[request]))
        return needed

    def _missing(self, steps: int) -> int:
        """Blocks that ``steps`` decode steps need beyond those that the sequences have; 0 where memory is ample."""
        if self.pool.blocks is None or not self._joined or self._ample(steps):
            return 0
        return sum(self._needed(steps)) - sum(self._blocks[request] for request in self._joined)

    def _ample(self, steps: int) -> bool:
        """Whether memory is there for ``steps`` steps however the sequences lie in their blocks."""
        free = self.pool.free
        return free is None or (self._growth * steps / self.pool.block + len(self._joined)) <= free

    def _room(self, steps: int) -> int:
        """Of ``steps`` decode steps, those for which memory is there."""
        free = self.pool.free
        if free is None or not self._joined or self._ample(steps):
            return steps
        low, high = 0, steps
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._missing(middle) <= free else (low, middle - 1)
        return low

    def _grow(self, steps: int) -> None:
        """Take the blocks that ``steps`` more tokens of every sequence need, where memory has a limit."""
        if self.pool.blocks is None:
            return
        for request, need in zip(self._joined, self._needed(steps), strict=True):
            if need > self._blocks[request]:
                self.pool.take(need - self._blocks[request])
                self._blocks[request] = need

    def _preempt(self) -> None:
        """Take the sequence that was admitted last out of the batch; its cache is lost and it waits as the first."""
        request = max(self._joined, key=self.book.admission)
        if len(self._joined) == 1 and not self._reading:
            raise SimulationError(
                f"a sequence of {self.book.tokens(request)} tokens does not fit the memory of {self.pool.blocks} blocks"
            )
        steps = self._leave(request)
        self._give(request)
        self.book.preempted(request, steps)
        if self.swap_s is None:
            self._lost.add(request)
        else:
            self._away.add(request)
            self._copying_s += self._swapped_s(request)
        self.preemptions += 1
        self._waiting.put_first(request)
