# SPDX-License-Identifier: Apache-2.0
"""Experts that are not there are shared between host and device so that the op ends soonest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.site.base import SITES, AbsentExperts, Site


@SITES.register("soonest")
@dataclass(frozen=True)
class Soonest(Site):
    """Experts with most tokens are copied, the others computed by the host meanwhile, as Fiddler weighs each expert.

    Of all ways to cut the list in two, the one whose later half ends first. Both begin when the gate has run.
    """

    name = "soonest"

    @property
    def measures(self) -> bool:
        return True

    def on_host(self, work: AbsentExperts) -> Sequence[Weight]:
        def ends(copied: int) -> float:
            there, here = work.experts[copied:], work.experts[:copied]
            return max(work.host_s(there) if there else 0.0, work.copy_s(here) + work.device_s(there))

        best = min(range(len(work.experts) + 1), key=lambda copied: (ends(copied), -copied))
        return work.experts[best:]
