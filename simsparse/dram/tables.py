# SPDX-License-Identifier: Apache-2.0
"""A device and a policy as the array ``t``, and a channel at rest as the array ``s``."""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np

from simsparse.dram.device import Bus, Constraint, DramDevice, Effect, Refresh
from simsparse.dram.layout import CLOSED, COLUMN, NEVER, ROW, BankWord, EntryWord, Ints, RuleWord, StateWord, TableWord
from simsparse.dram.policy import ControllerPolicy

_COLUMN_KINDS = (
    Effect.READ,
    Effect.WRITE,
    Effect.READ_CLOSE,
    Effect.WRITE_CLOSE,
    Effect.COMPUTE,
    Effect.MOVE,
)
_CLOSING = (
    Effect.CLOSE,
    Effect.CLOSE_ALL,
    Effect.CLOSE_SAME,
    Effect.READ_CLOSE,
    Effect.WRITE_CLOSE,
)
_REFRESHES = (Effect.REFRESH_ALL, Effect.REFRESH_BANK, Effect.REFRESH_SAME)
_COVER = {Effect.CLOSE_ALL: 1, Effect.REFRESH_ALL: 1, Effect.CLOSE_SAME: 2, Effect.REFRESH_SAME: 2}


def tables_of(device: DramDevice, policy: ControllerPolicy, refresh: Refresh | None) -> Ints:
    """The array ``t`` of a device under a policy; no refresh with None."""
    header = np.zeros(len(TableWord), np.int64)
    rules = _rules(device, _unused(device, policy, refresh))
    _numbers(header, device, policy, refresh)
    header[TableWord.WINDOW] = rules[:, 1 + RuleWord.WINDOW].max(initial=1)
    tables = _sections(device, rules)
    place = len(header)
    for name, table in tables.items():
        header[name] = place
        place += table.size
    _state_sections(header, len(device.commands), int(rules[:, 1 + RuleWord.HISTORY].max(initial=-1)) + 1)
    return np.concatenate([header, *(table.ravel() for table in tables.values())])


def new_channel(t: Ints) -> Ints:
    """The array ``s`` of a channel at rest: banks closed, nothing waits, the first refresh after one interval."""
    s = np.zeros(t[TableWord.END], np.int64)
    pool, banks = int(t[TableWord.POOL]), int(t[TableWord.BANKS])
    s[StateWord.NEXT] = s[StateWord.STALE] = 1
    s[StateWord.NEXT_REFRESH] = t[TableWord.INTERVAL] if t[TableWord.REFRESH] >= 0 else NEVER
    s[[StateWord.PAIR_TICK, StateWord.SYNCED]] = -1
    s[StateWord.FREE] = pool
    s[t[TableWord.HISTORY] : t[TableWord.ROWS]] = -1
    s[t[TableWord.HISTORY] + t[TableWord.WINDOW] : t[TableWord.ROWS] : t[TableWord.WINDOW] + 1] = 0
    rows = s[t[TableWord.ROWS] : t[TableWord.ROWS] + banks * len(BankWord)].reshape(banks, len(BankWord))
    rows[:, BankWord.ROW] = CLOSED
    rows[:, BankWord.DEADLINE] = NEVER
    s[t[TableWord.FREE] : t[TableWord.FREE] + pool] = t[TableWord.ENTRIES] + len(EntryWord) * np.arange(pool)
    return s


def _numbers(header: Ints, device: DramDevice, policy: ControllerPolicy, refresh: Refresh | None) -> None:
    header[TableWord.BANKS] = device.banks
    header[TableWord.POOL] = policy.read_queue + policy.write_queue + device.banks
    header[TableWord.HALF_TICKS] = device.bus is Bus.HALF_TICKS
    header[TableWord.BUSES] = 1 if device.bus is Bus.ONE else 2
    header[TableWord.READ_LATENCY] = device.read_latency
    header[TableWord.SCOPE_BANKS] = device.banks_of(device.scope)
    header[TableWord.BANK_NUMBERS] = device.sizes["Bank"]
    header[TableWord.PAIRING_BANKS] = device.banks_of("PseudoChannel" if "PseudoChannel" in device.sizes else "Channel")
    header[TableWord.WCK_READ] = -1
    header[TableWord.SPLIT] = "ACT1" in device.commands
    if device.data_clock is not None:
        clock = device.data_clock
        header[TableWord.ACTIVATE] = clock.activate
        if clock.sleeps:
            header[TableWord.WCK_READ] = clock.read_latency + clock.burst + clock.after
            header[TableWord.WCK_WRITE] = clock.write_latency + clock.burst + clock.after
    header[TableWord.HIT_CAP], header[TableWord.CLOSE_AFTER] = policy.hit_cap or 0, policy.close_after or 0
    header[TableWord.READ_QUEUE], header[TableWord.WRITE_QUEUE] = policy.read_queue, policy.write_queue
    header[TableWord.DRAIN_ABOVE] = int(policy.write_high * policy.write_queue)
    header[TableWord.DRAIN_BELOW] = ceil(policy.write_low * policy.write_queue)
    header[TableWord.REFRESH] = -1 if refresh is None else device.commands.index(refresh.command)
    header[TableWord.INTERVAL] = 0 if refresh is None else refresh.interval
    header[TableWord.QUEUE_ROOM] = 2 * device.banks + 8


