# SPDX-License-Identifier: Apache-2.0
"""The run: requests go in, ticks at which nothing can happen are passed over, commands come out."""

from __future__ import annotations

from simsparse.dram.banks import number_of
from simsparse.dram.buffers import append, entry_at, new_entry
from simsparse.dram.choose import choose
from simsparse.dram.compiled import compiled, hot
from simsparse.dram.device import Effect
from simsparse.dram.layout import NEVER, READING, WRITING, BankWord, EntryWord, Ints, StateWord, TableWord
from simsparse.dram.limits import earliest, kind_of
from simsparse.dram.schedule import COLUMN_CHOICE, ROW_CHOICE, enqueue, one_command, two_commands
from simsparse.dram.split import split_tick

_BANK = len(BankWord)
MORE, DONE, FULL, STUCK = 0, 1, 2, 3
"""How ``advance`` ends: it needs more requests, all are served, the log is full, or no command may ever go."""


@compiled
def advance(t: Ints, s: Ints, log: Ints, requests: Ints, clock: Ints, last: bool) -> int:
    """Run a channel until the block is used up, or with ``last`` until all requests are served.

    ``requests`` (N, 6): bank, row, column, 1 for a write, address, tick before which it does not come.
    ``clock`` (2,): the tick that has passed, and requests of the block that are in; both are advanced.
    """
    while True:
        waits = _admit(t, s, requests, clock)
        if clock[1] == requests.shape[0]:
            if not last:
                return MORE
            end = _end(s)
            if 0 <= end <= clock[0]:
                return DONE
            if end >= 0:
                waits = end
        if log.shape[0] > 1 and log[0, 0] + 3 >= log.shape[0]:
            return FULL
        if s[StateWord.STALE]:
            choose(t, s, clock[0] + 1, clock[0] + 1)
        soonest = min(waits, _next_event(t, s))
        if soonest >= NEVER:
            return STUCK
        clock[0] = max(clock[0] + 1, soonest)
        _tick(t, s, log, clock[0])


@hot
def _next_event(t: Ints, s: Ints) -> int:
    """Tick at which the channel can do something."""
    due = min(s[COLUMN_CHOICE], s[StateWord.NEXT], s[StateWord.NEXT_REFRESH])
    return int(min(due, s[ROW_CHOICE]) if t[TableWord.BUSES] == 2 else due)


@hot
def _end(s: Ints) -> int:
    """Tick at which the last data moved, -1 while requests wait."""
    for buffer in range(4):
        if s[StateWord.LENGTH + buffer]:
            return -1
    return int(max(s[StateWord.LAST_READ], s[StateWord.LAST_WRITE]))


@hot
def _admit(t: Ints, s: Ints, requests: Ints, clock: Ints) -> int:
    """Let requests in, in order, until a queue is full; returns the tick at which the next one comes."""
    while clock[1] < requests.shape[0]:
        if requests[clock[1], 5] > clock[0]:
            return int(requests[clock[1], 5])
        if not _enter(t, s, requests, clock[1], clock[0]):
            return NEVER
        clock[1] += 1
    return NEVER


@hot
def _enter(t: Ints, s: Ints, requests: Ints, number: int, tick: int) -> bool:
    """Let one request in. A read of what waits to be written is served by the queue, a second write replaces it."""
    writes, address = requests[number, 3], requests[number, 4]
    for place in range(s[StateWord.LENGTH + WRITING]):
        if s[entry_at(t, s, WRITING, place) + EntryWord.ADDRESS] == address:
            if writes:
                s[StateWord.COALESCED] += 1
            else:
                s[StateWord.FORWARDED] += 1
                s[StateWord.LAST_READ] = max(s[StateWord.LAST_READ], tick + 1)
            return True
    queue = WRITING if writes else READING
    if s[StateWord.LENGTH + queue] >= t[TableWord.WRITE_QUEUE if writes else TableWord.READ_QUEUE]:
        return False
    entry = new_entry(t, s)
    for field in range(3):
        s[entry + field] = requests[number, field]
    s[entry + EntryWord.ARRIVED], s[entry + EntryWord.ADDRESS], s[entry + EntryWord.COUNTED] = tick, address, 0
    s[entry + EntryWord.FINAL] = number_of(t, Effect.WRITE if writes else Effect.READ)
    append(t, s, queue, entry)
    s[StateWord.STALE] = 1
    return True


@hot
def _tick(t: Ints, s: Ints, log: Ints, tick: int) -> None:
    """One tick; notes when something other than the choices can happen next."""
    if tick >= s[StateWord.NEXT_REFRESH]:
        _refresh_due(t, s)
    s[StateWord.NEXT] = _close_served(t, s, tick) if t[TableWord.CLOSE_AFTER] else NEVER
    if s[StateWord.STALE]:
        choose(t, s, tick, tick)
    if t[TableWord.BUSES] == 2:
        two_commands(t, s, log, tick)
    elif t[TableWord.SPLIT]:
        s[StateWord.NEXT] = min(s[StateWord.NEXT], split_tick(t, s, log, tick))
    else:
        one_command(t, s, log, tick)


@compiled
def _refresh_due(t: Ints, s: Ints) -> None:
    """Let refreshes that fall due wait: of every scope, or of the next bank in turn."""
    command, many = t[TableWord.REFRESH], t[TableWord.SCOPE_BANKS]
    s[StateWord.NEXT_REFRESH] += t[TableWord.INTERVAL]
    kind, bank = kind_of(t, command), s[StateWord.REFRESH_BANK]
    if kind == Effect.REFRESH_BANK:
        enqueue(t, s, command, bank)
        s[StateWord.REFRESH_BANK] = (bank + 1) % t[TableWord.BANKS]
        return
    for first in range(0, t[TableWord.BANKS], many):
        enqueue(t, s, command, first + bank)
    if kind == Effect.REFRESH_SAME:
        s[StateWord.REFRESH_BANK] = (bank + 1) % t[TableWord.BANK_NUMBERS]


@compiled
def _close_served(t: Ints, s: Ints, tick: int) -> int:
    """Ask for the close of rows that have served enough; returns when the next may be asked for."""
    soonest = NEVER
    command = number_of(t, Effect.CLOSE)
    for bank in range(t[TableWord.BANKS]):
        place = t[TableWord.ROWS] + bank * _BANK
        if s[place + BankWord.SERVED] < t[TableWord.CLOSE_AFTER] or s[place + BankWord.ASKED]:
            continue
        when = earliest(t, s, command, bank)
        if when > tick:
            soonest = min(soonest, when)
        else:
            enqueue(t, s, command, bank)
            s[place + BankWord.ASKED] = 1
    return soonest
