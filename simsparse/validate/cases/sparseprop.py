# SPDX-License-Identifier: Apache-2.0
"""SparseProp: a training step of one linear layer with sparse weights beside the dense one, over densities."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.cpu import CpuPart
from simsparse.core import Op, ops
from simsparse.devices.cpu import Cpu
from simsparse.validate.case import CASES, VARIED, CasePoint, CaseReport, CaseTable, Sensitivity, Varied

PART, WIDTH, BATCH = "cpu/epyc-7763", 1024, 64
SWAPPED = 0.2
"""Density up to which SparseProp swaps a layer for a sparse one, if that is faster. Source: its repository."""
LABEL = "training step, 80 % sparse, over dense"
MOVED = (
    ("core.store_ports", "2"),
    ("core.width", "4"),
    ("core.caches.l2.bandwidth", "36 GB/s"),
    ("threads.count", "1"),
)


@CASES.register("sparseprop")
def sparseprop() -> CaseReport:
    """One speed-up against the threshold of the published code."""
    return CaseReport(
        "sparseprop",
        "Backward pass over the non-zeros of a layer",
        "Nikdan et al., SparseProp, ICML 2023: the code swaps layers that are at least 80 % sparse, where it measures "
        "a gain, so that a gain of 1 is expected near that sparsity.",
        f"A layer of {WIDTH} inputs and outputs on {PART}, {BATCH} samples, weights in the caches: forward by axpys, "
        "both gradients in one further pass, beside three dense products of the library.",
        [CasePoint(LABEL, 1.0, _gain(SWAPPED, {}), "x")],
        tolerance=None,
        deviation="The threshold is where the authors begin to look for a gain, on other processors; they do not "
        "publish how large the gain is there.",
        assumed=("1,024 x 1,024, 64 samples", "random places"),
        sensitivity=[Sensitivity(LABEL, name, value, _gain(SWAPPED, {name: value})) for name, value in MOVED],
        tables=[_by_density()],
    )  # fmt: skip


def _gain(density: float, overrides: Mapping[str, str]) -> float:
    dense = ops.linear(BATCH, WIDTH, WIDTH, "fp32")
    weights = ops.linear(WIDTH, WIDTH, BATCH, "fp32")  # the gradient of the weights: outputs by inputs over samples
    sparse = dense.with_(weight_sparsity=f"unstructured:{density!r}", weight_format="csr")
    whole = 2 * _seconds("csr_axpy", dense, overrides) + _seconds("csr_axpy", weights, overrides)
    return whole / (_seconds("csr_axpy", sparse, overrides) + _seconds("csr_backward", sparse, overrides))


def _seconds(kernel: str, op: Op, overrides: Mapping[str, str]) -> float:
    part = load_hardware(PART, {**overrides, "core.kernels.csr": kernel})
    assert isinstance(part, CpuPart)
    return Cpu(part, resident=True).costs([op])[0].latency_s


VARIED.register("sparseprop")(Varied(PART, lambda overrides: {LABEL: _gain(SWAPPED, overrides)}))


def _by_density() -> CaseTable:
    rows = [[f"{1 - density:.0%}", f"{_gain(density, {}):.2f}"] for density in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)]
    return CaseTable("Gain of a training step by sparsity", ["sparsity", "over dense (x)"], rows)
