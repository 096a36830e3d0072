# SPDX-License-Identifier: Apache-2.0
"""Least recently used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES
from simsparse.policies.residency.expert_cache import ExpertCache, Held, Rank


@RESIDENCIES.register("lru")
@dataclass(frozen=True)
class Lru(ExpertCache):
    """The expert goes whose last use is longest ago."""

    name = "lru"

    def rank(self, held: Held, view: View) -> Rank:
        del view
        return (held.last_used,)

    def lowest(self, held: Iterable[Held], view: View) -> Held:
        del view
        return min(held, key=attrgetter("last_used"))
