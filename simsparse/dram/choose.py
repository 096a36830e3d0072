# SPDX-License-Identifier: Apache-2.0
"""Which request goes next, and when.

The order is that of most controllers: requests whose row was opened for them, then refreshes, then the oldest request
of the queue in turn that can go. Nothing else starts while a refresh waits. A choice holds until a command is sent or a
request comes: ready times only grow.
"""

from __future__ import annotations

from simsparse.dram.banks import closes_in_use, number_of, row_of, step_towards_idle
from simsparse.dram.buffers import entry_at
from simsparse.dram.compiled import compiled, hot
from simsparse.dram.device import Effect
from simsparse.dram.layout import (
    CLOSED,
    HALF_OPEN,
    NEVER,
    OPENED,
    OPENING,
    READING,
    WRITING,
    BankWord,
    ChoiceWord,
    EntryWord,
    Ints,
    StateWord,
    TableWord,
)
from simsparse.dram.limits import bank_range, cover_of, earliest, kind_of

_BANK, _CHOICE = len(BankWord), len(ChoiceWord)
_COLUMN_CHOICE, _ROW_CHOICE = int(StateWord.CHOICE), int(StateWord.CHOICE) + len(ChoiceWord)


@compiled
def choose(t: Ints, s: Ints, column_from: int, row_from: int) -> None:
    """Choose what goes next over the column bus from one tick on, and over the row bus from another.

    With one bus both ticks are the same, and the first choice stands for it.
    """
    s[_COLUMN_CHOICE] = s[_ROW_CHOICE] = NEVER
    s[StateWord.STALE] = 0
    if s[StateWord.LENGTH + OPENED]:
        _choose_opened(t, s, column_from)
    if s[StateWord.QUEUE_LENGTH]:
        _choose_refresh(t, s, row_from)
    else:
        _choose_queued(t, s, queue_in_turn(t, s), column_from, row_from)


@hot
def queue_in_turn(t: Ints, s: Ints) -> int:
    """The queue that is served: writes while they are drained."""
    reads, writes = s[StateWord.LENGTH + READING], s[StateWord.LENGTH + WRITING]
    if s[StateWord.WRITING]:
        if writes < t[TableWord.DRAIN_BELOW] and reads:
            s[StateWord.WRITING] = 0
    elif writes > t[TableWord.DRAIN_ABOVE] or reads == 0:
        s[StateWord.WRITING] = 1
    return WRITING if s[StateWord.WRITING] else READING


@compiled
def turns(t: Ints, s: Ints) -> bool:
    """Whether the other queue is in turn now."""
    before = s[StateWord.WRITING]
    queue_in_turn(t, s)
    changed: bool = s[StateWord.WRITING] != before
    s[StateWord.WRITING] = before
    return changed and s[StateWord.QUEUE_LENGTH] == 0


@hot
def _note(s: Ints, choice: int, tick: int, buffer: int, place: int, command: int) -> None:
    s[choice + ChoiceWord.TICK], s[choice + ChoiceWord.BUFFER] = tick, buffer
    s[choice + ChoiceWord.PLACE], s[choice + ChoiceWord.COMMAND] = place, command


@hot
def _choose_opened(t: Ints, s: Ints, tick: int) -> None:
    """Of the requests whose row is open the first that can go, and of those the oldest."""
    best, oldest = NEVER, NEVER
    for place in range(s[StateWord.LENGTH + OPENED]):
        entry = entry_at(t, s, OPENED, place)
        bank = s[entry + EntryWord.BANK]
        if row_of(t, s, bank) != s[entry + EntryWord.ROW]:
            continue
        command = s[entry + EntryWord.FINAL]
        when = max(tick, s[t[TableWord.READY] + command * t[TableWord.BANKS] + bank])
        if t[TableWord.HALF_TICKS]:
            when |= 1
        if when < best or (when == best and s[entry + EntryWord.ARRIVED] < oldest):
            best, oldest = when, s[entry + EntryWord.ARRIVED]
            _note(s, _COLUMN_CHOICE, when, OPENED, place, command)


