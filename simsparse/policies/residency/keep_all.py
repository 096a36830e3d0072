# SPDX-License-Identifier: Apache-2.0
"""Everything stays on the device that reads it."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.errors import SimulationError
from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES, Cache, Residency


@RESIDENCIES.register("keep_all")
@dataclass(frozen=True)
class KeepAll(Residency):
    """No weight rests in host memory; what does not fit on the devices is an error."""

    name = "keep_all"

    @property
    def scope(self) -> None:
        return None

    def cache(self, view: View) -> Cache:
        del view
        raise SimulationError("weights that stay on their devices need no cache")
