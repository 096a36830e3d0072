# SPDX-License-Identifier: Apache-2.0
"""Dataflows: how long a GEMM keeps a systolic array busy, by closed form or with real masks."""

from simsparse.dataflow.base import DATAFLOWS, ArrayCycles, Dataflow, Gemms, PeArray
from simsparse.dataflow.modes import fastest, modes
from simsparse.dataflow.traffic import Buffers, Traffic, dram_traffic

__all__ = [
    "DATAFLOWS",
    "ArrayCycles",
    "Buffers",
    "Dataflow",
    "Gemms",
    "PeArray",
    "Traffic",
    "dram_traffic",
    "fastest",
    "modes",
]
