# SPDX-License-Identifier: Apache-2.0
"""The bound that no cache reaches: it sees the future."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES
from simsparse.policies.residency.expert_cache import ExpertCache, Held, Rank


@RESIDENCIES.register("belady")
@dataclass(frozen=True)
class Belady(ExpertCache):
    """The expert goes that is read again last, if ever.

    It sees all routing to come. Where ops read one expert each, no cache that copies on demand has more hits.
    Source: Belady, A study of
    replacement algorithms for a virtual-storage computer, IBM Systems Journal 5 (2), 1966.
    """

    name = "belady"
    lookahead = None

    def rank(self, held: Held, view: View) -> Rank:
        return (-view.next_use(held.weight),)
