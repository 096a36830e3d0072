# SPDX-License-Identifier: Apache-2.0
"""Timing and power of a netlist by OpenSTA: before placement, an ideal clock and no wires.

OpenSTA 2.0.17 carries default activities from input ports and through resets over those that are set. So every input
but the clock comes from a flip-flop here, which nothing is carried through, every pin behind is set, and what the
flip-flops take is left out.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from simsparse.errors import SimulationError
from simsparse.rtl.activity import OUTPUTS, Activity, connections
from simsparse.rtl.synth import Netlist

CLOCK, RESET = "clk_i", "rst_ni"
DRIVER = "sky130_fd_sc_hd__dfxtp_4"


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
    """Timing and power at a clock of ``clock_ns``.

    Raises SimulationError when OpenSTA fails, or when twice the activity does not switch twice as much: then it did
    not take what was counted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "driven.v").write_text(driven(netlist), encoding="utf-8")
    (folder / "sta.tcl").write_text("\n".join(_script(netlist, seen, library, clock_ns)) + "\n", encoding="utf-8")
    done = subprocess.run([str(sta), "sta.tcl"], cwd=folder, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    (folder / "sta.log").write_text(said, encoding="utf-8")
    slack = re.search(r"^\s*(-?[\d.]+)\s+slack", said, re.MULTILINE)
    powers = [_without_drivers(part) for part in re.split(r"^POWER$", said, flags=re.MULTILINE)[1:]]
    if slack is None or len(powers) != 2 or "Error" in said:
        raise SimulationError(f"OpenSTA failed (all in {folder / 'sta.log'})", key=netlist.top)
    (internal, switching, leakage), (_, doubled, _) = powers
    if not math.isclose(doubled, 2 * switching, rel_tol=1e-3):
        raise SimulationError(f"OpenSTA did not take the activity that was counted (see {folder})", key=netlist.top)
    seconds = clock_ns * 1e-9
    return Report(clock_ns - float(slack[1]), internal * seconds, switching * seconds, leakage)


def _without_drivers(said: str) -> tuple[float, float, float]:
    """Internal, switching and leakage power of all cells but the flip-flops before the inputs, in watts."""
    row = r"^{}\s+([-\d.e+]+)\s+([-\d.e+]+)\s+([-\d.e+]+)\s+[-\d.e+]+{}"
    totals = re.findall(row.format("Total", ""), said, re.MULTILINE)
    drivers = re.findall(row.format("", r"\s+drive_\d+$"), said, re.MULTILINE)
    if len(totals) != 1 or not drivers:
        raise SimulationError("OpenSTA reported no power")
    internal, switching, leakage = (
        float(total) - sum(float(driver[i]) for driver in drivers) for i, total in enumerate(totals[0])
    )
    return internal, switching, leakage


def _ports(text: str, way: str) -> dict[str, int]:
    """Ports of a Yosys netlist and their widths."""
    return {
        name: int(high) + 1 if high else 1
        for high, name in re.findall(rf"^  {way} (?:\[(\d+):0\] )?(\w+);$", text, re.MULTILINE)
    }


def driven(netlist: Netlist) -> str:
    """The netlist as ``cells`` in a module with a clock alone: a flip-flop before every other input."""
    text = netlist.verilog.read_text(encoding="utf-8")
    ports = _ports(text, "input") | _ports(text, "output")
    wires = [
        f"  wire {f'[{width - 1}:0] ' if width > 1 else ''}{name};" for name, width in ports.items() if name != CLOCK
    ]
    drivers = [
        f"  {DRIVER} drive_{place} (.CLK({CLOCK}), .D(data), .Q({bit}));" for place, bit in enumerate(_input_bits(text))
    ]
    connected = ", ".join(f".{name}({name})" for name in ports)
    head = f"module driven({CLOCK}, data);\n  input {CLOCK};\n  input data;"
    return "\n".join([text, head, *wires, *drivers, f"  {netlist.top} cells ({connected});", "endmodule", ""])


def _input_bits(text: str) -> list[str]:
    """Nets of all inputs of a Yosys netlist but the clock."""
    return [
        f"{name}[{bit}]" if width > 1 else name
        for name, width in _ports(text, "input").items() if name != CLOCK for bit in range(width)
    ]  # fmt: skip


def _script(netlist: Netlist, seen: Activity, library: Path, clock_ns: float) -> Iterator[str]:
    """Its first power report makes OpenSTA spread default activities once, before those are set that were counted."""
    yield from (
        f"read_liberty {library.resolve()}", "read_verilog driven.v", "link_design driven",
        f"create_clock -name clk -period {clock_ns} [get_ports {CLOCK}]", "set_false_path -from [get_cells drive_*]",
        "report_checks -digits 6", "report_power",
    )  # fmt: skip
    for times in (1, 2):
        yield from _set(netlist, seen, times)
        yield from ("puts POWER", "report_power -digits 6", "report_power -instances [get_cells drive_*] -digits 6")
    yield "exit"


def _set(netlist: Netlist, seen: Activity, times: int) -> Iterator[str]:
    """Activity of every pin but clocks: that of what drives its net, ``times`` as often; reset stays high.

    Raises SimulationError on a net of which nothing was counted.
    """
    text = netlist.verilog.read_text(encoding="utf-8")
    pins = [(f"cells/{cell}/{pin}", pin, net.strip()) for cell, pin, net in connections(text)]
    source = {net: name.removeprefix("cells/") for name, pin, net in pins if pin in OUTPUTS}
    nets = [(name, net) for name, _, net in pins if net != CLOCK]
    nets += [(f"drive_{place}/Q", bit) for place, bit in enumerate(_input_bits(text))]
    for name, net in nets:
        counted = source.get(net, net)
        if net != RESET and counted not in seen.toggles:
            raise SimulationError(f"nothing was counted of the net {net!r} at {name}", key=netlist.top)
        toggles, duty = (0.0, 1.0) if net == RESET else (seen.toggles[counted], seen.duty[counted])
        yield f"sta::set_power_pin_activity [get_pins {{{name}}}] {times * toggles:.6g} {duty:.6g}"
