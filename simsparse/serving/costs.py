# SPDX-License-Identifier: Apache-2.0
"""Seconds and joules of steps, from the operator models of a device, remembered on grids.

A step is the sum of its operators, which run one after the other on one device: those on all tokens, the language
head, and attention by sequence. Each of the three is a table, filled where it is asked for. Numbers of tokens are
exact up to 64 and then every 1/32 of an octave, contexts every 1/8 of an octave; between them costs are linear, which
they are but for the steps of tiles and waves. ``Costs.error`` evaluates shapes exactly to say how far off that is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simsparse.core import Unit
from simsparse.devices.base import Device
from simsparse.errors import MappingError
from simsparse.lowering.machine import Machine
from simsparse.serving.all_reduce import OwnAllReduce
from simsparse.serving.attention import OwnAttention
from simsparse.serving.layouts import exchange_seconds
from simsparse.serving.model import Repeated, ServedModel

Floats = NDArray[np.float64]
TOKEN_POINTS, CONTEXT_POINTS = 32, 8
"""Points of a grid in every octave."""
EXACT = 64
"""Numbers of tokens up to which a grid has every number."""


class StepWork(NamedTuple):
    """What operators come to: seconds under a steady load, seconds less with power to spare, joules, kernels, and
    seconds of the host's calls."""

    seconds: float
    gain: float
    joules: float
    kernels: float
    host: float

    def plus(self, other: StepWork) -> StepWork:
        """Both, one after the other."""
        return StepWork(*(a + b for a, b in zip(self, other, strict=True)))


