# SPDX-License-Identifier: Apache-2.0
"""What a predictor of given accuracy takes the next layer to read."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.errors import SpecError
from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.prefetch.base import PREFETCHES, Prefetch


@PREFETCHES.register("guessed")
@dataclass(frozen=True)
class Guessed(Prefetch):
    """Each expert of the next layer is guessed with probability ``right``, else another one in its place.

    The copies go out when the current layer's gate has run, behind those of the experts that this layer misses.
    Draws from the run's seed. Raises SpecError when ``right`` is no number from 0 to 1.
    """

    name = "guessed"
    lookahead = 1
    draws = True
    at_gate = True
    right: float = 0.9

    def __post_init__(self) -> None:
        if isinstance(self.right, bool) or not isinstance(self.right, int | float) or not 0 <= self.right <= 1:
            raise SpecError(f"{self.right!r} is no number from 0 to 1", key="right")

    def ahead(self, view: View) -> tuple[Weight, ...]:
        if view.begins:
            return ()
        read, stored = view.read(), view.stored()
        if not read:
            return ()
        guessed = {weight for weight in read if view.rng.random() < self.right}
        others = [weight for weight in stored if weight not in read]
        wrong = min(len(read) - len(guessed), len(others))
        guessed |= {others[i] for i in view.rng.choice(len(others), wrong, replace=False).tolist()}
        return tuple(weight for weight in stored if weight in guessed)
