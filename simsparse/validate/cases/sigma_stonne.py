# SPDX-License-Identifier: Apache-2.0
"""SIGMA against STONNE's simulation of it."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.config.hardware import load_hardware
from simsparse.core import Sparsity
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, case_rows

LayerCounts = Mapping[str, str]


@CASES.register("sigma-stonne")
def sigma_stonne() -> CaseReport:
    """Six products, each within 10 %."""
    rows = case_rows("sigma", "stonne.csv")
    return CaseReport(
        "sigma-stonne",
        "SIGMA against STONNE",
        "Runs of STONNE (commit 22634b8b, SIGMA controller, stationary operand with random zeros), 2026.",
        "Cycle core of accel/sigma with STONNE's multipliers and ports, operands on chip as there, on random zeros "
        "of the same share as its generator's: 1 % where it was asked for 0, 51 % where it was asked for 50.",
        [CasePoint(_label(row), float(row["cycles"]), sum(_causes(row).values()), "cycles") for row in rows],
        tolerance=0.10,
        deviation="Which rows share a fold depends on the zeros, which are other draws than STONNE's. Where every "
        "multiplier has its own port, STONNE's folds take 5 to 24 cycles more than the levels of the trees.",
        tables=[_composition(rows)],
    )


def _label(row: LayerCounts) -> str:
    return f"{row['size']}^3, {row['multipliers']} multipliers, {row['ports']} ports, {row['zeros']} % zeros"


def _causes(row: LayerCounts) -> Mapping[str, int]:
    """Cycles by cause, without the DRAM, which STONNE has not."""
    size = int(row["size"])
    cols = int(row["multipliers"]) // 16
    device = SparseEngineDevice(
        load_hardware("accel/sigma", {"array.rows": 16, "array.cols": cols, "engine.ports": int(row["ports"])})
    )
    zeros = (int(row["zeros"]) + 1) / 100
    weights = Sparsity.parse(f"unstructured:{1 - zeros:.2f}").draw(size, size, 0)
    work = device.engine.run(weights, NonZeros.dense(size, size), device.machine("bf16"))
    return {cause: cycles for cause, cycles in work.causes.items() if cause != "dram"}


def _composition(rows: list[LayerCounts]) -> CaseTable:
    found = [(row, _causes(row)) for row in rows]
    names = list(found[0][1])
    lines = [[_label(row), *(f"{causes[name]:,}" for name in names)] for row, causes in found]
    return CaseTable("Where the cycles go", ["product", *names], lines)
