# SPDX-License-Identifier: Apache-2.0
"""Least frequently used."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES
from simsparse.policies.residency.expert_cache import ExpertCache, Held, Rank


@RESIDENCIES.register("lfu")
@dataclass(frozen=True)
class Lfu(ExpertCache):
    """The expert goes that was read least often since it came; of equals, the one read longest ago."""

    name = "lfu"

    def rank(self, held: Held, view: View) -> Rank:
        del view
        return held.uses, held.last_used