@compiled
def _choose_refresh(t: Ints, s: Ints, tick: int) -> None:
    """The next command of the refresh or close that waits longest."""
    waits = t[TableWord.QUEUE] + 2 * s[StateWord.QUEUE_FIRST]
    bank = s[waits + 1]
    command = step_towards_idle(t, s, s[waits], bank)
    if closes_in_use(t, s, command, bank) or (t[TableWord.SPLIT] and _half_open(t, s, command, bank)):
        return
    when = _on_edge(t, s, command, bank, max(tick, earliest(t, s, command, bank)))
    choice = _ROW_CHOICE if t[TableWord.BUSES] == 2 else _COLUMN_CHOICE
    if when < s[choice]:
        _note(s, choice, when, -1, 0, command)


@compiled
def _half_open(t: Ints, s: Ints, command: int, bank: int) -> bool:
    """Whether a bank that ``command`` is for is half open: the second half of its activation goes by itself."""
    if s[StateWord.LENGTH + OPENING]:
        first, end, step = bank_range(t, cover_of(t, command), bank)
        for other in range(first, end, step):
            if row_of(t, s, other) == HALF_OPEN:
                return True
    return False


@hot
def _on_edge(t: Ints, s: Ints, command: int, bank: int, tick: int) -> int:
    """First tick from ``tick`` on whose clock edge takes a row command.

    Closes go at any edge, but not at the one that the row command of the edge before still takes up for this bank, or,
    if it was for all banks, for this scope. Other commands go at rising edges.
    """
    if not t[TableWord.HALF_TICKS]:
        return tick
    kind = kind_of(t, command)
    if kind != Effect.CLOSE and kind != Effect.CLOSE_ALL:
        return tick | 1
    if tick != s[StateWord.PAIR_TICK] or bank // t[TableWord.PAIRING_BANKS] != s[StateWord.PAIR_SCOPE]:
        return tick
    return tick + 1 if s[StateWord.PAIR_BANK] < 0 or kind != Effect.CLOSE or s[StateWord.PAIR_BANK] == bank else tick


@hot
def _choose_queued(t: Ints, s: Ints, queue: int, column_from: int, row_from: int) -> None:
    """The first request of ``queue`` that can go, over either bus; the oldest of those that can go at one tick."""
    two, half = t[TableWord.BUSES] == 2, t[TableWord.HALF_TICKS]
    column_from = column_from | 1 if half else column_from
    column, row = s[_COLUMN_CHOICE], s[_ROW_CHOICE] if two else s[_COLUMN_CHOICE]
    ready, banks, rows = t[TableWord.READY], t[TableWord.BANKS], t[TableWord.ROWS]
    opening = number_of(t, Effect.OPEN_FIRST if t[TableWord.SPLIT] else Effect.OPEN)
    closing = number_of(t, Effect.CLOSE)
    order = t[TableWord.ORDER] + queue * t[TableWord.POOL]
    for place in range(s[StateWord.LENGTH + queue]):
        entry = s[order + place]
        bank = s[entry + EntryWord.BANK]
        opened = s[rows + bank * _BANK]
        if opened == s[entry + EntryWord.ROW]:
            command = s[entry + EntryWord.FINAL]
            when = max(column_from, s[ready + command * banks + bank])
            when = when | 1 if half else when
            if when < column and not (t[TableWord.HIT_CAP] and _capped(t, s, queue, place, bank, opened)):
                column = when
                _note(s, _COLUMN_CHOICE, when, queue, place, command)
                row = row if two else when
        else:
            if opened == HALF_OPEN or (opened == CLOSED and s[StateWord.LENGTH + OPENING]):
                continue
            command = opening if opened == CLOSED else closing
            when = max(row_from, s[ready + command * banks + bank])
            if when >= row or (opened != CLOSED and s[rows + bank * _BANK + BankWord.WAITING]):
                continue
            if half:
                when = _on_edge(t, s, command, bank, when)
                if when >= row:
                    continue
            row = when
            _note(s, _ROW_CHOICE if two else _COLUMN_CHOICE, when, queue, place, command)
            column = column if two else when
        if column <= column_from and row <= row_from:
            return


@compiled
def _capped(t: Ints, s: Ints, queue: int, place: int, bank: int, row: int) -> bool:
    """Whether a row has served enough while an older request waits for another row of the bank."""
    if s[t[TableWord.ROWS] + bank * _BANK + BankWord.SERVED] < t[TableWord.HIT_CAP]:
        return False
    for older in range(place):
        entry = entry_at(t, s, queue, older)
        if s[entry + EntryWord.BANK] == bank and s[entry + EntryWord.ROW] != row:
            return True
    return False
