# SPDX-License-Identifier: Apache-2.0
"""Switches: copies cross them.

Left out: latency and limits of the switch itself; the links on both its sides state those of the way over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import Frozen, Part, Watts
from simsparse.core import Action, Op, Role
from simsparse.devices.base import DEVICES, CostArrays, Device
from simsparse.devices.roofline import require_supported


class SwitchEnergy(Frozen):
    """Power that is drawn whatever crosses; what a byte costs stands at the links."""

    static: Watts


@PARTS.register("switch")
class SwitchPart(Part):
    """A switch that passes on whatever its links bring: the links limit rates and state latencies."""

    role: ClassVar[Role] = Role.SWITCH
    kind: Literal["switch"]
    energy: SwitchEnergy


@DEVICES.register("switch")
class Switch(Device):
    """Runs nothing and holds nothing; draws power."""

    kind: ClassVar[str] = "switch"
    op_kinds: ClassVar[frozenset[str]] = frozenset()
    lanes: ClassVar[tuple[str, ...]] = ("copy",)
    part: SwitchPart

    def refusal(self, op: Op) -> str:
        return f"a switch computes nothing; {op.kind} needs a processor"

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        require_supported(self, ops)
        return CostArrays(np.zeros(0), {"none": np.zeros(0)}, np.zeros(0, np.intp), {}, [], level)

    @property
    def prices(self) -> Mapping[Action, float]:
        return {}

    @property
    def static_watts(self) -> float:
        return self.part.energy.static.si

    @property
    def memory_bytes(self) -> int | None:
        return None
