"""DRAM parts: one stack, channel or DIMM, with what it delivers and costs."""

from __future__ import annotations

from typing import Literal

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    Count,
    Efficiency,
    Frozen,
    Joules,
    JoulesPerByte,
    Part,
    Watts,
)


class MemoryEnergy(Frozen):
    """Price of an activation and of a byte that crosses the pins, and background power."""

    activate: Joules
    read_byte: JoulesPerByte
    write_byte: JoulesPerByte
    static: Watts


@PARTS.register("memory")
class MemoryPart(Part):
    """One unit of a memory technology; ``sequential`` and ``random`` are the shares of peak reached."""

    kind: Literal["memory"]
    capacity: Bytes
    bandwidth: BytesPerSecond
    channels: Count
    row: Bytes
    sequential: Efficiency
    random: Efficiency
    energy: MemoryEnergy
