# SPDX-License-Identifier: Apache-2.0
"""Commands as they go out, and what becomes of the requests they were for."""

from __future__ import annotations

from simsparse.dram.banks import act_on_banks, number_of, row_of
from simsparse.dram.buffers import append, drop, entry_at, take
from simsparse.dram.choose import choose, turns
from simsparse.dram.compiled import compiled, hot
from simsparse.dram.device import Effect
from simsparse.dram.layout import OPENED, OPENING, BankWord, ChoiceWord, EntryWord, Ints, StateWord, TableWord
from simsparse.dram.limits import constrain, earliest, kind_of
from simsparse.dram.log import note

_BANK = len(BankWord)
COLUMN_CHOICE, ROW_CHOICE = int(StateWord.CHOICE), int(StateWord.CHOICE) + len(ChoiceWord)


@compiled
def one_command(t: Ints, s: Ints, log: Ints, tick: int) -> None:
    """Send what was chosen, if it is due."""
    if s[COLUMN_CHOICE] <= tick:
        send_choice(t, s, log, COLUMN_CHOICE, tick)


@compiled
def two_commands(t: Ints, s: Ints, log: Ints, tick: int) -> None:
    """Send a column command, then a row command, if they are due."""
    if s[COLUMN_CHOICE] <= tick:
        send_choice(t, s, log, COLUMN_CHOICE, tick)
        if s[ROW_CHOICE] > tick and not turns(t, s):
            return
        choose(t, s, tick + 1, tick)
    if s[ROW_CHOICE] <= tick:
        bank, command = _bank_of(t, s, ROW_CHOICE), s[ROW_CHOICE + ChoiceWord.COMMAND]
        send_choice(t, s, log, ROW_CHOICE, tick)
        if t[TableWord.HALF_TICKS] and tick % 2 == 1:
            kind = kind_of(t, command)
            s[StateWord.PAIR_TICK] = tick + (3 if kind == Effect.OPEN else 1)
            s[StateWord.PAIR_SCOPE] = bank // t[TableWord.PAIRING_BANKS]
            s[StateWord.PAIR_BANK] = -1 if kind == Effect.CLOSE_ALL or kind == Effect.REFRESH_ALL else bank
    s[StateWord.STALE] = 1


@compiled
def send_choice(t: Ints, s: Ints, log: Ints, choice: int, tick: int) -> None:
    """Send what was chosen for a bus."""
    s[StateWord.STALE] = 1
    if s[choice + ChoiceWord.BUFFER] < 0:
        _send_refresh(t, s, log, s[choice + ChoiceWord.COMMAND], tick)
        return
    serve(t, s, log, s[choice + ChoiceWord.BUFFER], s[choice + ChoiceWord.PLACE], s[choice + ChoiceWord.COMMAND], tick)


@hot
def _bank_of(t: Ints, s: Ints, choice: int) -> int:
    """Bank of what was chosen."""
    if s[choice + ChoiceWord.BUFFER] < 0:
        return int(s[t[TableWord.QUEUE] + 2 * s[StateWord.QUEUE_FIRST] + 1])
    bank: int = s[entry_at(t, s, s[choice + ChoiceWord.BUFFER], s[choice + ChoiceWord.PLACE]) + EntryWord.BANK]
    return bank


@compiled
def send(t: Ints, s: Ints, log: Ints, command: int, bank: int, row: int, column: int, tick: int) -> None:
    """Send a command to the devices."""
    constrain(t, s, command, bank, tick)
    act_on_banks(t, s, command, bank, row, tick)
    s[t[TableWord.ISSUED] + command] += 1
    note(log, tick, command, bank, row, column)


@compiled
def enqueue(t: Ints, s: Ints, command: int, bank: int) -> None:
    """Let a refresh or a close wait."""
    place = (s[StateWord.QUEUE_FIRST] + s[StateWord.QUEUE_LENGTH]) % t[TableWord.QUEUE_ROOM]
    s[t[TableWord.QUEUE] + 2 * place], s[t[TableWord.QUEUE] + 2 * place + 1] = command, bank
    s[StateWord.QUEUE_LENGTH] += 1
    s[StateWord.STALE] = 1