NOTHING = StepWork(0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class OpCosts:
    """Costs of lists of operators on one device of a machine. ``calls``: the host calls the framework for each."""

    device: Device
    calls: bool
    machine: Machine
    all_reduce: OwnAllReduce | None = None

    @classmethod
    def of(cls, machine: Machine, calls: bool, all_reduce: OwnAllReduce | None = None) -> OpCosts:
        """Of the first processor of a machine; ``all_reduce`` where the engine has its own."""
        return cls(machine.devices[machine.processors[0]].model, calls, machine, all_reduce)

    @property
    def bytes_per_s(self) -> float:
        """Peak bandwidth of the device's memory. Raises MappingError where it has none."""
        memory = getattr(self.device.part, "memory", None)
        if memory is None:
            raise MappingError(f"{self.device.part.name} has no memory bandwidth, which the engine's attention needs")
        return float(memory.bandwidth.si)

    def sums(self, lists: Sequence[Sequence[Repeated]]) -> list[StepWork]:
        """The work of each list; exchanges between ranks have seconds alone.

        Raises MappingError for an op that the device does not run.
        """
        local = [[each for each in listed if each.op.unit is not Unit.LINK] for listed in lists]
        found = self._local(local)
        for i, listed in enumerate(lists):
            exchanged = [each for each in listed if each.op.unit is Unit.LINK]
            if exchanged:
                seconds = sum(
                    each.times * exchange_seconds(each.op, self.machine, self.all_reduce) for each in exchanged
                )
                found[i] = found[i]._replace(seconds=found[i].seconds + seconds)
        return found

    def _local(self, lists: Sequence[Sequence[Repeated]]) -> list[StepWork]:
        ops = tuple(each.op for listed in lists for each in listed)
        if not ops:
            return [NOTHING] * len(lists)
        times = np.array([each.times for listed in lists for each in listed], np.float64)
        owner = np.repeat(np.arange(len(lists)), [len(listed) for listed in lists])
        arrays, gains = self.device.op_arrays(ops, 0), np.zeros(len(ops))
        if (budget := self.device.power_budget) is not None and budget.speed > 1:
            limited = np.asarray(arrays.bound) == list(arrays.contributors).index("compute")
            gains = np.where(limited, self.device.op_burst_gain(ops), 0.0)
        prices, kernels = self.device.prices, np.ones(len(ops))
        joules = sum((counts * prices[action] for action, counts in arrays.counts.items()), np.zeros(len(ops)))
        host = np.array([self.device.call_seconds(op) or 0.0 for op in ops]) if self.calls else np.zeros(len(ops))
        columns = [np.bincount(owner, times * column, len(lists)).tolist()
                   for column in (arrays.latency_s, gains, joules, kernels, host)]  # fmt: skip
        return [StepWork(*row) for row in zip(*columns, strict=True)]


def grid_around(value: float, points: int) -> tuple[int, int]:
    """The two numbers of a grid with ``points`` in every octave between which ``value`` lies; equal on the grid."""
    whole = int(value)
    if whole <= EXACT and whole == value:
        return whole, whole
    step = max(1, 1 << max(0, whole.bit_length() - 1 - (points.bit_length() - 1)))
    low = whole // step * step
    return (low, low) if low == value else (low, low + step)


class Table:
    """Work by one number or two, linear between the points of a grid, each of which is computed once."""

    def __init__(self, compute: Callable[[Sequence[tuple[int, ...]]], list[StepWork]], points: tuple[int, ...]) -> None:
        self._compute, self._points = compute, points
        self._known: dict[tuple[int, ...], StepWork] = {}
        self._between: dict[Hashable, StepWork] = {}

    def exact(self, keys: Iterable[tuple[int, ...]]) -> list[StepWork]:
        """Work at points; those not known are computed together."""
        listed = list(keys)
        if missing := [key for key in dict.fromkeys(listed) if key not in self._known]:
            self._known.update(zip(missing, self._compute(missing), strict=True))
        return [self._known[key] for key in listed]

    def at(self, *place: float) -> StepWork:
        """Work at any place, linear in each number."""
        if place in self._between:
            return self._between[place]
        ends = [grid_around(value, points) for value, points in zip(place, self._points, strict=True)]
        corners: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
        for value, (low, high) in zip(place, ends, strict=True):
            share = (value - low) / (high - low) if high > low else 0.0
            sides = ((low, 1 - share), (high, share)) if share else ((low, 1.0),)
            corners = [((*key, side), weight * part) for key, weight in corners for side, part in sides]
        works = self.exact(key for key, _ in corners)
        found = StepWork(*(
            sum(weight * work[i] for work, (_, weight) in zip(works, corners, strict=True)) for i in range(len(NOTHING))
        ))  # fmt: skip
        self._between[place] = found
        return found


class StepShape(NamedTuple):
    """A step: ``chunks`` of prompts as (tokens, tokens read before), sequences that decode ``queries`` tokens each
    with ``context`` tokens in the cache on average, and rows that go through the head; ``longest``: tokens in the
    largest cache, 0 where no kernel waits for it."""

    chunks: tuple[tuple[int, int], ...]
    decoding: int
    context: float
    rows: int
    queries: int = 1
    padded: int = 0
    longest: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of the step, padding included."""
        own = sum(tokens for tokens, _ in self.chunks) + self.decoding * self.queries
        return max(own, self.padded)


class Costs:
    """Work of steps of ``model``."""

    def __init__(self, model: ServedModel, costs: OpCosts, attention: OwnAttention | None = None) -> None:
        """``attention``: an engine's own decode attention."""
        self.model, self.ops, self._own = model, costs, attention
        sums = costs.sums
        self._tokens = Table(lambda keys: sums([model.token_ops(*key) for key in keys]), (TOKEN_POINTS,))
        self._head = Table(lambda keys: sums([model.head_ops(*key) for key in keys]), (TOKEN_POINTS,))
        self._decode = Table(self._decoded, (TOKEN_POINTS, TOKEN_POINTS, CONTEXT_POINTS))
        self._chunk = Table(self._read, (TOKEN_POINTS, CONTEXT_POINTS))

    def _decoded(self, keys: Sequence[tuple[int, ...]]) -> list[StepWork]:
        lists = [self.model.attention_ops(batch, queries, context) for batch, queries, context in keys]
        works = self.ops.sums(lists)
        return (
            works if self._own is None else [self._by_engine(own, work) for own, work in zip(lists, works, strict=True)]
        )

    def _by_engine(self, listed: Sequence[Repeated], work: StepWork) -> StepWork:
        """The engine's own attention kernels in place of the library's; energy and calls as they are."""
        assert self._own is not None
        return work._replace(seconds=self._own.seconds(listed, self.ops.bytes_per_s), gain=0.0)

    def _with_longest(self, work: StepWork, shape: StepShape, context: float) -> StepWork:
        """``work`` of decode attention, no shorter than that on the longest sequence, which grows as the mean does."""
        if self._own is None or not shape.longest:
            return work
        sequences = max(shape.padded // shape.queries, shape.decoding)
        listed = self.model.attention_ops(sequences, shape.queries, shape.queries)
        longest = self._own.longest_seconds(listed, sequences, shape.longest + context - shape.context)
        return work._replace(seconds=max(work.seconds, longest))

    def _read(self, keys: Sequence[tuple[int, ...]]) -> list[StepWork]:
        return self.ops.sums([self.model.attention_ops(1, tokens, before + tokens) for tokens, before in keys])

    def of(self, shape: StepShape) -> StepWork:
        """Work of one step."""
        found = self._without_context(shape)
        return found.plus(self.attention(shape, shape.context)) if shape.decoding else found

    def _without_context(self, shape: StepShape) -> StepWork:
        found = self._tokens.at(shape.tokens)
        if shape.rows:
            found = found.plus(self._head.at(max(shape.rows, shape.padded)))
        for tokens, before in shape.chunks:
            found = found.plus(self._chunk.at(tokens, before))
        return found

    def attention(self, shape: StepShape, context: float) -> StepWork:
        """Work of the attention of the decoding sequences on ``context`` tokens each, their own included."""
        found = self._decode.at(shape.decoding, shape.queries, max(context, shape.queries))
        return self._with_longest(found, shape, context)

    def decoding(self, shape: StepShape, contexts: Floats) -> tuple[StepWork, Floats]:
        """Work of a first step, and seconds of steps with mean contexts that grow: (steps,).

        Linear between the first, the middle and the last of them, which lie within a fraction of an octave.
        """
        fixed = self._without_context(shape)
        places = np.array([contexts[0], contexts[len(contexts) // 2], contexts[-1]])
        works = [self.attention(shape, float(place)) for place in places]
        first = fixed.plus(works[0])
        seconds = fixed.seconds + np.interp(contexts, places, [work.seconds for work in works])
        joules = fixed.joules + sum(work.joules for work in works) / len(works)
        return first._replace(joules=joules, gain=fixed.gain), seconds

    def error(self, shapes: Sequence[StepShape]) -> float:
        """Largest relative deviation of the interpolated seconds of steps from those of their own operators."""
        exact = self.exact_seconds(shapes)
        return max(
            (abs(self.of(shape).seconds / own - 1) for shape, own in zip(shapes, exact, strict=True)), default=0.0
        )

    def exact_seconds(self, shapes: Sequence[StepShape]) -> list[float]:
        """Seconds of steps without tables; a mean context is rounded to a whole one."""
        lists: list[Sequence[Repeated]] = []
        owner: list[int] = []
        for i, shape in enumerate(shapes):
            own = [self.model.token_ops(shape.tokens)]
            own += [self.model.head_ops(max(shape.rows, shape.padded))] if shape.rows else []
            own += [self.model.attention_ops(1, tokens, before + tokens) for tokens, before in shape.chunks]
            lists += own
            owner += [i] * len(own)
        found = [0.0] * len(shapes)
        for i, work in zip(owner, self.ops.sums(lists), strict=True):
            found[i] += work.seconds
        decoding = [(i, shape) for i, shape in enumerate(shapes) if shape.decoding]
        keys = [(shape.decoding, shape.queries, max(1, round(shape.context))) for _, shape in decoding]
        for (i, shape), work in zip(decoding, self._decoded(keys) if keys else (), strict=True):
            found[i] += self._with_longest(work, shape, shape.context).seconds
        return found
