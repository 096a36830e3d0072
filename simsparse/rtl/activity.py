# SPDX-License-Identifier: Apache-2.0
"""How often each net of a netlist switches while a stream runs through it, counted by the netlist itself."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simsparse.errors import SimulationError
from simsparse.rtl.block import RtlBlock
from simsparse.rtl.compare import compare, predict
from simsparse.rtl.run import run as simulate
from simsparse.rtl.stream import DrivenStream
from simsparse.rtl.synth import Netlist
from simsparse.rtl.toolchain import elsewhere
from simsparse.rtl.unlinted import LINT_OFF
from simsparse.rtl.vectors import Field
from simsparse.rtl.yosys import run

OUTPUTS = ("X", "Y", "Q", "Q_N", "HI", "LO", "COUT", "COUT_N", "SUM")
"""Names of output pins in the sky130 libraries."""


@dataclass(frozen=True)
class Activity:
    """Of each driving pin and input port: transitions a cycle, and the share of cycles at one."""

    toggles: Mapping[str, float]
    duty: Mapping[str, float]
    cycles: int
    beats: int


def activity(block: RtlBlock, netlist: Netlist, library: Path, stream: DrivenStream, folder: Path) -> Activity:
    """``stream`` through ``netlist``, nets looked at once a cycle: no glitches.

    Raises SimulationError when the netlist gives another value, or gives it in another cycle, than the model.
    """
    found = folder / "netlist"
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir(parents=True)
    pins = _write(block, netlist, found, folder / "counts.txt")
    _cells(netlist, library, found, folder)
    predicted = predict(block, stream)
    with elsewhere(found, folder, "-O0"):
        observed = simulate(block, stream, predicted.given.size, predicted.longest)
    differences = compare(block, stream, observed, predicted).differences
    if differences:
        raise SimulationError(f"the netlist differs from the model: {differences[0]}", key=block.name)
    counts = np.loadtxt(folder / "counts.txt", dtype=np.int64, ndmin=2)
    cycles = int(counts[0, 0])
    toggles, ones = counts[1:, 0] / cycles, counts[1:, 1] / cycles
    return Activity(
        dict(zip(pins, toggles.tolist(), strict=True)), dict(zip(pins, ones.tolist(), strict=True)), cycles,
        stream.count,
    )  # fmt: skip


def _write(block: RtlBlock, netlist: Netlist, folder: Path, counts: Path) -> list[str]:
    """The netlist with a counter behind every driver, in a shell with the block's ports; returns the drivers."""
    text = netlist.verilog.read_text(encoding="utf-8")
    drivers = {f"{cell}/{pin}": net for cell, pin, net in connections(text) if pin in OUTPUTS}
    drivers |= {
        port: name for field in _inputs(block) for port, name in zip(_bits(field), _bits(field), strict=True)
    }  # fmt: skip
    inner = f"{block.module}_cells"
    body = text.replace(f"module {netlist.top}(", f"module {inner}(", 1)
    end = body.rindex("endmodule")
    counted = body[:end] + _counters(list(drivers.values()), counts) + body[end:]
    (folder / f"{inner}.sv").write_text(f"{LINT_OFF}\n{counted}", encoding="utf-8")
    (folder / f"{block.module}.sv").write_text(_shell(block, inner), encoding="utf-8")
    return list(drivers)


def connections(text: str) -> list[tuple[str, str, str]]:
    """(cell, pin, net) of every pin of the cells of a Yosys netlist."""
    return [
        (cell[1], pin, net)
        for cell in re.finditer(r"^  sky130_fd_sc_hd__\w+ (\\?\S+) \((.*?)\);$", text, re.MULTILINE | re.DOTALL)
        for pin, net in re.findall(r"\.(\w+)\(([^()]*)\)", cell[2])
    ]


def _inputs(block: RtlBlock) -> list[Field]:
    return [Field("valid", 1), Field("ready", 1), *block.inputs]


def _bits(field: Field) -> list[str]:
    name = f"{field.name}_i"
    return [name] if field.width == 1 else [f"{name}[{bit}]" for bit in range(field.width)]


def _counters(nets: list[str], path: Path) -> str:
    last = len(nets) - 1
    vector = ", ".join(reversed(nets))
    return (
        f"wire [{last}:0] seen = {{{vector}}};\nreg [{last}:0] seen_q;\nreg counting_q;\n"
        f"int unsigned cycles, toggles[{last + 1}], ones[{last + 1}];\n"
        "always_ff @(posedge clk_i or negedge rst_ni) begin\n  if (!rst_ni) begin\n    counting_q <= 1'b0;\n"
        f"    cycles <= 0;\n    for (int i = 0; i <= {last}; i++) begin\n      toggles[i] <= 0;\n      ones[i] <= 0;\n"
        "    end\n  end else begin\n    counting_q <= 1'b1;\n    seen_q <= seen;\n    if (counting_q) begin\n"
        f"      cycles <= cycles + 1;\n      for (int i = 0; i <= {last}; i++) begin\n"
        "        toggles[i] <= toggles[i] + 32'(seen[i] ^ seen_q[i]);\n        ones[i] <= ones[i] + 32'(seen[i]);\n"
        "      end\n    end\n  end\nend\n"
        f"initial begin\n  cycles = 0;\n  for (int i = 0; i <= {last}; i++) begin\n    toggles[i] = 0;\n"
        "    ones[i] = 0;\n  end\nend\n"
        f'final begin\n  int file;\n  file = $fopen("{path.resolve()}", "w");\n  $fdisplay(file, "%0d 0", cycles);\n'
        f'  for (int i = 0; i <= {last}; i++) $fdisplay(file, "%0d %0d", toggles[i], ones[i]);\n  $fclose(file);\nend\n'
    )


def _shell(block: RtlBlock, inner: str) -> str:
    parameters = ", ".join(f"parameter int {name} = {value}" for name, value in block.parameters.items())
    ports = [
        *(f"input wire [{field.width - 1}:0] {field.name}_i" for field in block.inputs),
        *(f"output wire [{field.width - 1}:0] {field.name}_o" for field in block.outputs),
    ]
    stream = "input wire clk_i, rst_ni, valid_i, ready_i, output wire ready_o, valid_o"
    return (
        f"{LINT_OFF}\nmodule {block.module} #({parameters}) ({stream}, {', '.join(ports)});\n"
        f"  {inner} u_cells (.*);\nendmodule\n"
    )


def _cells(netlist: Netlist, library: Path, folder: Path, scratch: Path) -> None:
    """What each cell of the netlist does, from the library's functions, one file a cell."""
    liberty = library.resolve()
    run([f"read_liberty -ignore_miss_func {liberty}", "write_verilog -noattr cells.v"], scratch)
    used = set(re.findall(r"^  (sky130_fd_sc_hd__\w+) ", netlist.verilog.read_text(encoding="utf-8"), re.MULTILINE))
    text = (scratch / "cells.v").read_text(encoding="utf-8")
    for module in re.finditer(r"^module (\w+)\(.*?^endmodule", text, re.MULTILINE | re.DOTALL):
        if module[1] in used:
            (folder / f"{module[1]}.sv").write_text(f"{LINT_OFF}\n{module[0]}\n", encoding="utf-8")
