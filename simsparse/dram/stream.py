# SPDX-License-Identifier: Apache-2.0
"""Streams on the core: from a part and a pattern to ticks, row hits, commands and energy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simsparse.config.parts.memory import MemoryPart
from simsparse.config.quantity import Part
from simsparse.config.ramulator import is_ramulator, read_ramulator
from simsparse.dram import core
from simsparse.dram.device import DramDevice, Refresh
from simsparse.dram.energy import energy_of
from simsparse.dram.layout import Ints, StateWord, TableWord
from simsparse.dram.log import new_log
from simsparse.dram.mapping import AddressMap, address_map
from simsparse.dram.parts import device_of, loaded_part
from simsparse.dram.policy import ControllerPolicy
from simsparse.dram.requests import SEED, AccessStream, AddressTrace, Pattern, Writes, stream_of
from simsparse.dram.tables import new_channel, tables_of
from simsparse.errors import SimulationError, SpecError, nearest

REGION = 256 << 20
"""Bytes per channel over which random and strided accesses spread, unless a caller says more or the memory has less."""
LOGGED = 1 << 16


@dataclass(frozen=True)
class DramRun:
    """What a stream did. Counts are of all channels, ``ticks`` those until the last data moved on any of them.

    ``row_hits``, ``row_misses`` and ``row_conflicts`` say what an access found: its row open, no row open, or another
    row open. ``read_latency_ticks`` is the mean from the queue to the last beat. ``energy_j`` is by what was paid for,
    empty where the part has no prices. ``log`` lists commands in order, where it was asked for: tick, channel, command,
    bank, row and column.
    """

    device: str
    channels: int
    ticks: int
    tick_s: float
    bytes: int
    peak_bytes_per_s: float
    requests: int
    row_hits: int
    row_misses: int
    row_conflicts: int
    reads: int
    writes: int
    forwarded: int
    coalesced: int
    read_latency_ticks: float
    commands: Mapping[str, int]
    active_share: float
    energy_j: Mapping[str, float] = field(default_factory=dict)
    log: tuple[tuple[int, int, str, int, int, int], ...] = ()

    @property
    def ns(self) -> float:
        """Nanoseconds of the run."""
        return self.ticks * self.tick_s * 1e9

    @property
    def bytes_per_s(self) -> float:
        """Bandwidth."""
        return self.bytes / (self.ticks * self.tick_s)

    @property
    def share_of_peak(self) -> float:
        """Bandwidth over what the data buses move at most."""
        return self.bytes_per_s / self.peak_bytes_per_s

    @property
    def row_hit_rate(self) -> float:
        """Share of accesses that found their row open."""
        return self.row_hits / max(1, self.row_hits + self.row_misses + self.row_conflicts)

    @property
    def total_energy_j(self) -> float | None:
        """Joules of the run; None where the part has no prices."""
        return sum(self.energy_j.values()) if self.energy_j else None

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON-able values."""
        return {
            "device": self.device, "channels": self.channels, "ticks": self.ticks, "ns": self.ns,
            "bytes": self.bytes, "bytes_per_s": self.bytes_per_s, "peak_bytes_per_s": self.peak_bytes_per_s,
            "share_of_peak": self.share_of_peak, "requests": self.requests, "row_hits": self.row_hits,
            "row_misses": self.row_misses, "row_conflicts": self.row_conflicts, "row_hit_rate": self.row_hit_rate,
            "reads": self.reads, "writes": self.writes, "forwarded": self.forwarded, "coalesced": self.coalesced,
            "read_latency_ticks": self.read_latency_ticks, "commands": dict(self.commands),
            "active_share": self.active_share, "energy_j": dict(self.energy_j), "total_energy_j": self.total_energy_j,
        }  # fmt: skip


MAX_ACCESSES = 100_000_000
"""Accesses of a stream; about two minutes."""


