# SPDX-License-Identifier: Apache-2.0
"""EIE: the fully connected layers of compressed AlexNet."""

from __future__ import annotations

from functools import cache

from simsparse.config.hardware import load_hardware
from simsparse.core import Sparsity
from simsparse.dataflow.sparse_engine import Work
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, Sensitivity

PART, FRAMES_A_SECOND = "accel/eie", 1.88e4
LAYERS = {"fc6": (4096, 9216, 0.09, 0.351), "fc7": (4096, 4096, 0.09, 0.353), "fc8": (1000, 4096, 0.25, 0.375)}
"""(outputs, inputs, share of weights kept, share of non-zero activations); shares recalled from the paper."""
ON_CHIP = {"memory.bandwidth": "1 PB/s"}
"""All weights lie in the PEs."""
MOVED = (("engine.queue", "1"), ("engine.queue", "32"), ("engine.run_bits", "3"), ("array.rows", "128"))


@CASES.register("eie")
def eie() -> CaseReport:
    """Three layers in a row."""
    label = "AlexNet, fc6 to fc8"
    return CaseReport(
        "eie",
        "EIE on the fully connected layers of AlexNet",
        "Han et al., EIE, ISCA 2016 (arXiv 1602.01528), abstract: 1.88e4 frames/s of the FC layers of AlexNet, "
        "64 PEs at 102 GOPS.",
        "Cycle core of accel/eie on random zeros of the layers' densities, one vector, weights on the chip: runs "
        "bridged by zeros, queues of 8, the slowest PE ends a layer.",
        [CasePoint(label, 1e6 / FRAMES_A_SECOND, _micros(), "us")],
        tolerance=0.1,
        deviation="Real zeros are not where random ones are: rows and columns of a pruned matrix differ in their "
        "density, which makes the load of the PEs more uneven than simulated. Filling the pipeline and finding the "
        "non-zeros are left out.",
        assumed=(
            "densities of weights and activations, recalled, to be checked", "queues of 8, runs of 4 bits, recalled",
        ),
        sensitivity=[Sensitivity(label, name, value, _micros(name, value)) for name, value in MOVED],
        tables=[_composition()],
    )  # fmt: skip


@cache
def _drawn(rows: int, cols: int, density: float, seed: int) -> NonZeros:
    return Sparsity.parse(f"unstructured:{density:g}").draw(rows, cols, seed)


def _work(layer: str, name: str = "", value: str = "") -> Work:
    device = SparseEngineDevice(load_hardware(PART, {**ON_CHIP, **({name: value} if name else {})}))
    outputs, inputs, kept, active = LAYERS[layer]
    weights, vector = _drawn(outputs, inputs, kept, 1), _drawn(1, inputs, active, 2)
    return device.engine.run(weights, vector, device.machine("int16"))


def _micros(name: str = "", value: str = "") -> float:
    return 1e6 * sum(_work(layer, name, value).cycles for layer in LAYERS) / _hertz()


def _hertz() -> float:
    """The part's clock."""
    return SparseEngineDevice(load_hardware(PART)).part.array.clock.si


def _composition() -> CaseTable:
    rows = []
    for layer in LAYERS:
        work = _work(layer)
        shares = [100 * work.causes[name] / work.cycles for name in ("compute", "padding", "imbalance")]
        rows.append([layer, f"{1e6 * work.cycles / _hertz():.1f}", *(f"{share:.1f}" for share in shares)])
    return CaseTable("Where the cycles go", ["layer", "us", "compute, %", "bridging zeros, %", "imbalance, %"], rows)
