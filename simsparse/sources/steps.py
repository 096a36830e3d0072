# SPDX-License-Identifier: Apache-2.0
"""Decode steps: one trace several times, with the routing and the cached keys of each step.

Every step appends its tokens to the caches that the trace appends to, so that attention in the next step reads more.
Left out: what else grows with the cache, such as a mask of all keys that a framework writes; matrix products that a
model uses in place of attention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from simsparse.core import Op, Routing, Trace
from simsparse.core.kinds.attention import KV_APPEND
from simsparse.errors import SpecError
from simsparse.lowering.kept import same_in_every_step
from simsparse.sources.base import Source
from simsparse.trace.file import MAX_OPS
from simsparse.trace.routing import RoutingProcess, generate_steps

GENERATED = "generated:"
"""How the origin of a routing begins that a process drew."""
Given = Sequence[Mapping[str, Routing | Sequence[Sequence[int]]]]
"""Per step the routing of each routed op by name: a Routing, or expert ids (tokens, top_k)."""


class Steps(Source):
    """``steps`` decode steps of ``trace``, each of which needs the token of the one before.

    The trace is the first step. In each later one the attention ops read the tokens of the steps before too, up to
    their window; attention that reads no cache which the trace appends to (cross-attention) stays as it is.
    ``routing`` is a process such as ``zipf:1.0``, from which each step draws its own with the seed of the run; by
    default that which the trace's routing was drawn from. Or it gives the routing of every step. A trace without
    routed ops needs none. Raises SpecError on fewer than one step, on more operators in all steps than a trace file
    may have, on a trace that is no decode step, on a trace whose routing no process drew, and on given routing that
    leaves an op or a step out.
    """

    def __init__(self, trace: Trace, steps: int, routing: str | Given = "") -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise SpecError(f"{steps!r} steps; expected 1 or more", key="steps")
        if trace.meta.get("phase", "decode") != "decode":
            raise SpecError(f"{trace.name} is a {trace.meta['phase']} trace; steps repeat a decode trace", key="steps")
        if steps * len(trace.ops) > MAX_OPS:
            raise SpecError(f"{steps} steps of {len(trace.ops)} operators; all steps may have {MAX_OPS}, which are "
                            f"{MAX_OPS // len(trace.ops)} steps", key="steps")  # fmt: skip
        self.trace, self.name, self.steps = trace, trace.name, steps
        self._routed = [op for op in trace.ops if op.definition.routed]
        self._tokens = _tokens_cached(trace)
        self._given = None if isinstance(routing, str) else self._checked(routing)
        self._process = _process(self._routed, routing) if self._routed and isinstance(routing, str) else None
        self.draws = self._process is not None
        origin = self._process.text if self._process else "given"
        self.meta = {**trace.meta, "steps": steps, **({"routing": [origin]} if self._routed else {})}

    def _checked(self, given: Given) -> list[dict[str, Routing]]:
        if len(given) != self.steps:
            raise SpecError(f"of {len(given)} steps; expected {self.steps}", key="routing")
        found: list[dict[str, Routing]] = []
        for step, by_op in enumerate(given):
            if missing := next((op.name for op in self._routed if op.name not in by_op), None):
                raise SpecError(f"step {step} gives none to {missing}", key="routing")
            found.append({op.name: _routing(op, by_op[op.name]) for op in self._routed})
        return found

    def passes(self, seed: int) -> Iterator[Trace]:
        routing, known = self._routing(seed), dict[tuple[int, int], Op]()
        growing = [(i, op) for i, op in enumerate(self.trace.ops) if self._tokens.get(op.name)]
        routed = [i for i, op in enumerate(self.trace.ops) if op.definition.routed]
        for step in range(self.steps):
            ops = list(self.trace.ops)
            for i, op in growing:
                ops[i] = op.definition.after_tokens(op, step * self._tokens[op.name]) if step else op
            for i, by_step in zip(routed, routing, strict=True):
                key = i, id(by_step[step])
                if key not in known:
                    known[key] = ops[i].with_(routing=by_step[step])
                ops[i] = known[key]
            yield self.trace.alike(ops)

    def _routing(self, seed: int) -> list[Sequence[Routing]]:
        """The routing of each routed op, by step."""
        if self._given is not None:
            return [[by_op[op.name] for by_op in self._given] for op in self._routed]
        if self._process is None:
            return []
        return [
            generate_steps(self._process, op.dims["tokens"], op.dims["experts"], op.dims["top_k"], layer, seed,
                           self.steps)
            for layer, op in enumerate(self._routed)
        ]  # fmt: skip


def _tokens_cached(trace: Trace) -> Mapping[str, int]:
    """Tokens that one pass of ``trace`` adds to the cache which an op reads, by the op's name.

    An op reads a cache that grows when it depends on an op that appends to one; every attention does in a trace without
    such ops. Ops of one name in several steps of the trace share a cache.
    """
    appends = {op.name for op in trace.ops if op.label == KV_APPEND}
    readers = [op for op in trace.ops if "q_len" in op.dims and (not appends or not appends.isdisjoint(op.deps))]
    added = Counter[str]()
    for op in readers:
        added[same_in_every_step(op.name)] += op.dims["q_len"]
    return {op.name: added[same_in_every_step(op.name)] for op in readers}


def _process(routed: Sequence[Op], text: str) -> RoutingProcess:
    """The process called ``text``, or that from which the ops' routing was drawn. Raises TraceError, SpecError."""
    origin = routed[0].routing.origin if routed[0].routing else ""
    if not text and not origin.startswith(GENERATED):
        raise SpecError(
            f"that of {routed[0].name} is {origin or 'unknown'}, which gives one step; name a process such as zipf:1.0",
            key="routing",
        )
    return RoutingProcess.parse(text or origin.removeprefix(GENERATED))


def _routing(op: Op, given: Routing | Sequence[Sequence[int]]) -> Routing:
    if isinstance(given, Routing):
        return given
    return Routing.from_ids([list(row) for row in given], op.dims["experts"], "given")
