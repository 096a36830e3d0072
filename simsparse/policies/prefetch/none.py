# SPDX-License-Identifier: Apache-2.0
"""Nothing is copied ahead."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.prefetch.base import PREFETCHES, Prefetch


@PREFETCHES.register("none")
@dataclass(frozen=True)
class NoPrefetch(Prefetch):
    """Weights are copied when they are needed."""

    name = "none"

    def ahead(self, view: View) -> tuple[Weight, ...]:
        del view
        return ()
