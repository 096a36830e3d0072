# SPDX-License-Identifier: Apache-2.0
"""Programs of PIM commands: how they are written down, and their run on one channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from simsparse.core.memo import by_identity
from simsparse.dram.device import DramDevice
from simsparse.dram.layout import Ints, StateWord, TableWord
from simsparse.dram.lockstep import BARRIER, new_run, run_program
from simsparse.dram.log import new_log
from simsparse.dram.policy import ControllerPolicy
from simsparse.dram.tables import new_channel, tables_of
from simsparse.errors import SimulationError, SpecError


@dataclass(frozen=True)
class ProgramRun:
    """What a program did on one channel: ``ticks`` to its last command, and its commands by name."""

    ticks: int
    tick_s: float
    commands: Mapping[str, int]
    log: Ints

    @property
    def seconds(self) -> float:
        """Seconds of the run."""
        return self.ticks * self.tick_s


class Program:
    """Commands of one channel, in order."""

    def __init__(self, device: DramDevice) -> None:
        self.device = device
        self._number = {name: number for number, name in enumerate(device.commands)}
        self._blocks: list[Ints] = []

    def add(self, command: str, bank: Ints | int, row: Ints | int = -1, column: Ints | int = 0) -> None:
        """Add commands of one name to ``bank``, ``row`` and ``column``, numbers or arrays of one length."""
        block = np.empty((np.broadcast(bank, row, column).size, 4), np.int64)
        for place, values in enumerate((self._number[command], bank, row, column)):
            block[:, place] = values
        self._blocks.append(block)

    def barrier(self) -> None:
        """Nothing after goes before all that came before went, but rows open."""
        self._blocks.append(np.array([[BARRIER, 0, -1, 0]], np.int64))

    def steps(self) -> Ints:
        """(N, 4) what ``run_program`` takes."""
        return np.concatenate(self._blocks) if self._blocks else np.zeros((0, 4), np.int64)


def run_steps(device: DramDevice, steps: Ints, refresh: bool = True, logged: bool = False) -> ProgramRun:
    """Run a program on one channel of ``device``, banks closed before, the first refresh one interval from its start.

    Raises SpecError for a device without a controller of programs, SimulationError where no command may ever go.
    """
    if device.controller is None:
        raise SpecError(f"{device.name} has no controller of programs", key="controller")
    t, sets = _tables(device, refresh)
    s, run = new_channel(t), new_run(device.controller.close_unused)
    if refresh:
        s[StateWord.NEXT_REFRESH] = t[TableWord.INTERVAL] // device.controller.stagger
    log = new_log(4 * len(steps) + 64 if logged else 0)
    if not run_program(t, s, sets, steps, run, device.controller.window, log):
        raise SimulationError(f"no command of {device.name} may go after tick {run[0]}")
    issued = s[t[TableWord.ISSUED] : t[TableWord.ISSUED] + len(device.commands)].tolist()
    commands = {name: count for name, count in zip(device.commands, issued, strict=True) if count}
    return ProgramRun(int(run[0]), device.tick_s, commands, log[1 : log[0, 0] + 1])


@by_identity(maxsize=64)
def _tables(device: DramDevice, refresh: bool) -> tuple[Ints, Ints]:
    """What programs on ``device`` read and do not change."""
    t = tables_of(device, ControllerPolicy(), device.refreshes["all-bank"] if refresh else None)
    return t, lockstep_sets(device)


def lockstep_sets(device: DramDevice) -> Ints:
    """(K, 3 + banks) of each command: what opens its row, what closes another, how many banks it acts on, and which."""
    sets = np.zeros((len(device.commands), 3 + device.banks), np.int64)
    sets[:, :2] = -1
    number = {name: place for place, name in enumerate(device.commands)}
    for name in ("RD", "WR"):
        if name in number:
            sets[number[name], :3] = number["ACT"], number["PREpb"], 1
    spans = [(name, many.spans) for name, many in device.lockstep.items()]
    for name, many in device.lockstep.items():
        sets[number[name], :2] = number[many.opens], number[many.closes]
        spans += [(many.opens, many.spans), (many.closes, many.spans)]
    if device.close_all is not None:
        spans.append((device.close_all, device.levels))
        sets[[number[refresh.command] for refresh in device.refreshes.values()], 1] = number[device.close_all]
    for name, levels in spans:
        offsets = bank_offsets(device, levels)
        sets[number[name], 2], sets[number[name], 3 : 3 + len(offsets)] = len(offsets), offsets
    return sets


def bank_offsets(device: DramDevice, spans: Sequence[str]) -> list[int]:
    """Banks that differ from bank 0 in the levels ``spans`` alone."""
    choices = [range(device.sizes[level]) if level in spans else range(1) for level in device.levels]
    return [flat_bank(device, place) for place in product(*choices)]


def flat_bank(device: DramDevice, place: Sequence[int]) -> int:
    """Number of a bank of a channel from its place by level."""
    bank = 0
    for level, number in zip(device.levels, place, strict=True):
        bank = bank * device.sizes[level] + number
    return bank
