# SPDX-License-Identifier: Apache-2.0
"""Any expert may go."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES
from simsparse.policies.residency.expert_cache import ExpertCache, Held, Rank


@RESIDENCIES.register("random")
@dataclass(frozen=True)
class RandomChoice(ExpertCache):
    """The expert that goes is drawn; equal seeds give equal draws."""

    name = "random"
    draws = True

    def rank(self, held: Held, view: View) -> Rank:
        del held
        return (float(view.rng.random()),)
