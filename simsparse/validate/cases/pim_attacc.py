# SPDX-License-Identifier: Apache-2.0
"""Bank-level processing in memory against AttAcc's simulator: decode attention on one HBM3 stack."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.config.hardware import load_hardware
from simsparse.core import ops
from simsparse.devices.pim import Pim
from simsparse.validate.case import CASES, CasePoint, CaseReport, case_rows


@CASES.register("pim-attacc")
def pim_attacc() -> CaseReport:
    """18 decode attentions, each within 11 %."""
    return CaseReport(
        "pim-attacc",
        "Attention in the banks of one HBM3 stack",
        "Runs of AttAcc's simulator (commit c600051 on its patched Ramulator 2): cycles of one decode attention. Its "
        "own cache of results differs from runs of its code by 1.4 to 3.9 %.",
        "All-bank commands of score and context products with the row, column and power limits of the part "
        "pim/bank-pim; no parameter comes from the runs compared with.",
        [
            CasePoint(_label(row), float(row["cycles"]), _cycles(row), "cycles")
            for row in case_rows("pim", "attacc_bank.csv")
        ],
        tolerance=0.11,
    )


def _label(row: Mapping[str, str]) -> str:
    limited = "power-limited" if row["power_limited"] == "1" else "unlimited"
    return f"{row['seq_len']} keys, {row['heads_per_stack']} heads, {limited}"


def _cycles(row: Mapping[str, str]) -> float:
    name = "pim/bank-pim" if row["power_limited"] == "1" else "pim/bank-pim-unlimited"
    device = Pim(load_hardware(name, {"memory.stacks": "1", "compute.launch": "0 s"}))
    heads = int(row["heads_per_stack"])
    op = ops.attention(1, heads, heads, int(row["head_dim"]), 1, int(row["seq_len"]), dtype="fp16")
    return device.costs([op])[0].breakdown["internal"] * device.part.commands.clock.si
