# SPDX-License-Identifier: Apache-2.0
"""Attention in memory against AttAcc's simulator: decode attention on one HBM3 stack, closed forms and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simsparse.config.hardware import load_hardware
from simsparse.core import ops
from simsparse.devices.pim import Pim
from simsparse.devices.pim_attention import AttentionProgram, AttentionShape
from simsparse.dram.program import run_steps
from simsparse.validate.case import CASES, CasePoint, CaseReport, case_rows
from simsparse.validate.pim import attacc_channel, attacc_part

_SOURCE = (
    "Runs of AttAcc's simulator (commit c600051 on its patched Ramulator 2): cycles of one decode attention, with "
    "units at the banks, the bank groups or on the buffer die. Its own cache of results differs from runs of its code "
    "by 1.4 to 3.9 %."
)


@CASES.register("pim-attacc")
def pim_attacc() -> CaseReport:
    """41 decode attentions by closed form, each within 11 %."""
    return CaseReport(
        "pim-attacc",
        "Attention in one HBM3 stack, by closed form",
        _SOURCE,
        "Level 0: lock-step commands of score and context products with the row, column and power limits of the parts "
        "pim/bank-pim, pim/bank-group-pim and pim/buffer-pim; no parameter comes from the runs compared with.",
        [
            CasePoint(_label(row), float(row["cycles"]), _cycles(row), "cycles")
            for row in case_rows("pim", "attacc.csv")
        ],
        tolerance=0.11,
    )


@CASES.register("pim-attacc-commands")
def pim_attacc_commands() -> CaseReport:
    """41 decode attentions by commands, each within 4 %."""
    return CaseReport(
        "pim-attacc-commands",
        "Attention in one HBM3 stack, command by command",
        _SOURCE,
        "Level 2: the order of commands of AttAcc's released code, sent by a controller under the constraints of its "
        "timing table, on one channel of the same parts. Counts of all commands are equal.",
        [CasePoint(_label(row), float(row["cycles"]), _ticks(row), "cycles") for row in _rows()],
        tolerance=0.04,
    )


def _rows() -> Sequence[Mapping[str, str]]:
    return case_rows("pim", "attacc.csv")


def _label(row: Mapping[str, str]) -> str:
    limited = "power-limited" if row["power_limited"] == "1" else "unlimited"
    return f"{row['pim_level']}, {row['seq_len']} keys, {row['heads_per_stack']} heads, {limited}"


def _cycles(row: Mapping[str, str]) -> float:
    name = attacc_part(row["pim_level"], int(row["power_limited"]))
    device = Pim(load_hardware(name, {"memory.stacks": "1", "compute.launch": "0 s"}))
    heads = int(row["heads_per_stack"])
    op = ops.attention(1, heads, heads, int(row["dhead"]), 1, int(row["seq_len"]), dtype="fp16")
    return device.costs([op])[0].breakdown["internal"] * device.part.commands.clock.si


def _ticks(row: Mapping[str, str]) -> float:
    device, unit = attacc_channel(row["pim_level"], int(row["power_limited"]))
    shape = AttentionShape(int(row["heads_per_stack"]), int(row["seq_len"]), int(row["dhead"]), int(row["dbyte"]), 16)
    return float(run_steps(device, AttentionProgram(device, unit, shape).steps()).ticks)
