# SPDX-License-Identifier: Apache-2.0
"""Processing in memory: DRAM stacks whose banks or logic die multiply."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from simsparse.config.hardware import PARTS
from simsparse.config.parts.dram import known_standard
from simsparse.config.quantity import (
    Bytes,
    BytesPerSecond,
    DTypeName,
    Efficiency,
    FlopsPerSecond,
    Frozen,
    Hertz,
    Joules,
    JoulesPerByte,
    Part,
    Seconds,
    Ticks,
    Watts,
    Whole,
)


class PimMemory(Frozen):
    """The stacks as memory. ``capacity`` and the external ``bandwidth`` are those of one stack."""

    stacks: Whole
    capacity: Bytes
    bandwidth: BytesPerSecond
    efficiency: Efficiency


class PimCommands(Frozen):
    """The all-bank commands of one stack.

    One column command reads ``column`` bytes in each of ``banks`` banks of one of ``channels``
    channels; a row holds ``row`` bytes of one bank. A channel has ``sets`` of so many banks, of which the others open
    their next rows while one is read. Times are whole cycles of ``clock``:
    ``interval`` between column commands (tCCD_AB), ``rcd``, ``rtp``, ``rp``, ``ras`` and ``rc`` of
    the all-bank activation, ``rfc`` of a refresh every ``refi``.
    """

    channels: Whole
    banks: Whole
    column: Bytes
    row: Bytes
    sets: Whole
    clock: Hertz
    interval: Whole
    rcd: Whole
    rtp: Whole
    rp: Whole
    ras: Whole
    rc: Whole
    rfc: Whole
    refi: Whole

    @model_validator(mode="after")
    def _fits(self) -> PimCommands:
        """A refresh ends before the next one is due, a row holds whole columns, an activation is within its cycle."""
        if self.rfc.si >= self.refi.si:
            raise ValueError(f"commands.rfc {self.rfc.text} is not below commands.refi {self.refi.text}")
        if self.row.si % self.column.si:
            raise ValueError(f"commands.row {self.row.text} holds no whole number of columns of {self.column.text}")
        if self.ras.si > self.rc.si:
            raise ValueError(f"commands.ras {self.ras.text} is over commands.rc {self.rc.text}")
        return self


class PimDram(Frozen):
    """The commands of one channel in full, for level 2.

    ``standard`` has the constraints, ``unit`` names the column command that the units obey, ``program`` the order of
    commands: AttAcc's, that of HBM-PIM with a unit for a pair of banks, that of GDDR6-AiM with one buffer and ``sums``
    sums of a unit, or columns alone. ``levels`` leaves out the channel; ``timing`` are the ticks that section commands
    does not state.
    """

    standard: Annotated[str, AfterValidator(known_standard)]
    program: Literal["attacc", "pairs", "aim", "columns"]
    unit: str
    sums: Whole | None = None
    levels: dict[str, Whole]
    timing: dict[str, Ticks]

    @model_validator(mode="after")
    def _counts_sums(self) -> PimDram:
        """The program of GDDR6-AiM, and no other, needs the number of sums."""
        if (self.program == "aim") != (self.sums is not None):
            raise ValueError("dram.sums belongs to dram.program aim")
        return self


class PimSelect(Frozen):
    """What units do about zeros of weights with a mask.

    ``gathers``: an index selector at each bank, which stores kept weights alone; else columns that are zero in all
    banks of a command are passed over. ``sorted``: outputs lie in the order of their kept weights.
    """

    gathers: bool
    sorted: bool


class PimCompute(Frozen):
    """``units`` of one stack, each with ``macs`` multiply-accumulates a cycle of ``clock``, by dtype.

    ``vector`` is the rate of one stack's unit for softmax and element-wise operators, ``launch``
    the time to start any operator. ``patterns`` are the N:M weights whose indexes a unit can
    follow; weights of any other pattern are stored and read as dense.
    """

    units: Whole
    macs: dict[DTypeName, Whole]
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
    dram: PimDram | None = None
    select: PimSelect | None = None
    compute: PimCompute
    energy: PimEnergy

    @property
    def column_bandwidth(self) -> float:
        """Bytes/s that the column commands of all stacks read, rows open and no refresh."""
        c = self.commands
        return self.memory.stacks.si * c.channels.si * c.banks.si * c.column.si * c.clock.si / c.interval.si
