# SPDX-License-Identifier: Apache-2.0
"""Neurons that were active for the last tokens stay; those that become active come from where they rest.

How often a neuron that some token uses was used by one of the tokens before is not in a trace. It follows from how
unequally neurons are used: a neuron is active with a chance of its own at each token, and the chances of all neurons
are spread as a beta distribution, whose mean is the share of active neurons. The spread is given by the share of
neurons that a window of tokens uses together, which is the memory that they take. Expected values, no draws.

Source: Alizadeh et al., LLM in a flash, ACL 2024 (windowing). The distribution is an assumption of ours.
Left out: chances of a neuron that depend on what was active just before, the first tokens, which find less there, and
the moving of neurons within the matrix that holds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from math import prod

from simsparse.errors import SpecError
from simsparse.lowering.trace_index import TraceIndex
from simsparse.lowering.weights import Weight, WeightScope, streamed_ops
from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES, Cache
from simsparse.policies.residency.none import OpBuffers
from simsparse.policies.residency.streamed import Streamed, whole_number

BISECTIONS = 200


@RESIDENCIES.register("windowed")
@dataclass(frozen=True)
class Windowed(Streamed):
    """The weights of ops whose name fits ``ops`` rest elsewhere, but for those of neurons that the last tokens used.

    The trace holds the neurons alone that one token uses, the share ``active`` of all. ``kept``: the share that the
    last ``window`` tokens use together, which stays. What a token uses and they did not comes. Raises SpecError when
    ``kept`` is not between that of equal tokens, ``active``, and that of independent ones with equal neurons.
    """

    name = "windowed"
    ops: str = "*"
    window: int = 5
    active: float = 0.1
    kept: float = 0.24

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("window", self.window)
        if isinstance(self.active, bool) or not isinstance(self.active, int | float) or not 0 < self.active < 1:
            raise SpecError(f"{self.active!r} is no share between 0 and 1", key="active")
        most = 1 - (1 - self.active) ** self.window
        if isinstance(self.kept, bool) or not isinstance(self.kept, int | float):
            raise SpecError(f"{self.kept!r} is no number", key="kept")
        if self.window == 1 and self.kept != self.active:
            raise SpecError(f"{self.kept!r}; one token keeps what it uses, {self.active:g}", key="kept")
        if self.window > 1 and not self.active < self.kept < most:
            raise SpecError(f"{self.kept!r}; {self.window} tokens that use {self.active:g} each keep between that and "
                            f"{most:.4g}", key="kept")  # fmt: skip

    @property
    def scope(self) -> WeightScope:
        return WeightScope.ALL

    def away(self, index: TraceIndex) -> Sequence[bool]:
        found = streamed_ops(index, self.scope)
        fits = [fnmatchcase(name, self.ops) or fnmatchcase(op.module, self.ops)
                for name, op in zip(index.names, index.ops, strict=True)]  # fmt: skip
        return [away and fit for away, fit in zip(found, fits, strict=True)]

    @property
    def new(self) -> float:
        """The share of all neurons that a token uses and none of the ``window`` before it did."""
        if self.window == 1:
            return self.active * (1 - self.active)
        spread = _spread(self.active, self.window, self.kept)
        return _unused(self.active, spread, self.window) - _unused(self.active, spread, self.window + 1)

    def cache(self, view: View) -> Cache:
        del view
        return NeuronWindow(self.new / self.active, self.kept / self.active)


def _unused(active: float, spread: float, tokens: int) -> float:
    """The share of neurons that none of ``tokens`` uses: the mean of (1 - p)**tokens of a beta distribution.

    Its parameters are ``active * spread`` and ``(1 - active) * spread``.
    """
    return prod(((1 - active) * spread + i) / (spread + i) for i in range(tokens))


@lru_cache(maxsize=64)
def _spread(active: float, window: int, kept: float) -> float:
    """The spread at which a window uses the share ``kept``, which grows with it."""
    low, high = 1e-9, 1e9
    for _ in range(BISECTIONS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if 1 - _unused(active, middle, window) < kept else (low, middle)
    return low


class NeuronWindow(OpBuffers):
    """All matrices in turn: of each, ``new`` of what a token reads comes, and ``kept`` times as much takes memory."""

    def __init__(self, new: float, kept: float) -> None:
        super().__init__()
        self._new, self._kept = new, kept
        self._seen: dict[Weight, int] = {}

    @property
    def bytes(self) -> int:
        return round(self._kept * sum(self._seen.values()))

    def due(self, weight: Weight) -> int:
        self._seen[weight] = weight.bytes
        return round(self._new * weight.bytes)
