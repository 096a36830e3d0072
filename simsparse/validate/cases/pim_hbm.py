# SPDX-License-Identifier: Apache-2.0
"""HBM-PIM against Samsung's PIM simulator: products and a sum, by the units and by a host."""

from __future__ import annotations

from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, case_rows
from simsparse.validate.pim import samsung_cycles


@CASES.register("pim-hbm")
def pim_hbm() -> CaseReport:
    """Five products and a sum, each within 4 %."""
    points = []
    for row in case_rows("pim", "hbm_pim.csv"):
        outputs, _, inputs = row["op"].split()[1].partition("x")
        by_host = row["pim_level"].startswith("host")
        simulated = samsung_cycles(int(outputs), int(inputs or 0), by_host)
        label = f"{row['op'].removesuffix(' fp16')}, {'host' if by_host else 'units'}"
        points.append(CasePoint(label, float(row["cycles"]), float(simulated), "cycles"))
    points.sort(key=lambda point: point.label)
    return CaseReport(
        "pim-hbm",
        "Products and a sum in HBM-PIM",
        "Runs of Samsung's PIM simulator (commit b464dde, 64 pseudo channels of HBM2 at 2 Gbps): FP16 products of "
        "OUTPUTS x INPUTS and the sum of two vectors, by a unit for every two banks, or by a host that reads the "
        "operands and writes the result.",
        "Level 2: the order of commands of its kernels (modes, registers, columns) on one channel of pim/hbm-pim; the "
        "host's accesses in order on the same channel.",
        points,
        tolerance=0.04,
        tables=(CaseTable("Speed-up by the units", ("operator", "published", "simulated"), _gains(points)),),
    )


def _gains(points: list[CasePoint]) -> list[tuple[str, str, str]]:
    by_label = {point.label: point for point in points}
    names = [label.removesuffix(", units") for label in by_label if label.endswith(", units")]
    pairs = [(name, by_label[f"{name}, host"], by_label[f"{name}, units"]) for name in names]
    return [(name, f"{host.published / units.published:.2f} x", f"{host.simulated / units.simulated:.2f} x")
            for name, host, units in pairs]  # fmt: skip
