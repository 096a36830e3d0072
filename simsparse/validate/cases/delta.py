# SPDX-License-Identifier: Apache-2.0
"""Temporal sparsity: what three times fewer non-zeros gain on an engine that scans, waits and keeps state."""

from __future__ import annotations

from simsparse.config.hardware import load_hardware
from simsparse.core import Sparsity
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, Sensitivity

PART, GAIN = "accel/delta-64x16", 3.0
VECTORS, OUTPUTS, INPUTS = 196, 256, 1024
"""A 1 x 1 convolution of ResNet-50's fourth stage, 14 x 14 pixels."""
SPATIAL = 0.5
"""Share of non-zeros without deltas: assumed, that of ReLU on symmetric values."""
MOVED = (
    ("engine.scan", "4"), ("engine.scan", "16"), ("array.rows", "4"), ("array.rows", "64"), ("array.cols", "256"),
    ("buffers.output", "256 KiB"),
)  # fmt: skip


@CASES.register("delta")
def delta() -> CaseReport:
    """One layer, reported."""
    return CaseReport(
        "delta",
        "Three times fewer non-zeros by deltas between frames",
        "Yousefzadeh and Sifalakis, Training for temporal sparsity, arXiv 2107.07305, abstract: almost 3x more "
        "activation sparsity with Delta Activation Layers on UCF101. No time was published.",
        "Cycle core of accel/delta-64x16 on random non-zeros, half of the activations without deltas and a third of "
        "that with them: the published gain is in non-zeros, the simulated one in cycles of one layer.",
        [CasePoint("ResNet-50, 1024 to 256 channels", GAIN, _gain(), "x")],
        tolerance=None,
        deviation="Cycles shrink less than non-zeros: a vector ends with its slowest lane, and the fewer changes there "
        "are the more uneven the lanes; weights and results cross the DRAM all the same. Only few outputs in parallel "
        "keep the detector ahead; with as many as the layer has, scanning takes as long as multiplying. Where the last "
        "activations and outputs of a frame do not fit on the chip, moving them takes part of what the deltas save.",
        assumed=("half of the activations are no zeros without deltas", "changes lie in random places"),
        sensitivity=[
            Sensitivity("ResNet-50, 1024 to 256 channels", name, value, _gain(name, value)) for name, value in MOVED
        ],
        tables=[_composition()],
    )


def _causes(density: float, name: str = "", value: str = "") -> dict[str, int]:
    device = SparseEngineDevice(load_hardware(PART, {name: value} if name else {}))
    changes = Sparsity.parse(f"unstructured:{density:g}").draw(VECTORS, INPUTS, 1)
    work = device.engine.run(NonZeros.dense(OUTPUTS, INPUTS), changes, device.machine("int8"))
    return dict(work.causes)


def _gain(name: str = "", value: str = "") -> float:
    full, fewer = (sum(_causes(density, name, value).values()) for density in (SPATIAL, SPATIAL / GAIN))
    return full / fewer


def _composition() -> CaseTable:
    rows = []
    for label, density in (("without deltas", SPATIAL), ("with deltas", SPATIAL / GAIN)):
        causes = _causes(density)
        rows.append([label, *(str(causes[name]) for name in ("compute", "imbalance", "dram"))])
    return CaseTable("Where the cycles go", ["activations", "compute", "imbalance and scanning", "DRAM"], rows)
