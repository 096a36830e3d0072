# SPDX-License-Identifier: Apache-2.0
"""Costs of steps on machines of several devices: whole steps through ``simulate``, remembered on grids.

PIM beside a GPU, or experts in host memory, overlap: the step is no sum of its operators. So a decode step is simulated
as a whole, by sequences and mean context, and a step that reads prompts by their number, their mean tokens and what
was read before. In a step that does both, the tokens of decoding sequences are among those that are read, and their
attention adds what a decode step takes longer for their context than without one.

Left out: caches of experts that a step leaves warm for the next (each step is one of a steady run of its like), and
clocks that a card at rest has to spare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simsparse._simulate import simulate
from simsparse.core import Op, OpKind, Trace
from simsparse.core.rescale import resize
from simsparse.errors import SpecError
from simsparse.lowering.machine import Machine
from simsparse.lowering.stacks import Stack
from simsparse.serving.costs import CONTEXT_POINTS, Floats, StepShape, StepWork, Table
from simsparse.serving.model import ServedModel, TracedModel, on_rows

POINTS = 4
"""Points of the grids of tokens and sequences in every octave: a point is a simulation."""


@dataclass(frozen=True)
class WholeModel:
    """How a step is simulated: ``residency`` is the policy of weights, ``level`` the fidelity."""

    machine: Machine
    stack: Stack
    residency: str
    level: int = 1

    def work(self, trace: Trace) -> StepWork:
        """Seconds and joules of a step, those at rest apart."""
        result = simulate(trace, self.machine.system, self.residency, level=self.level, keep="summary",
                          stack=self.stack)  # fmt: skip
        static = sum(self.machine.static_watts.values()) * result.latency_s
        return StepWork(result.latency_s, 0.0, result.energy_j - static, 0.0, 0.0)


class SimulatedCosts:
    """Work of steps of a traced model on a machine of several devices. Raises SpecError for a model without a trace."""

    def __init__(self, model: ServedModel, whole: WholeModel) -> None:
        if not isinstance(model, TracedModel):
            raise SpecError("a machine of several devices needs a model with a trace", key="model")
        self.model, self.whole = model, whole
        self._decode = Table(self._decoded, (POINTS, POINTS, CONTEXT_POINTS))
        self._read = Table(self._prompts, (POINTS, POINTS, POINTS))

    def _decoded(self, keys: Sequence[tuple[int, ...]]) -> list[StepWork]:
        return [self.whole.work(self._trace(batch * queries, batch * queries, batch, queries, context))
                for batch, queries, context in keys]  # fmt: skip

    def _prompts(self, keys: Sequence[tuple[int, ...]]) -> list[StepWork]:
        return [self.whole.work(self._trace(prompts * tokens, prompts, prompts, tokens, before + tokens))
                for prompts, tokens, before in keys]  # fmt: skip

    def _trace(self, tokens: int, rows: int, batch: int, queries: int, keys: int) -> Trace:
        """The trace of a step in which all sequences are alike."""
        whole = resize(self.model.trace, tokens)
        heads = self.model.head_names

        def changed(op: Op) -> Op:
            if op.kind == OpKind.ATTENTION:
                return op.with_(dims={**op.dims, "batch": batch, "q_len": queries, "kv_len": max(keys, queries)})
            return on_rows(op, rows, tokens) if op.name in heads else op

        return whole.map(changed)

    def of(self, shape: StepShape) -> StepWork:
        """Work of one step."""
        if not shape.chunks:
            return self._decode.at(shape.decoding, shape.queries, max(shape.context, shape.queries))
        prompts, own = len(shape.chunks), sum(tokens for tokens, _ in shape.chunks)
        read = own + shape.decoding * shape.queries
        before = sum(tokens * past for tokens, past in shape.chunks) / own
        found = self._read.at(prompts, max(1, round(read / prompts)), round(before))
        if not shape.decoding:
            return found
        far, near = (self._decode.at(shape.decoding, shape.queries, max(context, shape.queries))
                     for context in (shape.context, shape.queries))  # fmt: skip
        more = max(0.0, far.seconds - near.seconds), max(0.0, far.joules - near.joules)
        return found._replace(seconds=found.seconds + more[0], joules=found.joules + more[1])

    def decoding(self, shape: StepShape, contexts: Floats) -> tuple[StepWork, Floats]:
        """Work of a first step, and seconds of steps with mean contexts that grow: (steps,)."""
        places = np.array([contexts[0], contexts[len(contexts) // 2], contexts[-1]])
        works = [self.of(shape._replace(context=float(place))) for place in places]
        seconds = np.interp(contexts, places, [work.seconds for work in works])
        return works[0]._replace(joules=sum(work.joules for work in works) / len(works)), seconds

    def error(self, shapes: Sequence[StepShape]) -> float:
        """Largest relative deviation of interpolated decode steps from steps simulated as they are, of the first 4."""
        worst = 0.0
        for shape in [each for each in shapes if not each.chunks][:4]:
            batch, queries = shape.decoding, shape.queries
            trace = self._trace(batch * queries, batch * queries, batch, queries, round(shape.context))
            worst = max(worst, abs(self.of(shape).seconds / self.whole.work(trace).seconds - 1))
        return worst