def dram_stream(
    part: str | Path | Part | DramDevice, pattern: str = "seq", bytes: int = 1 << 20, *, stride: int = 0, rw: str = "r",
    mapping: str = "bgil", refresh: bool | str = True, channels: int | Literal["all"] = 1, region: int | None = None,
    trace: str | Path | None = None, policy: ControllerPolicy | None = None, seed: int = SEED, log: bool = False,
) -> DramRun:  # fmt: skip
    """Run a stream of accesses on a DRAM at command level.

    Parameters: ``part``, a memory part (name, file or value), a configuration file of Ramulator 2, or a device;
    ``pattern`` ``seq``, ``stride`` (every ``stride`` bytes) or ``random``, ``bytes`` in all, over ``region`` bytes; or
    ``trace``, a file of addresses. ``rw``: ``r``, ``w``, or ``mix`` (every third access writes). ``mapping``: ``bgil``
    (neighbours in different bank groups), ``robaraco`` (neighbours in one row), or levels from the lowest bits on.
    ``refresh``: True (all banks at once), False, ``all-bank``, ``per-bank`` or ``same-bank``. ``channels``: a number,
    or ``all`` of the part; each has a stream of its own, which comes as fast as its queues take it. ``log`` keeps every
    command.

    Raises SpecError for what can't be run, TraceError for a trace, SimulationError where no command may ever go.
    """
    device, chosen = device_of(part), policy or policy_of(part)
    count = _channels(part, channels)
    room = device.accesses * count
    within = region if region is not None else min(REGION * count, room * device.access_bytes)
    source: AddressTrace | AccessStream
    if trace is not None:
        source = AddressTrace(Path(trace), device.access_bytes)
    else:
        source = stream_of(pattern, rw, bytes, device.access_bytes, within, stride, room, seed)
    if isinstance(source, AccessStream) and source.count > MAX_ACCESSES:
        raise SpecError(f"{source.count} accesses; at most {MAX_ACCESSES} are run one by one", key="bytes")
    places = address_map(mapping, device, count)
    due = _refresh(device, part, refresh)
    equal = isinstance(source, AccessStream) and _equal_channels(source, places, count)
    tables = tables_of(device, chosen, due)
    runs = [_Channel(tables, LOGGED if log else 0) for _ in range(1 if equal else count)]
    for number, run in enumerate(runs):
        run.run(_requests(source, places, device, number))
    return _result(device, runs * count if equal else runs, count, loaded_part(part))


def _channels(part: str | Path | Part | DramDevice, channels: int | Literal["all"]) -> int:
    """How many channels run. Raises SpecError."""
    if channels == "all":
        loaded = loaded_part(part)
        return loaded.dram.channels.whole if loaded is not None and loaded.dram is not None else 1
    if not isinstance(channels, int) or not 1 <= channels <= 4096:
        raise SpecError(f"{channels!r:.60} is not a number from 1 to 4096, or all", key="channels")
    return channels


def policy_of(part: Any) -> ControllerPolicy:
    """The controller's policy: that of a configuration file of Ramulator 2, else the usual one."""
    if not isinstance(part, str | Path) or not is_ramulator(part):
        return ControllerPolicy()
    said = read_ramulator(part)
    return ControllerPolicy(
        said.read_queue, said.write_queue, said.write_low, said.write_high, close_after=said.close_after
    )


def _refresh(device: DramDevice, part: Any, refresh: bool | str) -> Refresh | None:
    """The refresh that was asked for; True is what a configuration file says, or all banks at once."""
    if refresh is False:
        return None
    kind: str | None = "all-bank" if refresh is True else refresh
    if refresh is True and isinstance(part, str | Path) and is_ramulator(part):
        kind = read_ramulator(part).refresh
    if kind is None:
        return None
    if kind not in device.refreshes:
        raise SpecError(
            f"{kind!r:.60} is not a refresh of {device.name}; {nearest(kind, device.refreshes)}", key="refresh"
        )
    return device.refreshes[kind]


def _equal_channels(stream: AccessStream, places: AddressMap, channels: int) -> bool:
    """Whether all channels get the same accesses: in order, the channel lowest, without a rest."""
    plain = stream.pattern is Pattern.SEQ and stream.writes is not Writes.MIX
    lowest = channels == 1 or places.fields[0] == ("Channel", channels)
    return channels > 1 and plain and lowest and stream.count % channels == 0 and stream.region % channels == 0


