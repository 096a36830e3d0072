# SPDX-License-Identifier: Apache-2.0
"""Sparse tensor cores against Sparseloop's reference outputs: what the shared memory's rate leaves of 2:6 and 2:8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean

from simsparse.config.hardware import load_hardware
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, Work
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.statement import Sparsity
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, Sensitivity, case_rows

PATTERNS = {"1.0": "dense", "0.5": "2:4", "0.3333": "2:6", "0.25": "2:8"}
DESIGNS = {
    "STC": {"widest": 4.0},
    "STC_flexible": {},
    "STC_flexible_dualCompress_RLE": {"compress_inputs": 1.0},
}
"""Designs compared, and how their settings differ from the part's."""
LABELS = {"STC": "STC", "STC_flexible": "flexible", "STC_flexible_dualCompress_RLE": "flexible, inputs compressed"}


@CASES.register("sparse-tensor-core")
def sparse_tensor_core() -> CaseReport:
    """48 points, each within 11 %."""
    rows = [row for row in case_rows("sparse-tensor-core", "cycles.csv") if row["design"] in DESIGNS]
    points = [CasePoint(_label(row), float(row["cycles"]), simulate(row).cycles, "cycles") for row in rows]
    return CaseReport(
        "sparse-tensor-core",
        "Tensor cores with 2:4, 2:6 and 2:8 weights",
        "Wu et al., Sparseloop, MICRO 2022, figure 15: reference outputs of its artifact (commit de0374a).",
        "Pass by pass on the engine sparse_tensor_core with the artifact's sizes: 64 x 16 PEs, 42 bytes a cycle of "
        "shared memory, 32 of DRAM, sums of 128 tokens in registers.",
        points,
        tolerance=0.11,
        deviation="Where k is no multiple of the window of 48 columns (2:6), Sparseloop pads the last window and we "
        "don't, which is most of the 10.7 % at k = 128. Elsewhere the two differ by how an index is stored: 3 bits "
        "here, as the artifact's inputs have it, while its cycles at 2:6 and 2:8 are those of 4 bits (76 bytes a token "
        "at 2:8 over 42 a cycle is its 1.81 times the compute), and of 2 with run lengths at 2:6.",
        sensitivity=[
            Sensitivity(_label(row), "shared memory", f"{rate} bytes a cycle", simulate(row, sram_bytes=rate).cycles)
            for row in rows if _label(row) in ("flexible 512x1024x256 2:8", "flexible 512x1024x256 2:6")
            for rate in (32.0, 64.0, 80.0)
        ],
        tables=[normalised(rows)],
    )  # fmt: skip


def simulate(row: Mapping[str, str], **settings: float) -> Work:
    """Work of one row of the reference."""
    machine: PeConfig = SparseEngineDevice(load_hardware("accel/sparse-tensor-core")).machine("int8")
    machine = replace(machine, settings={**machine.settings, **DESIGNS[row["design"]], **settings})
    shape = int(row["tokens"]), int(row["outputs"]), int(row["k"])
    pattern = PATTERNS[row["weight_density"]]
    if row["design"] == "STC" and pattern in ("2:6", "2:8"):
        pattern = "2:4"
    inputs = Sparsity.parse(f"unstructured:{row['input_density']}")
    return ENGINES.get("sparse_tensor_core").expect(shape, Sparsity.parse(pattern), inputs, machine)


def normalised(rows: list[Mapping[str, str]]) -> CaseTable:
    """Mean over layers of cycles over dense ones, as in the figure: Sparseloop's and ours."""
    dense = {
        _shape(row): (float(row["cycles"]), simulate(row).cycles) for row in rows if row["weight_density"] == "1.0"
    }
    lines = []
    for design in DESIGNS:
        for density, pattern in PATTERNS.items():
            mine = [row for row in rows if (row["design"], row["weight_density"]) == (design, density)]
            theirs = fmean(float(row["cycles"]) / dense[_shape(row)][0] for row in mine)
            ours = fmean(simulate(row).cycles / dense[_shape(row)][1] for row in mine)
            lines.append([LABELS[design], pattern, f"{theirs:.3f}", f"{ours:.3f}"])
    columns = ["design", "weights", "Sparseloop", "simsparse"]
    return CaseTable("Cycles over dense ones, mean of the layers", columns, lines)


def _shape(row: Mapping[str, str]) -> str:
    return f"{row['outputs']}x{row['k']}x{row['tokens']}"


def _label(row: Mapping[str, str]) -> str:
    return f"{LABELS[row['design']]} {_shape(row)} {PATTERNS[row['weight_density']]}"
