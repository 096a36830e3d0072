# SPDX-License-Identifier: Apache-2.0
"""Standard cells that netlists are mapped to, as Liberty files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simsparse.rtl.toolchain import sources

PREFIX = "sky130_fd_sc_hd__"
_FLOPS = {"": "", "clear": ' clear : "!RESET_B";', "preset": ' preset : "!SET_B";'}


@dataclass(frozen=True)
class StandardCell:
    """A cell: ``area`` in um2, and the function of its inputs; a flip-flop's is empty, clear or preset."""

    name: str
    area: float
    inputs: tuple[str, ...]
    function: str

    @property
    def liberty(self) -> str:
        """The cell in Liberty, without timing and power."""
        clocked = "CLK" in self.inputs
        output = {True: "Q", False: "X" if "!" not in self.function[:1] else "Y"}[clocked]
        function = "IQ" if clocked else self.function
        pins = "".join(
            f"    pin ({name}) {{ direction : input;{' clock : true;' if name == 'CLK' else ''} }}\n"
            for name in self.inputs
        )
        flop = (
            f'    ff (IQ, IQN) {{ clocked_on : "CLK"; next_state : "D";{_FLOPS[self.function]} }}\n' if clocked else ""
        )
        return (
            f"  cell ({self.name}) {{\n    area : {self.area:.4f};\n{flop}{pins}"
            f'    pin ({output}) {{ direction : output; function : "{function}"; }}\n  }}\n'
        )


def sky130_cells() -> list[StandardCell]:
    """The cells of rtl/cells/sky130_hd.csv."""
    cells = []
    for line in (sources() / "cells" / "sky130_hd.csv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, width, height, inputs, function = line.split(",")
            cells.append(StandardCell(PREFIX + name, float(width) * float(height), tuple(inputs.split()), function))
    return cells


def area_library(folder: Path) -> Path:
    """A Liberty file of sky130_cells(): functions and areas, no timing and no power."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sky130_hd_area.lib"
    body = "".join(cell.liberty for cell in sky130_cells())
    path.write_text(f"library (sky130_hd_area) {{\n{body}}}\n", encoding="utf-8")
    return path
