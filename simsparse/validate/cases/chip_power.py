# SPDX-License-Identifier: Apache-2.0
"""Power of published chips with all multipliers at work, from their sizes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simsparse.config.floorplan import ArraySizes, Floorplan, floorplan_of
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable

MIB = 2.0**20


@dataclass(frozen=True)
class Chip:
    """``watts`` as published; ``sram_bytes`` that its memories give and take per cycle while all multipliers work."""

    name: str
    watts: float
    node_nm: float
    pes: int
    dtype: str
    clock_hz: float
    memories: Mapping[str, float]
    banks: float
    sram_bytes: float
    left_out: str

    @property
    def floorplan(self) -> Floorplan:
        """What its components take, without a vector unit and a DRAM interface."""
        array = ArraySizes(self.pes, {self.dtype: 1.0}, (), self.clock_hz)
        return floorplan_of(self.name, self.node_nm, self.banks, array, self.memories)

    @property
    def shares_w(self) -> dict[str, float]:
        """Watts of what it consists of."""
        plan = self.floorplan
        return {
            "multipliers": self.pes * self.clock_hz * plan.mac_j[self.dtype],
            "memories": self.sram_bytes * self.clock_hz * plan.sram_byte_j,
            "clocks": sum(each.clock_w for each in plan.components),
            "leakage": sum(each.leakage_w for each in plan.components),
        }


CHIPS = (
    Chip("SIGMA", 22.33, 28, 16384, "bf16", 500e6, {}, 1, 0.0,
         "distribution and reduction networks; the memories of 32 MiB, as the published area can't hold them"),
    Chip("TPU v1", 40.0, 28, 65536, "int8", 700e6, {"unified buffer": 24 * MIB, "accumulators": 4 * MIB}, 256,
         256 + 2 * 4 * 256, "instruction control, interfaces of host and DRAM"),
    Chip("EIE", 0.6, 45, 64, "int16", 800e6, {"weights": 8 * MIB, "pointers": 2 * MIB}, 64, 64.0,
         "wide reads, of which each gives eight weights: a byte of it costs less than one alone"),
    Chip("Eyeriss v2, a PE", 3.0e-3, 65, 2, "int8", 200e6, {"scratchpads": 600.0}, 1, 8.0,
         "control, and the network that is most of that chip"),
)  # fmt: skip
"""Sizes and powers: abstracts of SIGMA (HPCA 2020) and EIE (ISCA 2016); papers of the TPU (ISCA 2017) and of Eyeriss v2
(JETCAS 2019) as recalled, to be checked. SIGMA was first run with its memories, which gives 22.5 W. Bytes per cycle
follow from the dataflow and the widths of an operand and a sum."""


@CASES.register("chip-power")
def chip_power() -> CaseReport:
    """Each chip's power beside that of its multipliers, memories, clocks and leakage."""
    shares = {chip.name: chip.shares_w for chip in CHIPS}
    return CaseReport(
        "chip-power",
        "Power of published chips, all multipliers at work",
        "Qin et al., SIGMA, HPCA 2020; Jouppi et al., TPU, ISCA 2017; Han et al., EIE, ISCA 2016; Chen et al., "
        "Eyeriss v2, JETCAS 2019. Sizes but those of abstracts are recalled, to be checked.",
        "Components of hw_models/silicon.yaml in each chip's technology: a product per multiplier and cycle, the bytes "
        "that this takes from memories, clocks of registers, leakage. Nothing is fitted to these figures.",
        [CasePoint(chip.name, 1e3 * chip.watts, 1e3 * sum(shares[chip.name].values()), "mW") for chip in CHIPS],
        tolerance=None,
        deviation="What has no component here: networks and control, which make SIGMA, the TPU "
        "and the PE too low, and widths of a read, which make EIE too high. The table says per chip what is left out. "
        "S4 is not compared: the published 70 W are those of a card, and its microarchitecture is not public.",
        assumed=("banks of the memories, and bytes that they move per cycle",),
        tables=[_shares(shares)],
    )


def _shares(shares: Mapping[str, Mapping[str, float]]) -> CaseTable:
    kinds = list(next(iter(shares.values())))
    rows = [[chip.name, *(f"{1e3 * shares[chip.name][kind]:.3g}" for kind in kinds), chip.left_out] for chip in CHIPS]
    return CaseTable("Milliwatts", ["chip", *kinds, "left out"], rows)
