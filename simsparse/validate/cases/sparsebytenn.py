# SPDX-License-Identifier: Apache-2.0
"""SparseByteNN: MobileNet v1 with 30 % of its 1 x 1 weights pruned in small groups, on a Snapdragon 855."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.cpu import CpuPart
from simsparse.core import Op
from simsparse.devices.cpu import Cpu
from simsparse.validate.case import CASES, VARIED, CasePoint, CaseReport, CaseTable, Sensitivity, Varied
from simsparse.validate.mobile_networks import mobilenet_v1

PART, EDGE, DENSITY = "cpu/snapdragon-855", 4, 0.7
LABEL = "MobileNet v1, 30 % sparse, over dense"
MOVED = (("compute.efficiency", "0.6"), ("core.serial", "0"), ("core.serial", "1"), ("threads.bandwidth", "8 GB/s"))


@CASES.register("sparsebytenn")
def sparsebytenn() -> CaseReport:
    """One speed-up."""
    return CaseReport(
        "sparsebytenn",
        "Groups of weights pruned in MobileNet v1",
        "Xu et al., SparseByteNN, 2023, abstract: 1.27x over dense at 30 % sparsity on a Qualcomm 855.",
        f"1 x 1 convolutions on {PART} by a kernel that shares an index and the loads of its inputs among blocks of "
        f"{EDGE} x {EDGE} weights; all else dense. One thread, fp32, one image.",
        [CasePoint(LABEL, 1.27, _gain({}), "x")],
        tolerance=0.20,
        assumed=("blocks of 4 x 4 stand for the groups, whose shapes differ by layer", "fp32, one thread"),
        sensitivity=[Sensitivity(LABEL, name, value, _gain({name: value})) for name, value in MOVED]
        + [Sensitivity(LABEL, "edge of a block", str(edge), _gain({}, edge)) for edge in (2, 8, 16)],
        tables=[_by_sparsity()],
    )  # fmt: skip


def _gain(overrides: Mapping[str, str], edge: int = EDGE, density: float = DENSITY) -> float:
    part = load_hardware(PART, overrides)
    assert isinstance(part, CpuPart)
    device, dense = Cpu(part), mobilenet_v1(1.0)
    seconds = [sum(cost.latency_s for cost in device.costs(net)) for net in (dense, _pruned(dense, edge, density))]
    return seconds[0] / seconds[1]


VARIED.register("sparsebytenn")(Varied(PART, lambda overrides: {LABEL: _gain(overrides)}))


def _pruned(network: list[Op], edge: int, density: float) -> list[Op]:
    """The network with blocks of its 1 x 1 convolutions left out."""
    held = {"weight_sparsity": f"block{edge}:{density!r}", "weight_format": f"bsr:{edge}"}
    return [op.with_(**held) if op.dims.get("kh") == 1 and op.dims["groups"] == 1 else op for op in network]


def _by_sparsity() -> CaseTable:
    rows = [[f"{1 - density:.0%}", f"{_gain({}, density=density):.2f}"] for density in (0.9, 0.7, 0.5, 0.3, 0.1)]
    return CaseTable("Gain by sparsity of the 1 x 1 convolutions", ["sparsity", "over dense (x)"], rows)
