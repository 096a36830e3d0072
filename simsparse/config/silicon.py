# SPDX-License-Identifier: Apache-2.0
"""Area, energy and leakage of a chip's components by technology: hw_models/silicon.yaml.

Logic is scaled from 45 nm by published factors, SRAM by the cells of each technology, its energy by the size of a bank.
Between two technologies factors are taken by logarithms. Left out: voltages other than each technology's usual one,
analogue parts other than a DRAM interface, pads, test logic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from simsparse.config.quantity import Frozen, Joules, Multiplier, Quantity, Ratio, SquareMillimetres, Whole, _reader
from simsparse.config.validated import validate_document
from simsparse.config.yaml import read_yaml
from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root

FILE = "silicon.yaml"
Nanometres = Annotated[Quantity, _reader("nanometer", 3, 65)]
"""A technology by its name; those between the table's are taken by logarithms."""


class SiliconNode(Frozen):
    """A technology: logic ``area`` and ``energy`` over those at 45 nm, an SRAM ``cell``, USD of a ``wafer``, and what
    ACT gives of making it (kWh and grams of CO2 per cm2)."""

    area: Multiplier
    energy: Multiplier
    cell: SquareMillimetres
    wafer: Ratio
    electricity: Ratio | None = None
    gases: Ratio | None = None


class SiliconArithmetic(Frozen):
    """A multiplication and an addition to the accumulator at 45 nm, and the areas of both."""

    multiply: Joules
    add: Joules
    multiply_area: SquareMillimetres
    add_area: SquareMillimetres


class SiliconRegisters(Frozen):
    """A flip-flop at 45 nm: its area, and joules of a clock cycle and of a change."""

    area: SquareMillimetres
    clock: Joules
    change: Joules


class SiliconSram(Frozen):
    """Joules of a 64-bit ``reads`` at 45 nm by bytes of the bank, and the share of a macro that is cells."""

    reads: dict[int, Joules]
    efficiency: Multiplier


class SiliconFab(Frozen):
    """Making a die: grams of CO2 per kWh, of materials per cm2, defects per cm2, the wafer, CO2 of a GB of DRAM."""

    intensity: Ratio
    materials: Ratio
    defects: Ratio
    wafer_mm: Ratio
    dram: Ratio


class SiliconTable(Frozen):
    """Everything in hw_models/silicon.yaml."""

    nodes: dict[int, SiliconNode]
    arithmetic: dict[str, SiliconArithmetic]
    registers: SiliconRegisters
    sram: SiliconSram
    leakage: Ratio
    wire: Joules
    density: Multiplier
    phy: Ratio
    choice: dict[str, Multiplier]
    fab: SiliconFab


class SiliconSpec(Frozen):
    """What a part says of its technology: ``node``, and in how many ``banks`` each of its buffers lies, one without."""

    node: Nanometres
    banks: Whole | None = None


def silicon_table() -> SiliconTable:
    """The table. Raises SpecError that names file, line and key."""
    path = silicon_file()
    return _kept(path, path.stat().st_mtime_ns)


def silicon_file() -> Path:
    """Where the table lies."""
    return data_root() / "hw_models" / FILE


@lru_cache(maxsize=2)
def _kept(path: Path, stamp: int) -> SiliconTable:
    del stamp
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    table: SiliconTable = validate_document(document, SiliconTable, document.data)
    return table


