# SPDX-License-Identifier: Apache-2.0
"""Netlists of standard cells: what a module at one parameter set costs in cells and area."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from simsparse.rtl.equivalence import mapped
from simsparse.rtl.toolchain import sources
from simsparse.rtl.yosys import read, run

AVOIDED = ("sky130_fd_sc_hd__lpflow*", "sky130_fd_sc_hd__probe*")
"""Cells for power domains and probes, which compute nothing that others don't."""


@dataclass(frozen=True)
class Netlist:
    """``top`` as cells of a library: ``area`` and that of its registers in um2, how many cells, and where it lies.

    Before placement: no wires, no clock tree, no buffers beyond the mapper's.
    """

    top: str
    cells: int
    area: float
    register_area: float
    verilog: Path


def synthesise(
    top: str, parameters: Mapping[str, int], library: Path, folder: Path, period_ps: int | None = None
) -> Netlist:
    """``top`` at ``parameters`` in cells of the Liberty file ``library``; ``period_ps`` is what the mapper aims at.

    Raises SimulationError when Yosys is missing or fails.
    """
    liberty = library.resolve()
    run(
        [
            *read(top, dict(parameters), sources()), *mapped(liberty, period_ps, AVOIDED),
            "splitnets", "opt_clean -purge", f"tee -q -o stat.json stat -json -liberty {liberty}",
            f"rename -top {top}", "write_verilog -noattr -noexpr netlist.v",
        ], folder,
    )  # fmt: skip
    said = json.loads((folder / "stat.json").read_text(encoding="utf-8"))["design"]
    cells, area = int(said["num_cells"]), float(said["area"])
    return Netlist(top, cells, area, float(said["sequential_area"]), folder / "netlist.v")
