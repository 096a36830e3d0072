# SPDX-License-Identifier: Apache-2.0
"""Every expert runs on the device."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.site.base import SITES, AbsentExperts, Site


@SITES.register("device")
@dataclass(frozen=True)
class OnDevice(Site):
    """What is not there is copied."""

    name = "device"

    def on_host(self, work: AbsentExperts) -> tuple[Weight, ...]:
        del work
        return ()
