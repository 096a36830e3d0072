# SPDX-License-Identifier: Apache-2.0
"""One processing element of Eyeriss v2: its cycles on the non-zeros of real layers, and from their densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from simsparse.config.hardware import load_hardware
from simsparse.core import Sparsity
from simsparse.dataflow.base import Ints
from simsparse.dataflow.sparse_engine import Work
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.validate.case import CASES, CasePoint, CaseReport, case_rows

FOLDER = "eyeriss_v2_pe"
SOURCE = (
    "Sparseloop's MICRO 2022 artifact, fig12: ground-truth cycles of eight pointwise layers of a pruned MobileNet 0.5 "
    "on one processing element of Eyeriss v2."
)
LayerRow = Mapping[str, str]


@CASES.register("eyeriss-v2-pe")
def eyeriss_v2_pe() -> CaseReport:
    """Eight layers with the non-zeros of each channel as published: equal."""
    return CaseReport(
        "eyeriss-v2-pe",
        "Eyeriss v2 PE on the non-zeros of real layers",
        SOURCE,
        "Cycle core of accel/eyeriss-v2-pe on masks that have as many non-zeros in each input channel as the "
        "artifact's; where in a channel they lie makes no difference to one PE. The ground truth is the number of "
        "products of two non-zeros: it has no stall, no refill of a scratchpad and no fetch of an address.",
        _points(_walked),
        tolerance=0,
    )


@CASES.register("eyeriss-v2-pe-densities")
def eyeriss_v2_pe_densities() -> CaseReport:
    """The same layers from their two densities alone: within 8 %."""
    return CaseReport(
        "eyeriss-v2-pe-densities",
        "Eyeriss v2 PE from densities alone",
        SOURCE,
        "Closed form of accel/eyeriss-v2-pe from the densities that the artifact gives its statistical model.",
        _points(_expected),
        tolerance=0.08,
        deviation="Real layers have channels in which both activations and weights are denser than on average, so "
        "that more non-zeros meet than two independent densities say.",
    )


def _points(work: Callable[[SparseEngineDevice, LayerRow], Work]) -> list[CasePoint]:
    device = SparseEngineDevice(load_hardware("accel/eyeriss-v2-pe"))
    layers = case_rows(FOLDER, "layers.csv")
    return [CasePoint(layer["layer"], float(layer["cycles"]), work(device, layer).cycles, "cycles") for layer in layers]


def _walked(device: SparseEngineDevice, layer: LayerRow) -> Work:
    channels = [row for row in case_rows(FOLDER, "columns.csv") if row["layer"] == layer["layer"]]
    inputs, weights = (
        _with_columns(int(layer[rows]), np.array([int(row[kept]) for row in channels]))
        for rows, kept in (("positions", "inputs"), ("outputs", "weights"))
    )
    return device.engine.run(weights, inputs, device.machine("int8"))


def _with_columns(rows: int, counts: Ints) -> NonZeros:
    """A pattern whose columns have that many non-zeros, in random rows."""
    ranks = np.random.default_rng(0).random((rows, counts.size)).argsort(axis=0)
    return NonZeros.of(ranks < counts)


def _expected(device: SparseEngineDevice, layer: LayerRow) -> Work:
    weights, inputs = (Sparsity.parse(f"unstructured:{layer[kind]}") for kind in ("weight_density", "input_density"))
    shape = (int(layer["positions"]), int(layer["outputs"]), int(layer["inputs"]))
    return device.engine.expect(shape, weights, inputs, device.machine("int8"))
