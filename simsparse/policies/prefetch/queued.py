# SPDX-License-Identifier: Apache-2.0
"""A queue of guessed weights that weights which are needed now go before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from simsparse.errors import SpecError, nearest
from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.prefetch.base import PREFETCHES, Prefetch
from simsparse.policies.prefetch.guessed import Guessed
from simsparse.policies.prefetch.perfect import MOST


@PREFETCHES.register("queued")
@dataclass(frozen=True)
class Queued(Prefetch):
    """What another prefetch, the ``predictor``, wants waits in a queue during the run, nearest layer first.

    Experts that a layer misses go before all of them, between two pieces of ``chunk_bytes`` of the residency. Guesses
    for a layer whose gate chose otherwise are dropped where they have not come, and so is the part that has come. With
    ``interrupts`` false the queue is in the order of its calls and nothing is dropped. ``right`` is for the predictor
    ``guessed``, ``distance`` for those that have one. Source: on-demand loads pause prefetches in FineMoE (Yu et al.,
    arXiv:2502.05370); that unneeded guesses are dropped is assumed of them. Raises SpecError on a predictor that does
    not copy when the gate has run, and on an option that it does not have.
    """

    name = "queued"
    lookahead = MOST
    draws = True
    at_gate = True
    during_run = True
    predictor: str = Guessed.name
    right: float | None = None
    distance: int | None = None
    interrupts: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.interrupts, bool):
            raise SpecError(f"{self.interrupts!r} is neither true nor false", key="interrupts")
        kind = PREFETCHES.get(self.predictor)
        if not kind.at_gate or kind.during_run:
            usable = [name for name in PREFETCHES if PREFETCHES.get(name).at_gate and name != self.name]
            raise SpecError(f"{self.predictor!r} can't be queued; {nearest(self.predictor, usable)}", key="predictor")
        for key in self._given:
            if key not in [each.name for each in fields(kind)]:
                raise SpecError(f"is no option of the predictor {self.predictor}", key=key)
        self.guesses  # noqa: B018  # its own check of the options

    @property
    def _given(self) -> dict[str, float]:
        options = {"right": self.right, "distance": self.distance}
        return {key: value for key, value in options.items() if value is not None}

    @property
    def guesses(self) -> Prefetch:
        """The prefetch that says what is wanted."""
        return PREFETCHES.get(self.predictor)(**self._given)

    @property
    def windows(self) -> int:
        return self.guesses.windows

    def begin(self, view: View) -> Callable[[], Iterable[Weight]]:
        return self.guesses.begin(view)

    def ahead(self, view: View) -> Iterable[Weight]:
        return self.guesses.ahead(view)
