# SPDX-License-Identifier: Apache-2.0
"""DRAM parts: one stack, channel or module, with what it delivers and costs."""

from __future__ import annotations

from typing import ClassVar, Literal

from simsparse.config.hardware import PARTS
from simsparse.config.parts.dram import DramCommands
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    Efficiency,
    Frozen,
    Joules,
    JoulesPerByte,
    Part,
    Watts,
)
from simsparse.core.role import Role


class MemoryEnergy(Frozen):
    """Price of an activation and of a byte that is read or written, and background power."""

    activate: Joules
    read_byte: JoulesPerByte
    write_byte: JoulesPerByte
    static: Watts


@PARTS.register("memory")
class MemoryPart(Part):
    """One unit of a memory technology.

    A row of ``row`` bytes is opened at a time, an access moves ``burst`` bytes. ``sequential`` and
    ``random`` are the shares of ``bandwidth`` that long streams and single accesses reach. ``dram`` is what the
    command-level core needs; None where it was not described.
    """

    role: ClassVar[Role] = Role.MEMORY
    kind: Literal["memory"]
    capacity: Bytes
    bandwidth: BytesPerSecond
    burst: Bytes
    row: Bytes
    sequential: Efficiency
    random: Efficiency
    energy: MemoryEnergy
    dram: DramCommands | None = None