class Silicon:
    """Components in one technology of ``node_nm``. Areas are in mm2, energies in joules, powers in watts."""

    def __init__(self, node_nm: float, table: SiliconTable | None = None) -> None:
        self.node_nm = node_nm
        self.table = table or silicon_table()
        self._scales: dict[str, float] = {}

    def _between(self, values: Mapping[int, float]) -> float:
        """The value at this node, by logarithms between the two beside it."""
        known = sorted(values)
        low = max((each for each in known if each <= self.node_nm), default=known[0])
        high = min((each for each in known if each >= self.node_nm), default=known[-1])
        if low == high:
            return values[low]
        share = math.log(self.node_nm / low) / math.log(high / low)
        return math.exp((1 - share) * math.log(values[low]) + share * math.log(values[high]))

    def _node(self, name: str) -> float:
        if name not in self._scales:
            self._scales[name] = self._scaled(name)
        return self._scales[name]

    def _scaled(self, name: str) -> float:
        found = {nm: value.si for nm, node in self.table.nodes.items() if (value := getattr(node, name)) is not None}
        return self._between(found)

    def mac_area(self, dtype: str) -> float:
        """Cells of a multiplier of ``dtype`` and its accumulating adder."""
        one = self._arithmetic(dtype)
        return (one.multiply_area.si + one.add_area.si) * self._node("area")

    def mac_j(self, dtype: str) -> float:
        """A multiplication and an addition to the accumulator."""
        one = self._arithmetic(dtype)
        return (one.multiply.si + one.add.si) * self._node("energy")

    def _arithmetic(self, dtype: str) -> SiliconArithmetic:
        if dtype not in self.table.arithmetic:
            raise SpecError(f"no multiplier of {dtype}; {nearest(dtype, self.table.arithmetic)}", key="silicon")
        return self.table.arithmetic[dtype]

    def register_area(self, bits: float) -> float:
        return bits * self.table.registers.area.si * self._node("area")

    def register_w(self, bits: float, clock_hz: float) -> float:
        """What the clock of so many flip-flops draws, whether they change or not."""
        return bits * self.table.registers.clock.si * self._node("energy") * clock_hz

    def register_j(self, bits: float) -> float:
        """So many flip-flops that change."""
        return bits * self.table.registers.change.si * self._node("energy")

    def placed(self, cells: float) -> float:
        """The area in which so much area of cells is placed."""
        return cells / self.table.density.si

    def sram_area(self, size: float) -> float:
        """A memory of ``size`` bytes, decoders and sense amplifiers included."""
        return size * 8 * self._node("cell") / self.table.sram.efficiency.si

    def sram_byte_j(self, bank: float) -> float:
        """A byte read from or written to a bank of so many bytes, and sent over half the width of the memory."""
        reads = sorted((size, joules.si) for size, joules in self.table.sram.reads.items())
        first = next((i for i, (size, _) in enumerate(reads[1:-1], 1) if bank <= size), len(reads) - 1)
        (small, low), (large, high) = reads[first - 1], reads[first]
        power = math.log(high / low) / math.log(large / small)
        return float(low * (bank / small) ** power / 8 * self._node("energy"))

    def wire_j(self, bits: float, length_mm: float) -> float:
        """So many bits over a distance; a wire gains little from a smaller technology: by the square root."""
        return bits * length_mm * self.table.wire.si * math.sqrt(self._node("energy"))

    def leakage_w(self, area_mm2: float) -> float:
        return area_mm2 * self.table.leakage.si

    def phy_area(self, bytes_per_s: float) -> float:
        """The interface of a DRAM of so much bandwidth."""
        return bytes_per_s / 1e9 * self.table.phy.si

    def choice(self, pattern: str) -> float:
        """Area of a PE that skips the zeros of an N:M pattern over a dense one with as many multipliers.

        Raises SpecError for a pattern whose PE was not synthesised.
        """
        if pattern not in self.table.choice:
            known = ", ".join(self.table.choice)
            raise SpecError(f"no synthesised PE of {pattern}; there are {known}", key="silicon")
        return self.table.choice[pattern].si

    def good_dies(self, area_mm2: float) -> tuple[float, float]:
        """(dies on a wafer, share of them without a defect): rectangles in a circle, Poisson's defects."""
        wafer = self.table.fab.wafer_mm.si
        dies = math.pi * (wafer / 2) ** 2 / area_mm2 - math.pi * wafer / math.sqrt(2 * area_mm2)
        return max(dies, 0.0), math.exp(-self.table.fab.defects.si * area_mm2 / 100)

    def die_usd(self, area_mm2: float) -> float:
        """Price of the silicon of a good die; without packaging, test and margin."""
        dies, good = self.good_dies(area_mm2)
        return self._node("wafer") / (dies * good) if dies >= 1 else math.inf

    def die_co2_kg(self, area_mm2: float) -> float:
        """Embodied carbon of a good die by ACT: electricity, gases and materials per area over the yield."""
        fab, (_, good) = self.table.fab, self.good_dies(area_mm2)
        grams = fab.intensity.si * self._node("electricity") + self._node("gases") + fab.materials.si
        return grams * area_mm2 / 100 / good / 1000
