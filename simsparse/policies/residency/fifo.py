# SPDX-License-Identifier: Apache-2.0
"""First in, first out."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES
from simsparse.policies.residency.expert_cache import ExpertCache, Held, Rank


@RESIDENCIES.register("fifo")
@dataclass(frozen=True)
class Fifo(ExpertCache):
    """The expert goes that came first, however often it was read since."""

    name = "fifo"

    def rank(self, held: Held, view: View) -> Rank:
        del view
        return (held.arrived,)
