# SPDX-License-Identifier: Apache-2.0
"""What a DRAM is to the core: levels, commands and the constraints between them, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from math import prod

from simsparse.errors import SpecError, nearest

LEVELS = ("Channel", "PseudoChannel", "Rank", "Sid", "BankGroup", "BankPair", "Bank", "Row", "Column")
"""Names that levels may have, outermost first; a device has Channel, Bank, Row and Column and any of the others."""

MAX_BANKS = 1 << 16
"""Most banks of a channel; the core keeps ready times of every command for each."""


class Effect(IntEnum):
    """What a command does to the banks that it names."""

    OPEN = 0
    """Opens a row of one bank."""
    OPEN_FIRST = 1
    """First half of an activation that takes two commands."""
    OPEN_SECOND = 2
    CLOSE = 3
    """Closes one bank."""
    CLOSE_ALL = 4
    """Closes every bank of a scope."""
    READ = 5
    WRITE = 6
    READ_CLOSE = 7
    """Reads, and closes the bank (auto-precharge)."""
    WRITE_CLOSE = 8
    REFRESH_ALL = 9
    REFRESH_BANK = 10
    SYNC_READ = 11
    """Starts the data clock before a read; moves nothing."""
    SYNC_WRITE = 12
    CLOSE_SAME = 13
    """Closes the bank of one number in every bank group."""
    REFRESH_SAME = 14
    OPEN_MANY = 15
    """Opens a row of every bank of a lock-step set."""
    CLOSE_MANY = 16
    """Closes every bank of a lock-step set."""
    COMPUTE = 17
    """Reads a column of every bank of a lock-step set into units that multiply."""
    MOVE = 18
    """Moves data between buffers; needs no row."""


COMMANDS: Mapping[str, Effect] = {
    "ACT": Effect.OPEN,
    "ACT1": Effect.OPEN_FIRST,
    "ACT2": Effect.OPEN_SECOND,
    "PREpb": Effect.CLOSE,
    "PREab": Effect.CLOSE_ALL,
    "PREsb": Effect.CLOSE_SAME,
    "RD": Effect.READ,
    "WR": Effect.WRITE,
    "RDA": Effect.READ_CLOSE,
    "WRA": Effect.WRITE_CLOSE,
    "REFab": Effect.REFRESH_ALL,
    "REFpb": Effect.REFRESH_BANK,
    "REFsb": Effect.REFRESH_SAME,
    "RFMab": Effect.REFRESH_ALL,
    "RFMpb": Effect.REFRESH_BANK,
    "CAS_RD": Effect.SYNC_READ,
    "CAS_WR": Effect.SYNC_WRITE,
}
"""Every command that the core issues, and what it does."""

SCOPED = (Effect.CLOSE_ALL, Effect.REFRESH_ALL, Effect.CLOSE_SAME, Effect.REFRESH_SAME)
"""What concerns several banks of a scope."""
NEEDED = ("PREpb", "PREab", "RD", "WR", "RDA", "WRA")


class Bus(StrEnum):
    """How commands share the command bus of a channel."""

    ONE = "one"
    """One command per tick."""
    TWO = "two"
    """A column command and a row command per tick."""
    HALF_TICKS = "half ticks"
    """A tick is half a clock: column commands and activations at rising edges, precharges at both."""


@dataclass(frozen=True)
class Constraint:
    """``ticks`` at least from the ``window``-th last of the ``preceding`` commands to any of the ``following``.

    It holds among commands to the same node of ``level``; with ``siblings`` for the other nodes of the same parent.
    """

    level: str
    preceding: tuple[str, ...]
    following: tuple[str, ...]
    ticks: int
    window: int = 1
    siblings: bool = False


@dataclass(frozen=True)
class DataClock:
    """A data clock that runs only while data moves (WCK of LPDDR5).

    It stops ``after`` ticks past the last beat unless it never ``sleeps``; a read or write that finds it stopped needs
    a sync command first. The second half of an activation follows the first within ``activate`` ticks.
    """

    read_latency: int
    write_latency: int
    burst: int
    after: int
    activate: int
    sleeps: bool = True


@dataclass(frozen=True)
class Refresh:
    """A refresh command by name, and the ticks between two of them."""

    command: str
    interval: int


@dataclass(frozen=True)
class LockStep:
    """How a column command acts on many banks: on all that differ from the named one in the levels ``spans`` alone.

    ``opens`` and ``closes`` are the commands that open a row of those banks and close it.
    """

    spans: tuple[str, ...]
    opens: str
    closes: str


@dataclass(frozen=True)
class ProgramController:
    """A controller of programs: how many commands it holds, and whether it closes rows that none of them needs.

    It refreshes ``stagger`` ranks in turn, of which the first one runs the program.
    """

    window: int
    close_unused: bool
    stagger: int = 1


@dataclass(frozen=True)
class DramDevice:
    """One channel of a DRAM standard at one speed.

    ``sizes`` is how many nodes of a level lie in one of the level above; that of Column counts accesses. ``tick_s`` is
    seconds of a tick, ``access_bytes`` what one read or write moves, ``burst`` its ticks on the data bus,
    ``read_latency`` the ticks from a read command to its last beat, ``scope`` the level that all-bank commands cover.
    ``lockstep`` are the column commands of units in memory, ``close_all`` closes all banks of the channel before a
    refresh, ``moves`` need no row; ``inputs`` and ``results`` are those that bring vectors to units and take sums away.
    ``controller`` sends programs.
    """

    name: str
    standard: str
    sizes: Mapping[str, int]
    commands: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    tick_s: float
    access_bytes: int
    burst: int
    read_latency: int
    scope: str
    bus: Bus = Bus.ONE
    refreshes: Mapping[str, Refresh] = field(default_factory=dict)
    data_clock: DataClock | None = None
    lockstep: Mapping[str, LockStep] = field(default_factory=dict)
    close_all: str | None = None
    moves: tuple[str, ...] = ()
    inputs: str | None = None
    results: str | None = None
    controller: ProgramController | None = None

    def __post_init__(self) -> None:
        self._check_levels()
        self._check_rates()
        self._check_commands()
        for number, constraint in enumerate(self.constraints):
            self._check_constraint(number, constraint)

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Levels from the channel to the bank: those that constraints are about."""
        names = tuple(self.sizes)
        return names[: names.index("Bank") + 1]

    @cached_property
    def banks(self) -> int:
        """Banks of a channel."""
        return prod(self.sizes[level] for level in self.levels)

    def banks_of(self, level: str) -> int:
        """Banks of one node of ``level``."""
        return prod(self.sizes[below] for below in self.levels[self.levels.index(level) + 1 :])

    @cached_property
    def effects(self) -> Mapping[str, Effect]:
        """What each command does."""
        own = dict.fromkeys(self.moves, Effect.MOVE) | dict.fromkeys(filter(None, [self.close_all]), Effect.CLOSE_MANY)
        for name, many in self.lockstep.items():
            own |= {name: Effect.COMPUTE, many.opens: Effect.OPEN_MANY, many.closes: Effect.CLOSE_MANY}
        return {name: own[name] if name in own else COMMANDS[name] for name in self.commands}

    @property
    def accesses(self) -> int:
        """Accesses that a channel holds."""
        return self.banks * self.sizes["Row"] * self.sizes["Column"]

    @property
    def peak_bytes_per_s(self) -> float:
        """What the data buses of a channel move at most."""
        buses = self.sizes.get("PseudoChannel", 1)
        return buses * self.access_bytes / (self.burst * self.tick_s)

    def _check_levels(self) -> None:
        names = list(self.sizes)
        for name in names:
            if name not in LEVELS:
                raise SpecError(f"{name!r} is not a level; {nearest(name, LEVELS)}", key="levels")
        if sorted(names, key=LEVELS.index) != names or not {"Channel", "Bank", "Row", "Column"} <= set(names):
            raise SpecError(
                f"levels {', '.join(names)}: expected Channel, Bank, Row and Column, and others in the order of "
                f"{', '.join(LEVELS)}",
                key="levels",
            )
        for name, size in self.sizes.items():
            if size < 1:
                raise SpecError(f"{size} is not a number of {name}; expected 1 or more", key="levels")
        if self.sizes["Channel"] != 1:
            raise SpecError("a device describes one channel", key="levels")
        if self.banks > MAX_BANKS:
            raise SpecError(f"{self.banks} banks in a channel; expected {MAX_BANKS} at most", key="levels")

    def _check_rates(self) -> None:
        for key in ("tick_s", "access_bytes", "burst"):
            if not getattr(self, key) > 0:
                raise SpecError(f"{getattr(self, key)} is not above 0", key=key)

    def _check_commands(self) -> None:
        own = {*self.moves, *self.lockstep, *filter(None, [self.close_all])}
        own = own.union(*((many.opens, many.closes) for many in self.lockstep.values()))
        for name in self.commands:
            if name not in COMMANDS and name not in own:
                raise SpecError(f"{name!r} is not a command; {nearest(name, {*COMMANDS, *own})}", key="commands")
        for name in sorted(own - set(self.commands)):
            raise SpecError(f"{name!r} is not among the commands; {nearest(name, self.commands)}", key="lockstep")
        for many in self.lockstep.values():
            for level in many.spans:
                if level not in self.levels:
                    raise SpecError(f"{level!r} is not a level; {nearest(level, self.levels)}", key="lockstep")
        opening = "ACT1" if "ACT1" in self.commands else "ACT"
        for name in (*NEEDED, opening):
            if name not in self.commands and not self.lockstep:
                raise SpecError(f"{self.standard} has no {name}, which the controller needs", key="commands")
        if ("ACT1" in self.commands) != (self.data_clock is not None):
            raise SpecError("ACT1 and a data clock belong together", key="commands")

    def _check_constraint(self, number: int, constraint: Constraint) -> None:
        key = f"constraints[{number}]"
        if constraint.level not in self.levels:
            raise SpecError(f"{constraint.level!r} is not a level; {nearest(constraint.level, self.levels)}", key=key)
        for name in (*constraint.preceding, *constraint.following):
            if name not in self.commands:
                raise SpecError(f"{name!r} is not a command; {nearest(name, self.commands)}", key=key)
        if constraint.window < 1:
            raise SpecError(f"window {constraint.window} is not 1 or more", key=key)
        if constraint.siblings and constraint.window > 1:
            raise SpecError("a constraint among siblings has no window", key=key)
        deep = self.levels.index(constraint.level) > self.levels.index(self.scope)
        if constraint.window > 1 and deep and any(self.effects[name] in SCOPED for name in constraint.preceding):
            raise SpecError(f"{self.scope}-wide commands have no window below {self.scope}", key=key)
