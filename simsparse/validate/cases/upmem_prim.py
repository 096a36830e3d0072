# SPDX-License-Identifier: Apache-2.0
"""UPMEM's DPUs against measured kernels of PrIM: a sum of vectors, a sum of elements, a product with a vector."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.config.hardware import load_hardware
from simsparse.core import Op, ops
from simsparse.devices.base import device_for
from simsparse.validate.case import CASES, VARIED, CasePoint, CaseReport, Varied, case_rows

_PART = "dpu/upmem-480"
_FACTOR_BITS = "6"
"""Bits of the product's operands, which are below 50."""
_KERNELS: Mapping[str, Op] = {
    "VA": ops.elementwise(8 * 167_772_160, 4 * 167_772_160, 167_772_160, "int32"),
    "RED": ops.reduce(1, 419_430_400, "int64"),
    "GEMV": ops.linear(1, 163_840, 4_096, "int32"),
}


@CASES.register("upmem-prim")
def upmem_prim() -> CaseReport:
    """Seven kernels, each within 30 %."""
    simulated = _milliseconds({})
    points = [CasePoint(_label(row), float(row["DPU_ms"]), simulated[_label(row)], "ms") for row in _rows()]
    return CaseReport(
        "upmem-prim",
        "Kernels on UPMEM's DPUs",
        "Native runs of PrIM on eight ranks of UPMEM memory (github.com/brisco007/vPIM, commit 768b7455, MIT), without "
        "copies: VA adds two vectors of 167,772,160 int32, RED sums 419,430,400 int64, GEMV multiplies 163,840 x 4,096 "
        "weights of int32 below 50.",
        "Instructions of the kernels' loops counted by hand, prices of additions and products as PrIM's authors "
        "measured them (recollections), on dpu/upmem-480 with so many DPUs and products of 6 bits. Nothing is fitted, "
        "but the loops were counted with the times known. 30 %: absolute times on a machine whose clock is not stated.",
        points,
        tolerance=0.30,
        assumed=("a clock of 350 MHz", "instructions of a loop, an address and an access: 2, 1 and 1"),
    )


def _milliseconds(overrides: Mapping[str, str]) -> dict[str, float]:
    found = {}
    for row in _rows():
        own = {"compute.operand_bits": _FACTOR_BITS, **overrides, "compute.dpus": row["n_dpus"]}
        device = device_for(load_hardware(_PART, own))
        found[_label(row)] = 1e3 * device.costs([_KERNELS[row["benchmark"]]])[0].latency_s
    return found


def _rows() -> list[Mapping[str, str]]:
    return case_rows("upmem", "prim.csv")


def _label(row: Mapping[str, str]) -> str:
    return f"{row['benchmark']}, {row['n_dpus']} DPUs"


VARIED.register("upmem-prim")(Varied(_PART, _milliseconds))
