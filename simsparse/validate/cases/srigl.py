# SPDX-License-Identifier: Apache-2.0
"""SRigL: a layer of constant fan-in beside the dense one and one of equal density with uneven rows."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.config.hardware import load_hardware
from simsparse.core import Sparsity
from simsparse.dataflow.sparse_engine import Work
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.validate.case import CASES, VARIED, CasePoint, CaseReport, CaseTable, Sensitivity, Varied

PART, OUTPUTS, INPUTS = "accel/fan-in-gather", 768, 3072
"""The second layer of an MLP of ViT-B/16."""
PATTERNS = {"dense": "dense", "uneven rows": "unstructured:0.1", "constant fan-in": "bank3072:0.1"}
ON_CHIP = {"memory.bandwidth": "1 PB/s"}
"""The layer's weights in a cache, as in repeated calls on a CPU."""
MOVED = (("engine.banks", "8"), ("engine.banks", "128"), ("array.rows", "8"), ("memory.bandwidth", "25.6 GB/s"))


@CASES.register("srigl")
def srigl() -> CaseReport:
    """Two ratios, reported."""
    points = [
        CasePoint("over dense, 90 % sparse", 3.6, _gain("dense"), "x"),
        CasePoint("over CSR, 90 % sparse", 2.0, _gain("uneven rows"), "x"),
    ]
    return CaseReport(
        "srigl",
        "Constant fan-in at 90 % sparsity",
        "Lasby et al., SRigL, ICLR 2024, abstract: on a CPU, online inference, 3.6x over dense and 2x over CSR.",
        "Cycle core of accel/fan-in-gather, an engine of our own, on one vector and random places of the weights: "
        "10 % of each row, the same share anywhere, and all of them. A CPU is not simulated.",
        points,
        tolerance=None,
        deviation="Another machine: on this engine a dense row costs no gather, since all lanes want the same input, "
        "and at 90 % sparsity the lanes' indexes meet in banks, so that less than half of the ideal 10x is left. Over "
        "rows of uneven length constant fan-in gains what the longest row of 32 would have made the others wait; a "
        "CPU's CSR kernel loses more, to row pointers, loop ends and short vectors, which this engine does not have. "
        "The paper's ablation of whole neurons is left out.",
        assumed=("32 lanes and 32 banks", "the weights are on the chip", "random places"),
        sensitivity=[
            Sensitivity(point.label, name, value, _gain(rival, {name: value}))
            for point, rival in zip(points, ("dense", "uneven rows"), strict=True) for name, value in MOVED
        ],
        tables=[_composition()],
    )  # fmt: skip


def _varied(overrides: Mapping[str, str]) -> dict[str, float]:
    """The points under ``overrides``; the weights stay on the chip."""
    held = {**overrides, **ON_CHIP}
    return {"over dense, 90 % sparse": _gain("dense", held), "over CSR, 90 % sparse": _gain("uneven rows", held)}


VARIED.register("srigl")(Varied(PART, _varied))


def _work(pattern: str, overrides: Mapping[str, str] = ON_CHIP) -> Work:
    device = SparseEngineDevice(load_hardware(PART, {**ON_CHIP, **overrides}))
    weights = Sparsity.parse(PATTERNS[pattern]).draw(OUTPUTS, INPUTS, 1)
    return device.engine.run(weights, NonZeros.dense(1, INPUTS), device.machine("int8"))


def _gain(rival: str, overrides: Mapping[str, str] = ON_CHIP) -> float:
    return _work(rival, overrides).cycles / _work("constant fan-in", overrides).cycles


def _composition() -> CaseTable:
    names = ("uneven", "conflict", "dram")
    rows = []
    for pattern in PATTERNS:
        causes = _work(pattern).causes
        body = sum(causes.values()) - sum(causes[name] for name in names)
        rows.append([pattern, str(body), *(str(causes[name]) for name in names)])
    return CaseTable("Where the cycles go", ["weights", "compute", "uneven rows", "bank conflicts", "DRAM"], rows)
