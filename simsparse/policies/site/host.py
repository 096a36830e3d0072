# SPDX-License-Identifier: Apache-2.0
"""The host computes every expert that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.site.base import SITES, AbsentExperts, Site


@SITES.register("host")
@dataclass(frozen=True)
class OnHost(Site):
    """Nothing is copied but activations, as KTransformers does with experts."""

    name = "host"

    def on_host(self, work: AbsentExperts) -> Sequence[Weight]:
        return work.experts
