# SPDX-License-Identifier: Apache-2.0
"""Processing in memory: DRAM stacks whose banks or logic die multiply."""

from __future__ import annotations

from typing import Literal

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    Count,
    DTypeName,
    Efficiency,
    FlopsPerSecond,
    Frozen,
    Hertz,
    Joules,
    JoulesPerByte,
    Part,
    Seconds,
    Watts,
)


class PimMemory(Frozen):
    """The stacks as memory. ``capacity`` and the external ``bandwidth`` are those of one stack."""

    stacks: Count
    capacity: Bytes
    bandwidth: BytesPerSecond
    efficiency: Efficiency


class PimCommands(Frozen):
    """The all-bank commands of one stack.

    One column command reads ``column`` bytes in each of ``banks`` banks of one of ``channels``
    channels; a row holds ``row`` bytes of one bank. Times are whole cycles of ``clock``:
    ``interval`` between column commands (tCCD_AB), ``rcd``, ``rtp``, ``rp``, ``ras`` and ``rc`` of
    the all-bank activation, ``rfc`` of a refresh every ``refi``.
    """

    channels: Count
    banks: Count
    column: Bytes
    row: Bytes
    clock: Hertz
    interval: Count
    rcd: Count
    rtp: Count
    rp: Count
    ras: Count
    rc: Count
    rfc: Count
    refi: Count


class PimCompute(Frozen):
    """``units`` of one stack, each with ``macs`` multiply-accumulates a cycle of ``clock``, by dtype.

    ``vector`` is the rate of one stack's unit for softmax and element-wise operators, ``launch``
    the time to start any operator. ``patterns`` are the N:M weights whose indexes a unit can
    follow; weights of any other pattern are stored and read as dense.
    """

    units: Count
    macs: dict[DTypeName, Count]
    clock: Hertz
    vector: FlopsPerSecond
    launch: Seconds
    patterns: tuple[str, ...] = ()


class PimEnergy(Frozen):
    """Price of each action, and power that is drawn whatever runs.

    ``activate`` is one row of one bank, ``internal_byte`` a byte from a bank to its unit,
    ``external_byte`` a byte between a bank and the stack's pins.
    """

    activate: Joules
    internal_byte: JoulesPerByte
    external_byte: JoulesPerByte
    mac: Joules
    flop: Joules
    static: Watts


@PARTS.register("pim")
class PimPart(Part):
    """A set of PIM stacks; ``level`` says where the units sit."""

    kind: Literal["pim"]
    level: Literal["bank", "bank_group", "logic"]
    memory: PimMemory
    commands: PimCommands
    compute: PimCompute
    energy: PimEnergy

    @property
    def column_bandwidth(self) -> float:
        """Bytes/s that the column commands of all stacks read, rows open and no refresh."""
        c = self.commands
        return self.memory.stacks.si * c.channels.si * c.banks.si * c.column.si * c.clock.si / c.interval.si
