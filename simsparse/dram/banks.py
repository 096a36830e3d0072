# SPDX-License-Identifier: Apache-2.0
"""Banks: which command a refresh needs next, and what a command does to rows and power states."""

from __future__ import annotations

from simsparse.dram.compiled import compiled, hot
from simsparse.dram.device import Effect
from simsparse.dram.layout import CLOSED, HALF_OPEN, BankWord, Ints, TableWord
from simsparse.dram.limits import bank_range, closes, cover_of, kind_of

_BANK = len(BankWord)


@hot
def row_of(t: Ints, s: Ints, bank: int) -> int:
    """Open row of ``bank``, CLOSED or HALF_OPEN."""
    row: int = s[t[TableWord.ROWS] + bank * _BANK]
    return row


@hot
def number_of(t: Ints, kind: int) -> int:
    """The device's command of a kind, -1 for none."""
    number: int = t[t[TableWord.NUMBER] + kind]
    return number


@compiled
def step_towards_idle(t: Ints, s: Ints, final: int, bank: int) -> int:
    """The next command of a refresh or a close that ends with ``final``: banks must be closed for a refresh."""
    if closes(t, final):
        return final
    first, end, step = bank_range(t, cover_of(t, final), bank)
    for other in range(first, end, step):
        if row_of(t, s, other) != CLOSED:
            kind = kind_of(t, final)
            if kind == Effect.REFRESH_ALL:
                return int(number_of(t, Effect.CLOSE_ALL))
            return int(number_of(t, Effect.CLOSE_SAME if kind == Effect.REFRESH_SAME else Effect.CLOSE))
    return final


@compiled
def closes_in_use(t: Ints, s: Ints, command: int, bank: int) -> bool:
    """Whether ``command`` would close a row that was opened for a request not yet served."""
    if not closes(t, command):
        return False
    first, end, step = bank_range(t, cover_of(t, command), bank)
    for other in range(first, end, step):
        if s[t[TableWord.ROWS] + other * _BANK + BankWord.WAITING] > 0:
            return True
    return False


@compiled
def act_on_banks(t: Ints, s: Ints, command: int, bank: int, row: int, tick: int) -> None:
    """What ``command`` does to the rows of its banks."""
    kind = kind_of(t, command)
    place = t[TableWord.ROWS] + bank * _BANK
    if closes(t, command):
        first, end, step = bank_range(t, cover_of(t, command), bank)
        for other in range(first, end, step):
            close_bank(t, s, other, tick)
    elif kind == Effect.READ or kind == Effect.WRITE:
        s[place + BankWord.SERVED] += 1
    elif kind == Effect.OPEN or kind == Effect.OPEN_FIRST:
        open_bank(t, s, bank, row if kind == Effect.OPEN else HALF_OPEN, tick)
    elif kind == Effect.OPEN_SECOND:
        s[place] = row


@compiled
def open_bank(t: Ints, s: Ints, bank: int, row: int, tick: int) -> None:
    """Open a row; the power state of the bank's scope is active from its first open bank on."""
    power = t[TableWord.POWER] + 3 * t[t[TableWord.SCOPE_NODE] + bank]
    if row_of(t, s, bank) == CLOSED:
        if s[power] == 0:
            s[power + 1] = tick
        s[power] += 1
    s[t[TableWord.ROWS] + bank * _BANK] = row


@compiled
def close_bank(t: Ints, s: Ints, bank: int, tick: int) -> None:
    """Close a bank, open or not."""
    place = t[TableWord.ROWS] + bank * _BANK
    power = t[TableWord.POWER] + 3 * t[t[TableWord.SCOPE_NODE] + bank]
    if s[place] != CLOSED:
        s[power] -= 1
        if s[power] == 0:
            s[power + 2] += tick - s[power + 1]
    s[place], s[place + BankWord.SERVED], s[place + BankWord.ASKED] = CLOSED, 0, 0