@compiled
def _send_refresh(t: Ints, s: Ints, log: Ints, command: int, tick: int) -> None:
    """Send the next command of the refresh that waits longest."""
    waits = t[TableWord.QUEUE] + 2 * s[StateWord.QUEUE_FIRST]
    send(t, s, log, command, s[waits + 1], -1, -1, tick)
    if command == s[waits]:
        s[StateWord.QUEUE_FIRST] = (s[StateWord.QUEUE_FIRST] + 1) % t[TableWord.QUEUE_ROOM]
        s[StateWord.QUEUE_LENGTH] -= 1


@compiled
def serve(t: Ints, s: Ints, log: Ints, buffer: int, place: int, command: int, tick: int) -> None:
    """Send ``command`` for the request at ``place`` of ``buffer``."""
    entry = entry_at(t, s, buffer, place)
    bank = s[entry + EntryWord.BANK]
    count_row(t, s, entry)
    if t[TableWord.CLOSE_AFTER]:
        command = _closing_form(t, s, entry, command, buffer, tick)
    send(t, s, log, command, bank, s[entry + EntryWord.ROW], s[entry + EntryWord.COLUMN], tick)
    kind = kind_of(t, command)
    if command == s[entry + EntryWord.FINAL]:
        _retire(t, s, buffer, place, tick)
    elif kind == Effect.OPEN:
        append(t, s, OPENED, take(t, s, buffer, place))
        s[t[TableWord.ROWS] + bank * _BANK + BankWord.WAITING] += 1
    elif kind == Effect.OPEN_FIRST:
        append(t, s, OPENING, take(t, s, buffer, place))
        s[t[TableWord.ROWS] + bank * _BANK + BankWord.DEADLINE] = tick + t[TableWord.ACTIVATE]


@hot
def count_row(t: Ints, s: Ints, entry: int) -> None:
    """Note with the first command of a request whether its row was open (hit), another (conflict), or none (miss)."""
    if s[entry + EntryWord.COUNTED]:
        return
    s[entry + EntryWord.COUNTED] = 1
    opened = row_of(t, s, s[entry + EntryWord.BANK])
    if opened == s[entry + EntryWord.ROW]:
        s[StateWord.HITS] += 1
    elif opened >= 0:
        s[StateWord.CONFLICTS] += 1
    else:
        s[StateWord.MISSES] += 1


@compiled
def _closing_form(t: Ints, s: Ints, entry: int, command: int, buffer: int, tick: int) -> int:
    """``command``, or its form with auto-precharge when its row has served enough and no other request waits for it."""
    kind = kind_of(t, command)
    place = t[TableWord.ROWS] + s[entry + EntryWord.BANK] * _BANK
    others = s[place + BankWord.WAITING] - (1 if buffer == OPENED else 0)
    if (
        s[place + BankWord.SERVED] < t[TableWord.CLOSE_AFTER]
        or others
        or (kind != Effect.READ and kind != Effect.WRITE)
    ):
        return command
    closing = number_of(t, Effect.READ_CLOSE if kind == Effect.READ else Effect.WRITE_CLOSE)
    if earliest(t, s, closing, s[entry + EntryWord.BANK]) > tick:
        return command
    s[entry + EntryWord.FINAL] = closing
    return int(closing)


@compiled
def _retire(t: Ints, s: Ints, buffer: int, place: int, tick: int) -> None:
    """The last command of a request went: data follow."""
    entry = take(t, s, buffer, place)
    if buffer == OPENED:
        s[t[TableWord.ROWS] + s[entry + EntryWord.BANK] * _BANK + BankWord.WAITING] -= 1
    kind = kind_of(t, s[entry + EntryWord.FINAL])
    if kind == Effect.READ or kind == Effect.READ_CLOSE:
        done = tick + t[TableWord.READ_LATENCY]
        s[StateWord.READS] += 1
        s[StateWord.LATENCY] += done - s[entry + EntryWord.ARRIVED]
        s[StateWord.LAST_READ] = max(s[StateWord.LAST_READ], done)
    else:
        s[StateWord.WRITES] += 1
        s[StateWord.LAST_WRITE] = tick
    drop(t, s, entry)
