# SPDX-License-Identifier: Apache-2.0
"""Everything that the next layer could read."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.prefetch.base import PREFETCHES, Prefetch


@PREFETCHES.register("all")
@dataclass(frozen=True)
class AllExperts(Prefetch):
    """All experts of the next layer, without knowing its gate; a step begins with only those that it reads.

    Option: ``across_steps``, all experts of the first layer are copied while the step before ends.
    """

    name = "all"
    lookahead = 1
    across_steps: bool = False

    def ahead(self, view: View) -> tuple[Weight, ...]:
        return view.read() if view.begins else view.stored()