def _state_sections(header: Ints, commands: int, histories: int) -> None:
    """Where the sections of ``s`` begin."""
    pool, banks = int(header[TableWord.POOL]), int(header[TableWord.BANKS])
    sizes = {
        TableWord.READY: commands * banks,
        TableWord.HISTORY: histories * banks * (int(header[TableWord.WINDOW]) + 1),
        TableWord.ROWS: banks * len(BankWord),
        TableWord.ORDER: 4 * pool,
        TableWord.ENTRIES: pool * len(EntryWord),
        TableWord.FREE: pool,
        TableWord.QUEUE: 2 * int(header[TableWord.QUEUE_ROOM]),
        TableWord.ISSUED: commands,
        TableWord.POWER: 3 * (banks // int(header[TableWord.SCOPE_BANKS])),
        TableWord.END: 0,
    }
    place = int(StateWord.SECTIONS)
    for name, size in sizes.items():
        header[name] = place
        place += size


def _sections(device: DramDevice, rules: Ints) -> dict[TableWord, Ints]:
    """Tables of ``t`` after its header."""
    kinds = list(device.effects.values())
    number = np.full(len(Effect), -1, np.int64)
    for command in reversed(range(len(kinds))):
        number[kinds[command]] = command
    spans = np.array([device.banks_of(level) for level in device.levels], np.int64)
    banks = np.arange(device.banks, dtype=np.int64)
    return {
        TableWord.NODE: banks // spans[:, None] * spans[:, None],
        TableWord.SCOPE_NODE: banks // device.banks_of(device.scope),
        TableWord.FIRST: np.searchsorted(rules[:, 0], np.arange(len(kinds) + 1)).astype(np.int64),
        TableWord.RULES: rules[:, 1:],
        TableWord.COMMANDS: np.array([_command(kind) for kind in kinds], np.int64),
        TableWord.NUMBER: number,
    }


def _unused(device: DramDevice, policy: ControllerPolicy, refresh: Refresh | None) -> set[str]:
    """Commands that the controller never sends: rules for them need not be kept."""
    closing = {"RDA", "WRA"} if policy.close_after is None else set()
    refreshes = {name for name, effect in device.effects.items() if effect in _REFRESHES}
    return closing | (refreshes - ({refresh.command} if refresh else set()))


def _rules(device: DramDevice, unused: set[str]) -> Ints:
    """(R, 12) the preceding command, then the columns of ``RuleWord``, in order of the preceding command."""
    pairs = [
        (before, after, c)
        for c in device.constraints
        for before, after in product(sorted(set(c.preceding) - unused), sorted(set(c.following) - unused))
    ]
    rows = []
    histories = 0
    for before, after, c in pairs:
        others = [d for b, a, d in pairs if (b, a) == (before, after) and d is not c]
        if not _implied(device, c, others):
            rows.append((device.commands.index(before), *_rule(device, c, after, histories if c.window > 1 else -1)))
            histories += c.window > 1
    rows.sort(key=lambda row: row[0])
    return np.array(rows, np.int64).reshape(-1, 1 + len(RuleWord))


def _implied(device: DramDevice, constraint: Constraint, others: list[Constraint]) -> bool:
    """Whether ``constraint`` never binds: it has no siblings to hold, or one of ``others`` holds as long or longer.

    Of two that say the same, the one at the outer level is kept.
    """
    depth = device.levels.index(constraint.level)
    if constraint.siblings:
        return device.sizes[constraint.level] == 1
    return any(
        not other.siblings and other.window == 1 and device.levels.index(other.level) < depth
        and (other.ticks >= constraint.ticks)
        for other in others
    )  # fmt: skip


def _rule(device: DramDevice, c: Constraint, following: str, history: int) -> tuple[int, ...]:
    levels = device.levels
    depth = levels.index(c.level)
    everywhere = _COVER.get(device.effects[following], 0) == 1
    return (
        device.commands.index(following) * device.banks,
        device.banks_of(device.scope) if everywhere else 1,
        depth * device.banks,
        device.banks_of(c.level),
        (depth - 1) * device.banks if c.siblings else -1,
        device.banks_of(levels[depth - 1]) if c.siblings else 0,
        c.ticks,
        history,
        c.window,
        int(depth > levels.index(device.scope)),
        int(c.level == "Bank"),
    )


def _command(kind: Effect) -> tuple[int, int, int, int]:
    """The columns of ``CommandWord``."""
    return int(kind), COLUMN if kind in _COLUMN_KINDS else ROW, int(kind in _CLOSING), _COVER.get(kind, 0)
