# SPDX-License-Identifier: Apache-2.0
"""One tick of a channel whose activations take two commands and whose data clock sleeps (LPDDR5).

The second half of an activation goes when nothing else can, and at its deadline before all else. A read or write that
finds the data clock stopped sends a sync command first and goes in the next tick.
"""

from __future__ import annotations

from simsparse.dram.banks import number_of
from simsparse.dram.buffers import append, entry_at, take
from simsparse.dram.compiled import compiled
from simsparse.dram.device import Effect
from simsparse.dram.layout import NEVER, OPENED, OPENING, BankWord, ChoiceWord, EntryWord, Ints, StateWord, TableWord
from simsparse.dram.limits import earliest, kind_of
from simsparse.dram.schedule import COLUMN_CHOICE, count_row, send, send_choice, serve

_BANK = len(BankWord)


@compiled
def split_tick(t: Ints, s: Ints, log: Ints, tick: int) -> int:
    """One tick; returns when the next command other than the choice may go."""
    if s[StateWord.SYNCED] >= 0:
        _after_sync(t, s, log, tick)
        return tick + 1
    place, when = _second_half(t, s, tick, True)
    if place >= 0:
        _open_second(t, s, log, place, tick)
        return tick + 1
    if s[COLUMN_CHOICE] <= tick:
        if not _needs_sync(t, s, tick):
            command = s[COLUMN_CHOICE + ChoiceWord.COMMAND]
            send_choice(t, s, log, COLUMN_CHOICE, tick)
            _keep_clock(t, s, command, tick)
            return tick + 1
        if not _deadline_next(t, s, tick):
            _sync(t, s, log, tick)
            return tick + 1
    second, later = _second_half(t, s, tick, False)
    if second >= 0:
        _open_second(t, s, log, second, tick)
        return tick + 1
    return int(min(when, later))


@compiled
def _second_half(t: Ints, s: Ints, tick: int, urgent: bool) -> tuple[int, int]:
    """The half-done activation with the nearest deadline that can go on; with ``urgent`` only at its deadline.

    Returns its place in the buffer, -1 for none, and the tick at which that may change.
    """
    best, best_deadline, best_arrived, soonest = -1, NEVER, NEVER, NEVER
    for place in range(s[StateWord.LENGTH + OPENING]):
        entry = entry_at(t, s, OPENING, place)
        bank = s[entry + EntryWord.BANK]
        deadline = s[t[TableWord.ROWS] + bank * _BANK + BankWord.DEADLINE]
        when = earliest(t, s, number_of(t, Effect.OPEN_SECOND), bank)
        if urgent:
            when = max(when, deadline)
        if when > tick:
            soonest = min(soonest, when)
            continue
        arrived = s[entry + EntryWord.ARRIVED]
        if deadline < best_deadline or (deadline == best_deadline and arrived < best_arrived):
            best, best_deadline, best_arrived = place, deadline, arrived
    return best, soonest


@compiled
def _open_second(t: Ints, s: Ints, log: Ints, place: int, tick: int) -> None:
    entry = take(t, s, OPENING, place)
    bank = s[entry + EntryWord.BANK]
    count_row(t, s, entry)
    send(t, s, log, number_of(t, Effect.OPEN_SECOND), bank, s[entry + EntryWord.ROW], -1, tick)
    append(t, s, OPENED, entry)
    s[t[TableWord.ROWS] + bank * _BANK + BankWord.WAITING] += 1
    s[t[TableWord.ROWS] + bank * _BANK + BankWord.DEADLINE] = NEVER
    s[StateWord.STALE] = 1


@compiled
def _reads(t: Ints, command: int) -> bool:
    kind = kind_of(t, command)
    answer: bool = kind == Effect.READ or kind == Effect.READ_CLOSE
    return answer


@compiled
def _writes(t: Ints, command: int) -> bool:
    kind = kind_of(t, command)
    answer: bool = kind == Effect.WRITE or kind == Effect.WRITE_CLOSE
    return answer


@compiled
def _needs_sync(t: Ints, s: Ints, tick: int) -> bool:
    """Whether the choice moves data and finds the data clock stopped."""
    command = s[COLUMN_CHOICE + ChoiceWord.COMMAND]
    if t[TableWord.WCK_READ] < 0 or not (_reads(t, command) or _writes(t, command)):
        return False
    stopped: bool = tick >= s[StateWord.WCK_UNTIL]
    return stopped


@compiled
def _deadline_next(t: Ints, s: Ints, tick: int) -> bool:
    """Whether a half-done activation has no tick left once a sync command took this one and its access the next."""
    for place in range(s[StateWord.LENGTH + OPENING]):
        bank = s[entry_at(t, s, OPENING, place) + EntryWord.BANK]
        if s[t[TableWord.ROWS] + bank * _BANK + BankWord.DEADLINE] <= tick + 1:
            return True
    return False


@compiled
def _sync(t: Ints, s: Ints, log: Ints, tick: int) -> None:
    """Start the data clock for the choice, which goes in the next tick."""
    buffer, place = s[COLUMN_CHOICE + ChoiceWord.BUFFER], s[COLUMN_CHOICE + ChoiceWord.PLACE]
    entry = entry_at(t, s, buffer, place)
    bank = s[entry + EntryWord.BANK]
    command = number_of(t, Effect.SYNC_READ if _reads(t, s[COLUMN_CHOICE + ChoiceWord.COMMAND]) else Effect.SYNC_WRITE)
    if earliest(t, s, command, bank) > tick:
        return
    send(t, s, log, command, bank, s[entry + EntryWord.ROW], s[entry + EntryWord.COLUMN], tick)
    s[StateWord.SYNCED], s[StateWord.SYNCED_BUFFER] = entry, buffer


@compiled
def _after_sync(t: Ints, s: Ints, log: Ints, tick: int) -> None:
    """The access that the sync command of the tick before was for."""
    entry, buffer = s[StateWord.SYNCED], s[StateWord.SYNCED_BUFFER]
    command = s[entry + EntryWord.FINAL]
    if earliest(t, s, command, s[entry + EntryWord.BANK]) > tick:
        return
    s[StateWord.SYNCED] = -1
    s[StateWord.STALE] = 1
    for place in range(s[StateWord.LENGTH + buffer]):
        if entry_at(t, s, buffer, place) == entry:
            serve(t, s, log, buffer, place, command, tick)
            _keep_clock(t, s, command, tick)
            return


@compiled
def _keep_clock(t: Ints, s: Ints, command: int, tick: int) -> None:
    """Keep the data clock running for the data of ``command``."""
    if t[TableWord.WCK_READ] >= 0 and _reads(t, command):
        s[StateWord.WCK_UNTIL] = max(s[StateWord.WCK_UNTIL], tick + t[TableWord.WCK_READ])
    if t[TableWord.WCK_READ] >= 0 and _writes(t, command):
        s[StateWord.WCK_UNTIL] = max(s[StateWord.WCK_UNTIL], tick + t[TableWord.WCK_WRITE])
