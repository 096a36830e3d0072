"""Dataflows: how long a GEMM keeps a systolic array busy, by closed form or by walking real masks."""

from simsparse.dataflow.base import DATAFLOWS, Dataflow, Gemms, PeArray, Walk
from simsparse.dataflow.modes import fastest, modes
from simsparse.dataflow.traffic import Buffers, Traffic, dram_traffic

get = DATAFLOWS.get

__all__ = [
    "DATAFLOWS",
    "Buffers",
    "Dataflow",
    "Gemms",
    "PeArray",
    "Traffic",
    "Walk",
    "dram_traffic",
    "fastest",
    "get",
    "modes",
]
