# SPDX-License-Identifier: Apache-2.0
"""Host processors."""

from __future__ import annotations

from typing import ClassVar, Literal

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    DTypeName,
    Efficiency,
    FlopsPerSecond,
    FormatName,
    Frozen,
    Joules,
    JoulesPerByte,
    Part,
    Seconds,
    Watts,
)
from simsparse.core.role import Role


class CpuMemory(Frozen):
    """The host's DRAM: all channels of the sockets that are used."""

    capacity: Bytes
    bandwidth: BytesPerSecond
    efficiency: Efficiency


class CpuGather(Frozen):
    """Copies of random rows into one buffer.

    ``row``: least seconds of a row with all cores at work; ``efficiency``: share of the memory's bandwidth,
    read and write counted, that long rows reach.
    """

    row: Seconds
    efficiency: Efficiency


class CpuCompute(Frozen):
    """Peak rates by dtype, all cores; ``efficiency`` is the share a large GEMM reaches."""

    peak: dict[DTypeName, FlopsPerSecond]
    efficiency: Efficiency
    launch: Seconds


class CpuEnergy(Frozen):
    """Price of each action, and power that is drawn whatever runs."""

    flop: Joules
    dram_byte: JoulesPerByte
    static: Watts


@PARTS.register("cpu")
class CpuPart(Part):
    """A host processor, as one pool of cores and one pool of DRAM; ``gather`` is null where it was not measured.
    ``decode`` as of a GpuPart."""

    role: ClassVar[Role] = Role.HOST
    kind: Literal["cpu"]
    compute: CpuCompute
    memory: CpuMemory
    gather: CpuGather | None = None
    energy: CpuEnergy
    decode: dict[FormatName, BytesPerSecond] | None = None
