# SPDX-License-Identifier: Apache-2.0
"""The components of an accelerator: area, leakage, clocked power, and prices of actions that follow from its sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simsparse.config.quantity import Basis, Quantity
from simsparse.config.silicon import Silicon
from simsparse.core.tensor import DType
from simsparse.errors import SpecError
from simsparse.sparsity import Sparsity

if TYPE_CHECKING:
    from simsparse.config.parts.accel import AccelEnergy, AccelPart

SUM_BITS = 32
"""Bits of a partial sum in a PE."""


@dataclass(frozen=True)
class ChipComponent:
    """``area_mm2``, and watts that it draws whatever runs: leakage, and the clock of its flip-flops."""

    name: str
    area_mm2: float
    leakage_w: float
    clock_w: float = 0.0


@dataclass(frozen=True)
class Floorplan:
    """Components of a part in ``node_nm``, and joules of actions: of a MAC by dtype, a byte of on-chip memory (the mean
    over buffers by size), a vector operation."""

    node_nm: float
    components: Sequence[ChipComponent]
    mac_j: Mapping[str, float]
    sram_byte_j: float
    flop_j: float

    @property
    def area_mm2(self) -> float:
        return sum(each.area_mm2 for each in self.components)

    @property
    def static_w(self) -> float:
        """Leakage and clocks of all components."""
        return sum(each.leakage_w + each.clock_w for each in self.components)

    @property
    def area(self) -> Quantity:
        """As a number of a part."""
        return _derived(self.area_mm2, "millimeter**2", "mm^2")

    def priced(self, energy: AccelEnergy) -> AccelEnergy:
        """``energy`` with its null prices from here."""
        found: dict[str, Any] = {
            "mac": {dtype: price or _derived(self.mac_j[dtype], "joule", "J") for dtype, price in energy.mac.items()}
        }
        for name, value, unit in (
            ("flop", self.flop_j, "joule"),
            ("sram_byte", self.sram_byte_j, "joule/byte"),
            ("static", self.static_w, "watt"),
        ):
            found[name] = getattr(energy, name) or _derived(value, unit, unit)
        return energy.model_copy(update=found)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values, with the price and the embodied carbon of a die where they are known."""
        silicon = Silicon(self.node_nm)
        return {
            "node_nm": self.node_nm, "area_mm2": self.area_mm2, "static_w": self.static_w,
            "components": [dict(each.__dict__) for each in self.components],
            "mac_j": dict(self.mac_j), "sram_byte_j": self.sram_byte_j, "flop_j": self.flop_j,
            "die_usd": silicon.die_usd(self.area_mm2),
            "die_co2_kg": silicon.die_co2_kg(self.area_mm2) if self.node_nm <= 28 else None,
        }  # fmt: skip


def _derived(value: float, unit: str, shown: str) -> Quantity:
    return Quantity(si=value, text=f"{value:.4g} {shown}", unit=unit, source="silicon.yaml", basis=Basis.DERIVED)


def accel_floorplan(part: AccelPart) -> Floorplan:
    """The floorplan of an accelerator with ``silicon``. Raises SpecError when a dtype has no multiplier there.

    A PE has the multipliers of its largest dtype, registers for two operands of each and a sum, and the selection of
    its N:M patterns as synthesised. Left out: an engine's own networks and queues, a host interface.
    """
    if part.silicon is None:
        raise SpecError("has no silicon", key=part.name)
    silicon, array = Silicon(part.silicon.node.si), part.array
    clock, pes = array.clock.si, array.rows.si * array.cols.si
    widest = max(array.macs, key=lambda dtype: (array.macs[dtype].si * silicon.mac_area(dtype), dtype))
    macs, bits = array.macs[widest].si, DType(widest).bits
    patterns = part.sparsity.patterns if part.sparsity else ()
    groups = [group for each in patterns if (group := Sparsity.parse(each).groups) is not None]
    choices = max((m / n for n, m in groups), default=1.0)
    flops = macs * (2 * bits + SUM_BITS)
    chosen = max((silicon.choice(each) for each in patterns if each in silicon.table.choice), default=1.0)
    cells = pes * chosen * (macs * silicon.mac_area(widest) + silicon.register_area(flops))
    lanes = part.vector.rate.si / (2 * clock)
    vector = lanes * (silicon.mac_area("fp32") + silicon.register_area(3 * 32))
    sizes = {name: getattr(part.buffers, name).si for name in ("input", "weight", "output")}
    banks = part.silicon.banks.si if part.silicon.banks else 1.0
    components = [
        ChipComponent("pe array", silicon.placed(cells), silicon.leakage_w(cells),
                      silicon.register_w(pes * chosen * flops, clock)),
        *(ChipComponent(f"{name} buffer", silicon.sram_area(size), silicon.leakage_w(silicon.sram_area(size)))
          for name, size in sizes.items()),
        ChipComponent("vector unit", silicon.placed(vector), silicon.leakage_w(vector),
                      silicon.register_w(lanes * 3 * 32, clock)),
        ChipComponent("dram interface", silicon.phy_area(part.memory.bandwidth.si), 0.0),
    ]  # fmt: skip
    whole = sum(sizes.values())
    across = math.sqrt(sum(each.area_mm2 for each in components)) / 2
    read = sum(size * silicon.sram_byte_j(size / banks) for size in sizes.values()) / whole
    pitch = math.sqrt(components[0].area_mm2 / pes)
    mac_j = {}
    for dtype in array.macs:
        changed = silicon.register_j((DType(dtype).bits * (1 + choices) + SUM_BITS) / 2)
        mac_j[dtype] = silicon.mac_j(dtype) + changed + silicon.wire_j(DType(dtype).bits + SUM_BITS, pitch)
    return Floorplan(silicon.node_nm, components, mac_j, read + silicon.wire_j(8, across), silicon.mac_j("fp32"))
