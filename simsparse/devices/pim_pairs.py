# SPDX-License-Identifier: Apache-2.0
"""Products and element-wise operators of HBM-PIM as programs: modes, registers, and accesses that drive instructions.

A channel goes to its all-bank mode (each bank is parked by a read, then keys are written), gets its instructions, and
runs one with every access. A tile of a product is 8 outputs of every unit times 128 inputs: 8 writes put inputs into
registers, 64 reads multiply, even input tiles from the even banks and then odd ones from the odd banks; 8 writes put
the sums into the banks. Source: the order of commands of the kernels of Samsung's PIM simulator.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from simsparse.dram.device import DramDevice
from simsparse.dram.layout import Ints
from simsparse.dram.program import Program

_REGISTERS = 8
"""Registers of each of a unit's two files."""
_TILE = _REGISTERS * _REGISTERS
"""Columns of a tile in each bank."""
_PARK, _TO_ALL, _TO_ONE, _CONTROL = 1 << 12, 0x17FF, 0x1FFF, 0x3FFF
"""Rows: where banks are parked, and whose access changes modes or reaches registers."""
_GROUP = 4
"""Banks of a bank group."""


class PairProgram:
    """Writes programs of one channel of ``device``."""

    def __init__(self, device: DramDevice) -> None:
        self._device, self._program = device, Program(device)

    def product(self, outputs: int, inputs: int, lanes: int) -> Ints:
        """(N, 4) ``outputs`` of this channel's units, sums of ``inputs`` elements, ``lanes`` in a column."""
        units = self._device.banks // self._device.sizes["Bank"]
        output_tiles, tiles = ceil(outputs / (units * _REGISTERS)), ceil(inputs / (lanes * _REGISTERS))
        self._begin()
        for output in range(output_tiles):
            self._write(0, _CONTROL)
            for side in (0, 1):
                for tile in range(side, tiles, 2):
                    self._access("PWR", 1, _CONTROL, 8, _REGISTERS)
                    first = _TILE * (tile // 2 + output * tiles // 2)
                    for part in range(0, _TILE, _REGISTERS):
                        self._access("PRD", side, 0, first + part, _REGISTERS)
            self._access("PWR", 1, 0, output_tiles * tiles // 2 * _TILE + output * _REGISTERS, _REGISTERS)
            self._write(0, _CONTROL)
        return self._end()

    def added(self, elements: int, lanes: int) -> Ints:
        """(N, 4) the sum of two vectors of ``elements`` of this channel: reads of both, writes of the result."""
        self._begin()
        self._write(0, _CONTROL)
        for tile in range(elements // (self._device.banks * _REGISTERS * lanes)):
            for side in (0, 1):
                for command, row in (("PRD", 0), ("PRD", 128), ("PWR", 256)):
                    self._access(command, side, row, tile * _REGISTERS, _REGISTERS)
        self._write(0, _CONTROL)
        return self._end()

    def host(self, reads: int, writes: int) -> Ints:
        """(N, 4) what a host without units does: accesses in order, over the banks of a group, groups, a row."""
        for command, first, count in (("RD", 0, reads), ("WR", reads, writes)):
            number = np.arange(first, first + count)
            bank = number % _GROUP + number // _GROUP % (self._device.banks // _GROUP) * _GROUP
            column = number // self._device.banks
            self._program.add(command, bank, *np.divmod(column, self._device.sizes["Column"]))
            self._program.barrier()
        return self._program.steps()

    def _begin(self) -> None:
        self._park()
        self._batch("WR", [0, 1, 2 * _GROUP, 2 * _GROUP + 1], _TO_ALL)
        self._write(1, _CONTROL)

    def _end(self) -> Ints:
        self._batch("PWR", [0, 1], _TO_ONE)
        self._park()
        return self._program.steps()

    def _park(self) -> None:
        groups = self._device.banks // _GROUP
        self._batch("RD", [group * _GROUP + bank for bank in range(_GROUP) for group in range(groups)], _PARK)

    def _write(self, side: int, row: int) -> None:
        """One write in all-bank mode, alone."""
        self._batch("PWR", [side], row)

    def _access(self, command: str, side: int, row: int, first: int, count: int) -> None:
        """``count`` columns in all-bank mode, from number ``first`` after the beginning of ``row``."""
        column = np.arange(first, first + count)
        more, column = np.divmod(column, self._device.sizes["Column"])
        self._last_apart(command, np.full(count, side), row + more, column)

    def _batch(self, command: str, banks: list[int], row: int) -> None:
        zero = np.zeros(len(banks), np.int64)
        self._last_apart(command, np.array(banks), zero + row, zero)

    def _last_apart(self, command: str, bank: Ints, row: Ints, column: Ints) -> None:
        """A batch whose last command waits until the others went; what follows waits for it."""
        self._program.add(command, bank[:-1], row[:-1], column[:-1])
        self._program.barrier()
        self._program.add(command, bank[-1:], row[-1:], column[-1:])
        self._program.barrier()
