# SPDX-License-Identifier: Apache-2.0
"""DRAM at command level: what a standard fixes in formulas, and a part's numbers for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from simsparse.config.quantity import (
    Amperes,
    Frozen,
    JoulesPerByte,
    Quantity,
    Seconds,
    Ticks,
    Volts,
    Whole,
    shown,
)
from simsparse.config.remember import read_noted
from simsparse.config.validated import validate_document
from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root, is_file

FOLDER = "hw_models/memory/standards"
Formula = str
"""Names of timings and whole numbers with ``+`` and ``-`` between them."""


class StandardConstraint(Frozen):
    """``ticks`` from any of the ``preceding`` commands to any of the ``following`` at a node of ``level``."""

    level: str
    preceding: Annotated[tuple[str, ...], Field(min_length=1)]
    following: Annotated[tuple[str, ...], Field(min_length=1)]
    ticks: Formula
    window: Annotated[int, Field(ge=1, le=64)] = 1
    siblings: bool = False


class StandardRefresh(Frozen):
    """A refresh command and the name of the ticks between two."""

    command: str
    interval: str


class StandardDataClock(Frozen):
    """Names of the timings of a data clock that sleeps."""

    read_latency: str
    write_latency: str
    burst: str
    after: str
    activate: str


class StandardLockstep(Frozen):
    """A column command of units in memory, and the commands that open and close its rows.

    All three act on all banks that differ from the named one in the levels of ``spans`` alone.
    """

    spans: tuple[str, ...]
    opens: str
    closes: str


class StandardController(Frozen):
    """Who sends programs: the commands held, and whether rows are closed when none of them needs them.

    It refreshes ``stagger`` ranks in turn, the one that runs the program first.
    """

    window: Annotated[int, Field(ge=1, le=1024)]
    close_unused: bool
    stagger: Annotated[int, Field(ge=1, le=64)] = 1


class DramStandard(Frozen):
    """A DRAM standard: commands with their ticks on the bus, levels, and constraints as formulas of timings.

    ``timing`` lists the names in the order in which configuration files of Ramulator 2 list their values; ``beats`` are
    those of one access, ``scope`` is the level that an all-bank command covers. ``lockstep`` are the column commands of
    units in memory, ``close_all`` closes all their banks, ``moves`` are the commands that move data between buffers and
    need no row, ``inputs`` and ``results`` those that bring vectors to the units and take sums away, ``controller``
    sends programs. ``given`` are the timings that a PIM part states in its section commands, by their names there.
    """

    standard: str
    description: str
    source: str
    levels: tuple[str, ...]
    scope: str
    bus: Literal["one", "two", "half ticks"]
    beats: int
    commands: dict[str, int]
    timing: tuple[str, ...]
    read_latency: Formula
    burst: Formula
    refresh: dict[str, StandardRefresh]
    data_clock: StandardDataClock | None = None
    lockstep: dict[str, StandardLockstep] = Field(default_factory=dict)
    close_all: str | None = None
    moves: tuple[str, ...] = ()
    inputs: str | None = None
    results: str | None = None
    controller: StandardController | None = None
    given: dict[str, str] = Field(default_factory=dict)
    constraints: tuple[StandardConstraint, ...]


def standard_names() -> list[str]:
    """Standards that have a file."""
    return sorted(path.stem for path in (data_root() / FOLDER).glob("*.yaml"))


def read_standard(name: str) -> DramStandard:
    """The standard called ``name``. Raises SpecError."""
    path = data_root() / FOLDER / f"{name}.yaml"
    if name not in standard_names() or not is_file(path):
        raise SpecError(f"{shown(name)} is not a DRAM standard; {nearest(name, standard_names())}", key="standard")
    document = read_noted(path)
    standard: DramStandard = validate_document(document, DramStandard, _mapping(document))
    return standard


def _mapping(document: Any) -> dict[str, Any]:
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    return dict(document.data)


def known_standard(name: str) -> str:
    """``name``. Raises ValueError where no standard has it."""
    if name not in standard_names():
        raise ValueError(f"{shown(name)} is not a DRAM standard; {nearest(name, standard_names())}")
    return name


class DramCurrents(Frozen):
    """Currents of one die at ``supply``, as data sheets define them; ``dies`` answer an access together.

    ``idd0``: activations one tRC apart; ``idd2n`` and ``idd3n``: standby, all banks closed and some open; ``idd4r`` and
    ``idd4w``: reads and writes without gaps; ``idd5``: refreshes without gaps.
    """

    supply: Volts
    dies: Whole
    idd0: Amperes
    idd2n: Amperes
    idd3n: Amperes
    idd4r: Amperes
    idd4w: Amperes
    idd5: Amperes


class DramInterface(Frozen):
    """Shares of a byte's price: ``tsv`` through the stack, ``io`` over the pins."""

    tsv: JoulesPerByte
    io: JoulesPerByte


class DramCommands(Frozen):
    """A part at command level: numbers of nodes by level and of ticks by timing, for one of its equal ``channels``.

    ``levels`` leaves out the channel; that of Column counts accesses. A tick is what commands go by: a clock, or half.
    """

    standard: Annotated[str, AfterValidator(known_standard)]
    channels: Whole
    tick: Seconds
    levels: dict[str, Whole]
    timing: dict[str, Ticks]
    currents: DramCurrents | None = None
    interface: DramInterface | None = None


def value_of(formula: str, timing: Mapping[str, Quantity | int]) -> int:
    """The ticks that ``formula`` comes to. Raises SpecError for a name that has no number."""
    total, sign = 0, 1
    for word in formula.replace("+", " + ").replace("-", " - ").split():
        if word in "+-":
            sign = 1 if word == "+" else -1
        elif word.isdecimal():
            total += sign * int(word)
        elif word in timing:
            number = timing[word]
            total += sign * (number.whole if isinstance(number, Quantity) else number)
        else:
            raise SpecError(f"{shown(formula)} needs {shown(word)}; {nearest(word, timing)}", key="timing")
    return total
