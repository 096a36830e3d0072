# SPDX-License-Identifier: Apache-2.0
"""A device and a policy as the array ``t``, and a channel at rest as the array ``s``."""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np

from simsparse.dram.device import Bus, Constraint, DramDevice, Effect, Refresh
from simsparse.dram.layout import CLOSED, COLUMN, NEVER, ROW, BankWord, EntryWord, Ints, RuleWord
from simsparse.dram.layout import StateWord as S
from simsparse.dram.layout import TableWord as T
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
    header = np.zeros(len(T), np.int64)
    rules = _rules(device, _unused(device, policy, refresh))
    _numbers(header, device, policy, refresh)
    header[T.WINDOW] = rules[:, 1 + RuleWord.WINDOW].max(initial=1)
    tables = _sections(device, rules)
    place = len(header)
    for name, table in tables.items():
        header[name] = place
        place += table.size
    _state_sections(header, len(device.commands), int(rules[:, 1 + RuleWord.HISTORY].max(initial=-1)) + 1)
    return np.concatenate([header, *(table.ravel() for table in tables.values())])


def new_channel(t: Ints) -> Ints:
    """The array ``s`` of a channel at rest: banks closed, nothing waits, the first refresh after one interval."""
    s = np.zeros(t[T.END], np.int64)
    pool, banks = int(t[T.POOL]), int(t[T.BANKS])
    s[S.NEXT] = s[S.STALE] = 1
    s[S.NEXT_REFRESH] = t[T.INTERVAL] if t[T.REFRESH] >= 0 else NEVER
    s[[S.PAIR_TICK, S.SYNCED]] = -1
    s[S.FREE] = pool
    s[t[T.HISTORY] : t[T.ROWS]] = -1
    s[t[T.HISTORY] + t[T.WINDOW] : t[T.ROWS] : t[T.WINDOW] + 1] = 0
    rows = s[t[T.ROWS] : t[T.ROWS] + banks * len(BankWord)].reshape(banks, len(BankWord))
    rows[:, BankWord.ROW] = CLOSED
    rows[:, BankWord.DEADLINE] = NEVER
    s[t[T.FREE] : t[T.FREE] + pool] = t[T.ENTRIES] + len(EntryWord) * np.arange(pool)
    return s


def _numbers(header: Ints, device: DramDevice, policy: ControllerPolicy, refresh: Refresh | None) -> None:
    header[T.BANKS] = device.banks
    header[T.POOL] = policy.read_queue + policy.write_queue + device.banks
    header[T.HALF_TICKS] = device.bus is Bus.HALF_TICKS
    header[T.BUSES] = 1 if device.bus is Bus.ONE else 2
    header[T.READ_LATENCY] = device.read_latency
    header[T.SCOPE_BANKS] = device.banks_of(device.scope)
    header[T.BANK_NUMBERS] = device.sizes["Bank"]
    header[T.PAIRING_BANKS] = device.banks_of("PseudoChannel" if "PseudoChannel" in device.sizes else "Channel")
    header[T.WCK_READ] = -1
    header[T.SPLIT] = "ACT1" in device.commands
    if device.data_clock is not None:
        clock = device.data_clock
        header[T.ACTIVATE] = clock.activate
        if clock.sleeps:
            header[T.WCK_READ] = clock.read_latency + clock.burst + clock.after
            header[T.WCK_WRITE] = clock.write_latency + clock.burst + clock.after
    header[T.HIT_CAP], header[T.CLOSE_AFTER] = policy.hit_cap or 0, policy.close_after or 0
    header[T.READ_QUEUE], header[T.WRITE_QUEUE] = policy.read_queue, policy.write_queue
    header[T.DRAIN_ABOVE] = int(policy.write_high * policy.write_queue)
    header[T.DRAIN_BELOW] = ceil(policy.write_low * policy.write_queue)
    header[T.REFRESH] = -1 if refresh is None else device.commands.index(refresh.command)
    header[T.INTERVAL] = 0 if refresh is None else refresh.interval
    header[T.QUEUE_ROOM] = 2 * device.banks + 8


def _state_sections(header: Ints, commands: int, histories: int) -> None:
    """Where the sections of ``s`` begin."""
    pool, banks = int(header[T.POOL]), int(header[T.BANKS])
    sizes = {
        T.READY: commands * banks,
        T.HISTORY: histories * banks * (int(header[T.WINDOW]) + 1),
        T.ROWS: banks * len(BankWord),
        T.ORDER: 4 * pool,
        T.ENTRIES: pool * len(EntryWord),
        T.FREE: pool,
        T.QUEUE: 2 * int(header[T.QUEUE_ROOM]),
        T.ISSUED: commands,
        T.POWER: 3 * (banks // int(header[T.SCOPE_BANKS])),
        T.END: 0,
    }
    place = int(S.SECTIONS)
    for name, size in sizes.items():
        header[name] = place
        place += size


def _sections(device: DramDevice, rules: Ints) -> dict[T, Ints]:
    """Tables of ``t`` after its header."""
    kinds = list(device.effects.values())
    number = np.full(len(Effect), -1, np.int64)
    for command in reversed(range(len(kinds))):
        number[kinds[command]] = command
    spans = np.array([device.banks_of(level) for level in device.levels], np.int64)
    banks = np.arange(device.banks, dtype=np.int64)
    return {
        T.NODE: banks // spans[:, None] * spans[:, None],
        T.SCOPE_NODE: banks // device.banks_of(device.scope),
        T.FIRST: np.searchsorted(rules[:, 0], np.arange(len(kinds) + 1)).astype(np.int64),
        T.RULES: rules[:, 1:],
        T.COMMANDS: np.array([_command(kind) for kind in kinds], np.int64),
        T.NUMBER: number,
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