def _requests(
    source: AccessStream | AddressTrace, places: AddressMap, device: DramDevice, channel: int
) -> Iterator[Ints]:
    """Blocks of requests of one channel: bank, row, column, write, access number, first tick."""
    for numbers, writes, ticks in source.blocks():
        found = places.split(numbers)
        bank = np.zeros_like(numbers)
        for level in device.levels[1:]:
            bank = bank * device.sizes[level] + found.get(level, 0)
        zero = np.zeros_like(numbers)
        block = np.stack([bank, found.get("Row", zero), found.get("Column", zero), writes, numbers, ticks], axis=1)
        yield block[found["Channel"] == channel] if "Channel" in found else block


class _Channel:
    """A run of one channel."""

    def __init__(self, tables: Ints, logged: int) -> None:
        self.tables = tables
        self.state = new_channel(tables)
        self.clock = np.zeros(2, np.int64)
        self.log = new_log(logged)
        self.commands: list[Ints] = []

    def run(self, blocks: Iterator[Ints]) -> None:
        """Serve all requests. Raises SimulationError when no command may ever go."""
        block = next(blocks, np.empty((0, 6), np.int64))
        while True:
            following = next(blocks, None)
            self._advance(np.ascontiguousarray(block), following is None)
            if following is None:
                return
            block = following

    def _advance(self, block: Ints, last: bool) -> None:
        self.clock[1] = 0
        while True:
            end = core.advance(self.tables, self.state, self.log, block, self.clock, last)
            self.commands.append(self.log[1 : self.log[0, 0] + 1].copy())
            self.log[0, 0] = 0
            if end == core.STUCK:
                raise SimulationError(f"no command may go after tick {self.clock[0]}")
            if end != core.FULL:
                return


def _result(device: DramDevice, runs: list[_Channel], channels: int, part: MemoryPart | None) -> DramRun:
    states = [run.state for run in runs]
    ticks = max(int(run.clock[0]) for run in runs)

    def total(word: int) -> int:
        return sum(int(state[word]) for state in states)

    first = int(runs[0].tables[TableWord.ISSUED])
    commands = {name: total(first + number) for number, name in enumerate(device.commands)}
    served = total(StateWord.READS) + total(StateWord.WRITES) + total(StateWord.FORWARDED) + total(StateWord.COALESCED)
    active = sum(_active_ticks(run, ticks) for run in runs)
    scopes = channels * (device.banks // device.banks_of(device.scope))
    share = active / (scopes * ticks) if ticks else 0.0
    return DramRun(
        device.name, channels, ticks, device.tick_s, served * device.access_bytes,
        channels * device.peak_bytes_per_s, served,
        total(StateWord.HITS), total(StateWord.MISSES), total(StateWord.CONFLICTS),
        total(StateWord.READS), total(StateWord.WRITES), total(StateWord.FORWARDED), total(StateWord.COALESCED),
        total(StateWord.LATENCY) / max(1, total(StateWord.READS)),
        {name: count for name, count in commands.items() if count}, share,
        energy_of(part, device, commands, ticks, channels, share) if part else {}, _logged(device, runs),
    )  # fmt: skip


def _active_ticks(run: _Channel, end: int) -> int:
    """Ticks, summed over power states, in which a row was open; rows stay open after the last command."""
    power = run.state[run.tables[TableWord.POWER] : run.tables[TableWord.END]].reshape(-1, 3)
    return int(power[:, 2].sum() + (end - power[power[:, 0] > 0, 1]).sum())


def _logged(device: DramDevice, runs: list[_Channel]) -> tuple[tuple[int, int, str, int, int, int], ...]:
    rows = [
        (int(tick), channel, device.commands[command], int(bank), int(row), int(column))
        for channel, run in enumerate(runs)
        for block in run.commands
        for tick, command, bank, row, column in block
    ]
    key: Callable[[tuple[int, int, str, int, int, int]], tuple[int, int]] = lambda row: (row[0], row[1])  # noqa: E731
    return tuple(sorted(rows, key=key))
