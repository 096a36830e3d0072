"""Timing and power of a netlist by OpenSTA: before placement, an ideal clock and no wires."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from simsparse.errors import SimulationError
from simsparse.rtl.activity import Activity
from simsparse.rtl.synth import Netlist


@dataclass(frozen=True)
class Report:
    """``period`` is the least clock period in ns; energies are joules a cycle; ``leakage`` is watts."""

    period: float
    internal: float
    switching: float
    leakage: float

    @property
    def energy(self) -> float:
        """Joules a cycle without leakage."""
        return self.internal + self.switching


def analyse(netlist: Netlist, seen: Activity, library: Path, sta: Path, clock_ns: float, folder: Path) -> Report:
    """Timing and power at a clock of ``clock_ns``. Raises SimulationError when OpenSTA fails."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sta.tcl").write_text(_script(netlist, seen, library, clock_ns), encoding="utf-8")
    done = subprocess.run([str(sta), "sta.tcl"], cwd=folder, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    (folder / "sta.log").write_text(said, encoding="utf-8")
    slack = re.search(r"^\s*(-?[\d.]+)\s+slack", said, re.MULTILINE)
    totals = re.findall(r"^Total\s+(\S+)\s+(\S+)\s+(\S+)", said, re.MULTILINE)
    if slack is None or len(totals) != 2 or "Error" in said:
        raise SimulationError(f"OpenSTA failed (all in {folder / 'sta.log'})", key=netlist.top)
    internal, switching, leakage = (float(number) for number in totals[-1])
    seconds = clock_ns * 1e-9
    return Report(clock_ns - float(slack[1]), internal * seconds, switching * seconds, leakage)


def _script(netlist: Netlist, seen: Activity, library: Path, clock_ns: float) -> str:
    """Its first power report makes OpenSTA 2.0.17 spread default activities, which else would undo those set here."""
    lines = [
        f"read_liberty {library.resolve()}", f"read_verilog {netlist.verilog.resolve()}",
        f"link_design {netlist.top}", f"create_clock -name clk -period {clock_ns} [get_ports clk_i]",
        "report_checks -digits 6", "report_power",
    ]  # fmt: skip
    for name, toggles in seen.toggles.items():
        duty = seen.duty[name]
        if "/" in name:
            lines.append(f"sta::set_power_pin_activity [get_pins {{{name}}}] {toggles:.6g} {duty:.6g}")
        else:
            lines.append(f"sta::set_power_input_port_activity [get_ports {{{name}}}] {toggles:.6g} {duty:.6g}")
    return "\n".join([*lines, "report_power -digits 6", "exit"]) + "\n"
