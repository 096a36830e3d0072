# SPDX-License-Identifier: Apache-2.0
"""Where operands of PIM products lie in the banks of a channel, and the commands that read and move them.

Outputs spread over the levels that a column command spans, but for banks, over which the elements of an output's sum
spread. Columns of a matrix follow each other in a row, then over banks that the command does not span; where it spans
no bank groups, over bank groups, ranks and banks first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod

import numpy as np

from simsparse.dram.device import DramDevice
from simsparse.dram.layout import Ints
from simsparse.dram.program import Program, flat_bank

Place = tuple[int, int, int]
"""Rank, bank group and bank of a buffer."""
SUMS_MOVED = 16
"""Sums that a unit keeps until they are moved."""


@dataclass(frozen=True)
class CommandRun:
    """Commands of one name, the same on ``channels`` channels: their banks, rows and columns, in order."""

    command: str
    channels: int
    bank: Ints
    row: Ints
    column: Ints

    @property
    def all(self) -> int:
        """Commands of all channels."""
        return len(self.bank) * self.channels

    def pieces(self, number: int) -> list[CommandPiece]:
        """In so many equal pieces; what does not divide is lost."""
        size = self.all // number
        return [CommandPiece(self, i * size, min((i + 1) * size, self.all)) for i in range(number)]

    @property
    def whole(self) -> CommandPiece:
        """All of them."""
        return CommandPiece(self, 0, self.all)


@dataclass(frozen=True)
class CommandPiece:
    """Commands ``start`` to ``stop`` of a run, counted over all channels: one of each channel in turn."""

    run: CommandRun
    start: int
    stop: int

    def write(self, program: Program, counts: Counter[str]) -> None:
        """Add what the first channel gets to ``program``, and what all get to ``counts``."""
        run = self.run
        own = slice(ceil(self.start / run.channels), ceil(self.stop / run.channels))
        program.add(run.command, run.bank[own], run.row[own], run.column[own])
        counts[run.command] += self.stop - self.start


class UnitLayout:
    """Operands of ``element_bytes`` an element, read by the column command ``command`` of ``device``."""

    def __init__(self, device: DramDevice, command: str, element_bytes: float) -> None:
        self._device, self._command = device, command
        self.lanes = max(1, int(device.access_bytes / element_bytes))
        """Elements of a column."""

    def spanned(self, level: str) -> int:
        """Nodes of ``level`` that the command spans."""
        return self._device.sizes.get(level, 1) if level in self._device.lockstep[self._command].spans else 1

    @cached_property
    def places(self) -> int:
        """Outputs that one command sums."""
        return prod(self.spanned(level) for level in self._device.levels if level != "Bank")

    def columns(self, inputs: int) -> int:
        """Columns of each bank that the sum of ``inputs`` elements takes."""
        return ceil(inputs / self.spanned("Bank") / self.lanes)

    def input_places(self, columns: int) -> list[Place]:
        """Buffers that an input vector goes to, one command for a column of each bank."""
        return [(0, 0, bank) for bank in range(self.spanned("Bank")) for _ in range(columns)]

    def result_places(self) -> list[Place]:
        """Units whose sums are moved."""
        return [(rank, group, 0) for group in range(self.spanned("BankGroup")) for rank in range(self.spanned("Rank"))]

    def macs(self, begin: int, number: Ints, channels: int, repeats: int = 1) -> CommandRun:
        """Commands for columns ``number`` of a matrix that lies from byte ``begin`` on, each ``repeats`` times."""
        sizes, spans = self._device.sizes, self._device.lockstep[self._command].spans
        rest = np.repeat(number, repeats)
        apart = [level for level in ("BankGroup", "Rank") if "BankGroup" not in spans and level not in spans]
        order = [*apart, "Bank", "Column"] if apart else ["Column", "Bank"]
        place: dict[str, Ints] = {}
        for level in order:
            if level not in spans:
                rest, place[level] = np.divmod(rest, sizes[level])
        column = place["Column"] + rest * sizes["Column"] + begin // self._device.access_bytes
        bank = np.zeros(len(rest), np.int64)
        for level in self._device.levels:
            bank = bank * sizes[level] + place.get(level, 0)
        row = column // sizes["Column"] % sizes["Row"]
        return CommandRun(self._command, channels, bank, row, column % sizes["Column"])

    def moves(self, command: str, channels: int, places: Sequence[Place]) -> CommandRun:
        """Moves to or from the buffers at ``places``."""
        named = [dict(zip(("Rank", "BankGroup", "Bank"), place, strict=True)) for place in places]
        flat = [flat_bank(self._device, [place.get(level, 0) for level in self._device.levels]) for place in named]
        rows = np.full(len(flat), -1, np.int64)
        return CommandRun(command, channels, np.array(flat, np.int64), rows, np.zeros(len(flat), np.int64))
