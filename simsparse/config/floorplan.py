# SPDX-License-Identifier: Apache-2.0
"""The components of an accelerator: area, leakage, clocked power, and prices of actions that follow from its sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simsparse.config.quantity import Basis, Quantity
from simsparse.config.silicon import Silicon, SiliconSpec
from simsparse.core.tensor import DType
from simsparse.errors import SpecError
from simsparse.sparsity import Sparsity

if TYPE_CHECKING:
    from simsparse.config.parts.accel import AccelEnergy, AccelPart
    from simsparse.config.parts.spatial import SpatialPart

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
    """Components of a part in ``node_nm``, and joules of actions: of a MAC by dtype, a byte of each memory (and
    ``sram_byte_j``, their mean by size), a vector operation."""

    node_nm: float
    components: Sequence[ChipComponent]
    mac_j: Mapping[str, float]
    memory_j: Mapping[str, float]
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
            "mac_j": dict(self.mac_j), "memory_j": dict(self.memory_j), "sram_byte_j": self.sram_byte_j,
            "flop_j": self.flop_j,
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
    macs = {dtype: number.si for dtype, number in part.array.macs.items()}
    patterns = part.sparsity.patterns if part.sparsity else ()
    sizes = {f"{name} buffer": getattr(part.buffers, name).si for name in ("input", "weight", "output")}
    array = ArraySizes(part.array.rows.si * part.array.cols.si, macs, patterns, part.array.clock.si)
    return _floorplan(part.name, part.silicon, array, sizes, part.vector.rate.si, part.memory.bandwidth.si)


def spatial_floorplan(part: SpatialPart) -> Floorplan:
    """The floorplan of a part of kind ``spatial``: its array, and the levels that have a size."""
    macs = dict.fromkeys(part.energy.mac, 1.0)
    sizes = {name: level.size.si for name, level in part.levels.items() if level.size is not None}
    array = ArraySizes(part.array.rows.si * part.array.cols.si, macs, part.array.patterns, part.clock.si)
    return _floorplan(part.name, part.silicon, array, sizes, part.vector.rate.si, part.dram_bytes_per_s)


@dataclass(frozen=True)
class ArraySizes:
    """Processing elements, multipliers of one by dtype, N:M patterns that they skip the zeros of, and the clock."""

    pes: float
    macs: Mapping[str, float]
    patterns: Sequence[str]
    clock_hz: float


def floorplan_of(
    name: str, node_nm: float, banks: float, array: ArraySizes, memories: Mapping[str, float]
) -> Floorplan:
    """The floorplan of an array and memories of so many bytes each, without vector unit and DRAM interface."""
    known: dict[str, Any] = {"source": None, "basis": "assumed"}
    spec = SiliconSpec.model_validate(
        {"node": {"value": f"{node_nm:g} nm", **known}, "banks": {"value": banks, **known}}
    )
    return _floorplan(name, spec, array, memories, 0.0, 0.0)


def _floorplan(
    name: str, spec: SiliconSpec | None, array: ArraySizes, sizes: Mapping[str, float], flops_per_s: float,
    dram_bytes_per_s: float,
) -> Floorplan:  # fmt: skip
    if spec is None:
        raise SpecError("has no silicon", key=name)
    silicon, banks = Silicon(spec.node.si), spec.banks.si if spec.banks else 1.0
    elements, choices = _array(silicon, array)
    lanes = flops_per_s / (2 * array.clock_hz)
    vector = lanes * (silicon.mac_area("fp32") + silicon.register_area(3 * 32))
    components = [
        elements,
        *(ChipComponent(each, silicon.sram_area(size), silicon.leakage_w(silicon.sram_area(size)))
          for each, size in sizes.items()),
        ChipComponent("vector unit", silicon.placed(vector), silicon.leakage_w(vector),
                      silicon.register_w(lanes * 3 * 32, array.clock_hz)),
        ChipComponent("dram interface", silicon.phy_area(dram_bytes_per_s), 0.0),
    ]  # fmt: skip
    wires = silicon.wire_j(8, math.sqrt(sum(each.area_mm2 for each in components)) / 2)
    memory_j = {each: silicon.sram_byte_j(size / banks) + wires for each, size in sizes.items()}
    mean = sum(memory_j[each] * size for each, size in sizes.items()) / max(sum(sizes.values()), 1.0)
    pitch = math.sqrt(elements.area_mm2 / array.pes)
    mac_j = {}
    for dtype in array.macs:
        changed = silicon.register_j((DType(dtype).bits * (1 + choices) + SUM_BITS) / 2)
        mac_j[dtype] = silicon.mac_j(dtype) + changed + silicon.wire_j(DType(dtype).bits + SUM_BITS, pitch)
    return Floorplan(silicon.node_nm, components, mac_j, memory_j, mean, silicon.mac_j("fp32"))


def _array(silicon: Silicon, array: ArraySizes) -> tuple[ChipComponent, float]:
    """The array, and the operands that a kept weight chooses from."""
    widest = max(array.macs, key=lambda dtype: (array.macs[dtype] * silicon.mac_area(dtype), dtype))
    groups = [group for each in array.patterns if (group := Sparsity.parse(each).groups) is not None]
    chosen = max((silicon.choice(each) for each in array.patterns if each in silicon.table.choice), default=1.0)
    bits = array.pes * chosen * array.macs[widest] * (2 * DType(widest).bits + SUM_BITS)
    cells = array.pes * chosen * array.macs[widest] * silicon.mac_area(widest) + silicon.register_area(bits)
    found = ChipComponent(
        "pe array", silicon.placed(cells), silicon.leakage_w(cells), silicon.register_w(bits, array.clock_hz)
    )
    return found, max((m / n for n, m in groups), default=1.0)
