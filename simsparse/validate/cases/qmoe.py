# SPDX-License-Identifier: Apache-2.0
"""QMoE: bits a weight of its ternary codebook, against the rate of its largest checkpoint."""

from __future__ import annotations

import numpy as np

from simsparse.sparsity.formats.ternary_codebook import TernaryCodebook
from simsparse.validate.case import CASES, CasePoint, CaseReport, Sensitivity

ROWS, COLUMNS = 64, 6144
"""Rows of the drawn matrix, and columns as in the widest experts of switch-c-2048."""
ZEROS, VALUE_BITS = 0.886, 16
POINT = "bits a parameter, switch-c-2048"


@CASES.register("qmoe")
def qmoe() -> CaseReport:
    """The rate of drawn ternary weights, within 10 %."""
    return CaseReport(
        "qmoe",
        "Weights below one bit: QMoE's codebook",
        "Frantar and Alistarh, QMoE, MLSys 2024 (arXiv 2310.16795): 3,142 GB of bf16 weights become 158.6 GB, 0.807 "
        "bits a parameter, with 88.6 % zeros.",
        f"A matrix of {ROWS} x {COLUMNS} ternary weights, drawn independently with the published share of zeros, "
        "encoded by the format ternary_codebook, whose dictionary follows the paper's procedure.",
        [CasePoint(POINT, 0.807, bits(ZEROS), "bit")],
        tolerance=0.1,
        assumed=(
            "weights are independent, positive as often as negative",
            "parameters that stay uncompressed left out",
        ),
        sensitivity=[
            Sensitivity(POINT, "share of zeros", f"{100 * zeros:g} %", bits(zeros)) for zeros in (0.857, 0.864, 0.90)
        ],
    )


def bits(zeros: float) -> float:
    """Stored bits a weight at a share of ``zeros``."""
    ones = (1 - zeros) / 2
    drawn = np.random.default_rng(0).choice(np.array([0, -1, 1], np.int8), (ROWS, COLUMNS), p=[zeros, ones, ones])
    return TernaryCodebook().encode(drawn).bits(VALUE_BITS) / drawn.size
