# SPDX-License-Identifier: Apache-2.0
"""Switches: where several links meet."""

from __future__ import annotations

from typing import ClassVar, Literal

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import Frozen, Part, Watts
from simsparse.core.role import Role


class SwitchEnergy(Frozen):
    """Power that is drawn whatever crosses; what a byte costs stands at the links."""

    static: Watts


@PARTS.register("switch")
class SwitchPart(Part):
    """A switch that passes on whatever its links bring: the links limit rates and state latencies."""

    role: ClassVar[Role] = Role.SWITCH
    kind: Literal["switch"]
    energy: SwitchEnergy
