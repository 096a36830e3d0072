"""GPUs."""

from __future__ import annotations

from typing import Literal

from simsparse.config.hardware import PARTS
from simsparse.config.parts.gpu_gemm import GpuGemm
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    Count,
    FlopsPerSecond,
    Frozen,
    Hertz,
    Joules,
    JoulesPerByte,
    Part,
    Ratio,
    Seconds,
    Share,
    Watts,
)


class GpuCompute(Frozen):
    """Streaming multiprocessors and dense peak rates by dtype.

    ``clock`` is the boost clock at which the tensor peaks hold. ``tensor`` are matrix units without
    sparsity, ``vector`` the CUDA cores; ``sparse24`` is the factor that 2:4 weights raise the
    tensor peak by, null where the card has no such path.
    """

    sms: Count
    clock: Hertz
    tensor: dict[str, FlopsPerSecond]
    vector: dict[str, FlopsPerSecond]
    sparse24: Ratio | None = None


class GpuMemory(Frozen):
    """Device memory; ``efficiency`` is the share of ``bandwidth`` that long streams reach."""

    capacity: Bytes
    bandwidth: BytesPerSecond
    efficiency: Share


class GpuCache(Frozen):
    """The L2 cache; ``bandwidth`` as a kernel that streams from it sees."""

    capacity: Bytes
    bandwidth: BytesPerSecond


class GpuLaunch(Frozen):
    """Seconds from one kernel's start to the next of an empty kernel.

    ``graph`` inside a replayed CUDA graph, ``eager`` launched one by one from the host without
    waiting, ``sync`` with a wait for the device after each.
    """

    graph: Seconds
    eager: Seconds
    sync: Seconds


class GpuPower(Frozen):
    """Power limit of the card, and what it draws when idle at working clocks."""

    limit: Watts
    idle: Watts


class GpuEnergy(Frozen):
    """Price of each action. ``tensor_mac`` and ``tensor24_mac`` are by dtype, per executed product."""

    hbm_read_byte: JoulesPerByte
    hbm_write_byte: JoulesPerByte
    tensor_mac: dict[str, Joules]
    tensor24_mac: dict[str, Joules] | None = None
    vector_flop: Joules


@PARTS.register("gpu")
class GpuPart(Part):
    kind: Literal["gpu"]
    compute: GpuCompute
    memory: GpuMemory
    l2: GpuCache
    launch: GpuLaunch
    gemm: GpuGemm
    power: GpuPower
    energy: GpuEnergy
