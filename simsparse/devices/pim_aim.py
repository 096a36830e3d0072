# SPDX-License-Identifier: Apache-2.0
"""GDDR6-AiM as programs of commands: a unit at every bank of a channel, one buffer of a row for all of them.

Outputs spread over channels and banks. Of each row's width of inputs: they go into the buffer, then, for as many
outputs as a unit has sums, the sums are written, rows of weights are opened in all banks and multiplied column by
column, and the sums are read. A change between accesses to registers and other commands takes time, and commands go in
order. Source: the instructions of SK hynix' GDDR6-AiM, and the modes and timings of the AiM simulator.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from simsparse.dram.device import DramDevice
from simsparse.dram.layout import Ints
from simsparse.dram.program import Program

_AT_REGISTERS = ("WRGB", "WRMAC16", "RDMAC16", "RDAF16")
"""Commands that go while the channel is set to access registers."""
_FUNCTION_ROW = 1 << 29
"""Row that holds the table of a function."""


class AimProgram:
    """Writes a program of one channel of ``device``, whose units keep ``sums`` sums; a column has ``lanes`` elements.

    ``row`` is the last row that was used.
    """

    def __init__(self, device: DramDevice, sums: int, lanes: int) -> None:
        self.device, self.lanes = device, lanes
        self._sums, self._program = sums, Program(device)
        self._registers = False
        self.row = 0

    @property
    def columns(self) -> int:
        """Columns of a row, and of the buffer."""
        return self.device.sizes["Column"]

    def steps(self) -> Ints:
        """(N, 4) what ``run_steps`` takes."""
        return self._program.steps()

    def product(self, outputs: int, inputs: int, function: bool = False) -> None:
        """A vector of ``inputs`` times weights of ``outputs`` of every bank; a ``function`` of the sums if asked for.

        Outputs that take half a row or less share rows. The table of the function takes half of the sums.
        """
        groups = ceil(outputs / (self._sums // 2 if function else self._sums))
        in_group, width = ceil(outputs / groups), self.columns * self.lanes
        for begin in range(0, inputs, width):
            columns = ceil(min(width, inputs - begin) / self.lanes)
            in_row = self.columns // columns if inputs <= width else 1
            self.send("WRGB", columns)
            for first in range(0, outputs, in_group):
                rows = [self.next_row() if i % in_row == 0 else self.row for i in range(min(in_group, outputs - first))]
                self.sum_up(columns, rows, function and begin + width >= inputs)

    def sum_up(self, columns: int, rows: list[int], function: bool = False) -> None:
        """Sums of ``columns`` columns of each of ``rows``: written, multiplied, read."""
        self.send("WRMAC16", len(rows))
        self._set_registers(False)
        self._program.add("MAC16", 0, np.repeat(rows, columns), np.tile(np.arange(columns), len(rows)))
        for _ in rows if function else ():
            self.send("AF16", row=_FUNCTION_ROW)
            self.send("RDAF16")
        self.send("RDMAC16", len(rows))

    def next_row(self) -> int:
        """A row that was not used yet."""
        self.row += 1
        return self.row

    def send(self, command: str, count: int = 1, row: int = -1, bank: int = 0) -> None:
        """So many commands of one name, to one column after another, after a change of mode where it needs one."""
        self._set_registers(command in _AT_REGISTERS)
        self._program.add(command, bank, row, np.arange(count) % self.columns)

    def _set_registers(self, registers: bool) -> None:
        """Change the mode where it is the other one."""
        if registers != self._registers:
            self._program.add("TMOD", 0)
            self._registers = registers
