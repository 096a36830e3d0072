# SPDX-License-Identifier: Apache-2.0
"""Devices from parts and standards, and from configuration files of Ramulator 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.dram import DramCommands, DramStandard, read_standard, value_of
from simsparse.config.parts.memory import MemoryPart
from simsparse.config.parts.pim import PimDram, PimPart
from simsparse.config.quantity import Part, Quantity
from simsparse.config.ramulator import RamulatorChannel, is_ramulator, read_ramulator
from simsparse.dram.device import (
    COMMANDS,
    Bus,
    Constraint,
    DataClock,
    DramDevice,
    Effect,
    LockStep,
    ProgramController,
    Refresh,
)
from simsparse.errors import SpecError

_COLUMN = (Effect.READ, Effect.WRITE, Effect.READ_CLOSE, Effect.WRITE_CLOSE)


def device_of(part: str | Path | Part | DramDevice) -> DramDevice:
    """The device behind a name, a file (a part's or of Ramulator 2), a part or itself. Raises SpecError."""
    if isinstance(part, DramDevice):
        return part
    if isinstance(part, str | Path) and is_ramulator(part):
        return ramulator_device(read_ramulator(part))
    loaded = load_hardware(str(part)) if isinstance(part, str | Path) else part
    if not isinstance(loaded, MemoryPart):
        raise SpecError(f"{loaded.name} is a {loaded.kind}; the DRAM core runs memory parts", key="part")
    if loaded.dram is None:
        raise SpecError(f"{loaded.name} has no section dram: its commands are not described", key="part")
    return part_device(loaded, loaded.dram)


def loaded_part(part: str | Path | Part | DramDevice) -> MemoryPart | None:
    """The memory part behind a name, a file or itself; None for a device or a configuration file of Ramulator 2."""
    if isinstance(part, DramDevice) or (isinstance(part, str | Path) and is_ramulator(part)):
        return None
    loaded = load_hardware(str(part)) if isinstance(part, str | Path) else part
    return loaded if isinstance(loaded, MemoryPart) else None


def pim_device(part: PimPart) -> DramDevice:
    """One channel of ``part`` with its PIM commands. Raises SpecError where the part does not describe them."""
    if part.dram is None:
        raise SpecError(f"{part.name} has no section dram: its commands are not described", key="dram")
    given = read_standard(part.dram.standard).given
    timing = part.dram.timing | {timing: getattr(part.commands, name) for timing, name in given.items()}
    return _channel(part.name, part.dram, timing, 1 / part.commands.clock.si, part.commands.column.whole)


def part_device(part: MemoryPart, dram: DramCommands) -> DramDevice:
    """One channel of ``part``. Raises SpecError."""
    return _channel(part.name, dram, dict(dram.timing), dram.tick.si, part.burst.whole)


def _channel(
    name: str, dram: DramCommands | PimDram, timing: Mapping[str, Quantity | int], tick_s: float, access: int
) -> DramDevice:
    standard = read_standard(dram.standard)
    sizes = {"Channel": 1} | {level: size.whole for level, size in dram.levels.items()}
    if set(sizes) != set(standard.levels):
        raise SpecError(
            f"levels {', '.join(dram.levels)}: {dram.standard} has {', '.join(standard.levels[1:])}", key=name
        )
    constraints = tuple(
        Constraint(c.level, c.preceding, c.following, value_of(c.ticks, timing), c.window, c.siblings)
        for c in standard.constraints
    )
    return _device(
        name, standard, {level: sizes[level] for level in standard.levels}, timing,
        with_bus_times(standard, constraints), tick_s, access,
    )  # fmt: skip


def ramulator_device(channel: RamulatorChannel) -> DramDevice:
    """One channel of a configuration file of Ramulator 2, its constraints as they stand there. Raises SpecError."""
    standard = read_standard(channel.standard.lower())
    _check_lengths(channel, standard)
    counts = dict(zip(standard.levels, channel.counts, strict=True))
    counts["Column"] //= standard.beats
    names = tuple(standard.commands)[: channel.commands]
    timing = dict(zip(standard.timing, channel.timing, strict=True))
    constraints = tuple(
        Constraint(standard.levels[c.level], tuple(names[i] for i in c.preceding),
                   tuple(names[i] for i in c.following), c.ticks, c.window, c.siblings)
        for c in channel.constraints
    )  # fmt: skip
    access = standard.beats * channel.width_bits // 8
    return _device(channel.name, standard, counts, timing, constraints, timing["tCK_ps"] * 1e-12, access, names)


def _check_lengths(channel: RamulatorChannel, standard: DramStandard) -> None:
    """Whether a configuration file lists what its standard has. Raises SpecError."""
    for key, found, expected in (
        ("org.count", len(channel.counts), len(standard.levels)),
        ("timing", len(channel.timing), len(standard.timing)),
    ):
        if found != expected:
            raise SpecError(f"{found} values; {standard.standard} has {expected}", file=channel.name, key=key)
    commands = min(channel.commands, len(standard.commands))
    for number, c in enumerate(channel.constraints):
        if not 0 <= c.level < len(standard.levels) - 2 or not set(c.preceding + c.following) <= set(range(commands)):
            message = f"levels are 0 to {len(standard.levels) - 3}, commands 0 to {commands - 1}"
            raise SpecError(message, file=channel.name, key=f"timing_constraints[{number}]")


def with_bus_times(standard: DramStandard, constraints: tuple[Constraint, ...]) -> tuple[Constraint, ...]:
    """``constraints`` as they hold between the first ticks of commands that take several on the bus.

    A device begins a command with its last tick. The bus is taken meanwhile for the commands that share it.
    """
    ticks = standard.commands
    moved = [
        Constraint(c.level, (before,), (after,), c.ticks + ticks[before] - ticks[after], c.window, c.siblings)
        for c in constraints
        for before in c.preceding
        for after in c.following
    ]
    one = Bus(standard.bus) is Bus.ONE
    for command, length in ticks.items():
        sharing = tuple(other for other in ticks if one or _is_column(standard, other) == _is_column(standard, command))
        if length > 1:
            moved.append(Constraint("Channel", (command,), sharing, length))
    return tuple(moved)


def _is_column(standard: DramStandard, command: str) -> bool:
    return command in standard.lockstep or command in standard.moves or COMMANDS.get(command) in _COLUMN


def _device(
    name: str, standard: DramStandard, sizes: Mapping[str, int], timing: Mapping[str, Quantity | int],
    constraints: tuple[Constraint, ...], tick_s: float, access: int, commands: tuple[str, ...] = (),
) -> DramDevice:  # fmt: skip
    def ticks(formula: str) -> int:
        return value_of(formula, timing)

    clock = standard.data_clock
    present = commands or tuple(standard.commands)
    return DramDevice(
        name, standard.standard, sizes, present, constraints, tick_s, access, ticks(standard.burst),
        ticks(standard.read_latency), standard.scope, Bus(standard.bus),
        {kind: Refresh(r.command, ticks(r.interval)) for kind, r in standard.refresh.items()
         if r.command in present and r.interval in timing},
        None if clock is None else DataClock(ticks(clock.read_latency), ticks(clock.write_latency), ticks(clock.burst),
                                             ticks(clock.after), ticks(clock.activate)),
        {column: LockStep(many.spans, many.opens, many.closes) for column, many in standard.lockstep.items()},
        standard.close_all, standard.moves, standard.inputs, standard.results,
        None if standard.controller is None else ProgramController(**dict(standard.controller)),
    )  # fmt: skip
