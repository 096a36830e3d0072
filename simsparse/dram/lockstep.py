# SPDX-License-Identifier: Apache-2.0
"""Programs of a PIM controller on one channel: commands in order, of which a window may run out of order.

A program is a list of column commands and barriers. Lock-step commands act on many banks at once and need one row open
in all of them; moves between buffers need none. Of the commands that the controller holds, the oldest that can go,
goes, but none passes another by closing a row or using a bank whose open row some of them still need. Beyond the first
barrier rows are opened and closed, nothing else. In one tick go a column command and a row command. While a refresh
waits, row commands are the refresh's, and column commands go on. Source: the controller of AttAcc's simulator, with
which it was compared command count by command count and tick by tick.

A controller that closes rows early (``close_unused``) sends one command in a tick: the oldest column command whose row
is open, else an activation for the oldest command, else a close of a row that none needs; nothing from beyond a
barrier. A refresh closes rows as soon as they may be. Source: the controller of Samsung's PIM simulator.
"""

from __future__ import annotations

import numpy as np

from simsparse.dram.banks import act_on_banks, close_bank, open_bank, row_of
from simsparse.dram.compiled import compiled
from simsparse.dram.device import Effect
from simsparse.dram.layout import CLOSED, COLUMN, NEVER, ROW, BankWord, CommandWord, Ints, StateWord, TableWord
from simsparse.dram.limits import constrain, earliest, kind_of
from simsparse.dram.log import note

BARRIER = -1
_OPENS, _CLOSES, _BANKS, _OFFSETS = range(4)
_CLOCK, _NEXT, _HELD, _DUE, _REFRESHED, _CLOSE_UNUSED = range(6)
_BANK = len(BankWord)
_COMMAND = len(CommandWord)


def new_run(close_unused: bool) -> Ints:
    """(6,) a run at its beginning: ticks passed, commands taken and held, refreshes due and done, policy."""
    return np.array([0, 0, 0, 0, 0, close_unused], np.int64)


@compiled
def run_program(t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, window: int, log: Ints) -> bool:
    """Run ``program`` to its end; False where no command may ever go. ``run[0]`` becomes the tick of its last command.

    ``program`` (N, 4): command or BARRIER, bank, row, column. ``sets`` (K, 3 + banks): of each command the one that
    opens its row and the one that closes another (-1: it needs no row), how many banks it acts on, and those as offsets
    from the bank that it names. ``window`` is how many commands the controller holds.
    """
    held = np.zeros((window, 2), np.int64)
    hits = np.zeros(t[TableWord.BANKS], np.int64)
    while True:
        _fill(t, s, sets, program, run, held)
        if run[_HELD] == 0 and run[_DUE] == 0:
            return True
        tick = run[_CLOCK] + 1
        while s[StateWord.NEXT_REFRESH] <= tick:
            s[StateWord.NEXT_REFRESH] += t[TableWord.INTERVAL]
            run[_DUE] += t[TableWord.BANKS] // t[TableWord.SCOPE_BANKS]
        if run[_CLOSE_UNUSED]:
            happened = _one_command(t, s, sets, program, run, held, hits, log, tick)
        else:
            happened = _tick(t, s, sets, program, run, held, hits, log, tick)
        if not happened:
            soonest = _next_event(t, s, sets, program, run, held, tick)
            if soonest >= NEVER:
                return False
            tick = soonest - 1
        run[_CLOCK] = tick


@compiled
def _tick(t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, held: Ints, hits: Ints, log: Ints, tick: int) -> bool:
    """Send what can go; returns whether anything happened."""
    happened: bool = False
    bus = ROW
    if run[_DUE]:
        happened = _refresh(t, s, sets, program, run, held, log, tick)
    else:
        place, dropped = _oldest(t, s, program, run, held, hits, tick)
        if place < 0 or not _ready(t, s, program, held, place, tick):
            return bool(dropped)
        bus = _bus(t, held[place, 1])
        _send(t, s, sets, program, run, held, log, place, tick)
        happened = True
        if bus == 0:
            return True
    place, dropped = _oldest(t, s, program, run, held, hits, tick)
    if place >= 0 and _bus(t, held[place, 1]) + bus == ROW + COLUMN and _ready(t, s, program, held, place, tick):
        _send(t, s, sets, program, run, held, log, place, tick)
        return True
    return bool(happened or dropped)


@compiled
def _one_command(
    t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, held: Ints, hits: Ints, log: Ints, tick: int
) -> bool:
    """Send one command of a controller that closes rows early; returns whether anything happened."""
    if run[_DUE] and _close_for_refresh(t, s, sets, program, run, held, log, tick):
        return True
    passed = run[_HELD] > 0 and program[held[0, 0], 0] == BARRIER
    if passed:
        _remove(run, held, 0)
    for bus in (COLUMN, ROW):
        for place in range(run[_HELD]):
            if held[place, 1] == BARRIER:
                break
            closing = bus == ROW and kind_of(t, held[place, 1]) in (Effect.CLOSE, Effect.CLOSE_MANY)
            if _bus(t, held[place, 1]) == bus and not closing and _ready(t, s, program, held, place, tick):
                _send(t, s, sets, program, run, held, log, place, tick)
                return True
    return _close_unused(t, s, sets, program, run, held, hits, log, tick) or bool(passed)


@compiled
def _close_unused(
    t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, held: Ints, hits: Ints, log: Ints, tick: int
) -> bool:
    """Close a row that no command before the first barrier needs."""
    for place in range(run[_HELD]):
        if held[place, 1] == BARRIER:
            break
        if _bus(t, held[place, 1]) == COLUMN:
            hits[program[held[place, 0], 1]] = 1
    closed = False
    for bank in range(t[TableWord.BANKS]):
        if hits[bank] == 0 and not closed:
            closed = _close(t, s, sets, bank, log, tick)
        hits[bank] = 0
    if closed:
        _look_again(t, s, sets, program, run, held)
    return closed


@compiled
def _close(t: Ints, s: Ints, sets: Ints, bank: int, log: Ints, tick: int) -> bool:
    """Close ``bank``, with its set if it was opened as one and the bank is its first, if that can go."""
    command = s[t[TableWord.ROWS] + bank * _BANK + BankWord.DEADLINE]
    if (
        row_of(t, s, bank) == CLOSED
        or command < 0
        or s[t[TableWord.READY] + command * t[TableWord.BANKS] + bank] > tick
    ):
        return False
    _act(t, s, sets, log, command, bank, -1, -1, tick)
    return True


@compiled
def _close_for_refresh(
    t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, held: Ints, log: Ints, tick: int
) -> bool:
    """Close a bank before a refresh, whoever needs it, or refresh when none is open."""
    idle = True
    for bank in range(t[TableWord.BANKS]):
        if row_of(t, s, bank) != CLOSED:
            idle = False
            if _close(t, s, sets, bank, log, tick):
                _look_again(t, s, sets, program, run, held)
                return True
    if idle:
        _act(t, s, sets, log, t[TableWord.REFRESH], _refreshed_bank(t, run), -1, -1, tick)
        run[_DUE] -= 1
        run[_REFRESHED] += 1
    return idle


@compiled
def _bus(t: Ints, command: int) -> int:
    """The bus of a command, 0 for a barrier."""
    return 0 if command == BARRIER else int(t[t[TableWord.COMMANDS] + command * _COMMAND + CommandWord.BUS])


@compiled
def _ready(t: Ints, s: Ints, program: Ints, held: Ints, place: int, tick: int) -> bool:
    """Whether the constraints allow what the command at ``place`` needs next."""
    command = held[place, 1]
    if command == BARRIER:
        return True
    allowed: bool = s[t[TableWord.READY] + command * t[TableWord.BANKS] + program[held[place, 0], 1]] <= tick
    return allowed


@compiled
def _oldest(t: Ints, s: Ints, program: Ints, run: Ints, held: Ints, hits: Ints, tick: int) -> tuple[int, bool]:
    """Place of the command that goes next if it can, -1 for none; and whether a barrier was passed."""
    passed: bool = run[_HELD] > 0 and program[held[0, 0], 0] == BARRIER
    if passed:
        _remove(run, held, 0)
    if run[_HELD] == 0:
        return -1, passed
    _mark(program, run, held, hits, 1)
    best, beyond = 0, False
    ready = _ready(t, s, program, held, 0, tick)
    for place in range(1, run[_HELD]):
        if ready:
            break
        number, command = held[place, 0], held[place, 1]
        beyond = beyond or program[number, 0] == BARRIER
        if beyond and (command == BARRIER or _bus(t, command) == COLUMN):
            continue
        if _ready(t, s, program, held, place, tick) and (_hit(t, program, held, place) or not hits[program[number, 1]]):
            best, ready = place, True
    _mark(program, run, held, hits, 0)
    return best, passed


@compiled
def _hit(t: Ints, program: Ints, held: Ints, place: int) -> bool:
    """Whether the command at ``place`` finds its row open."""
    command = held[place, 1]
    return bool(command == program[held[place, 0], 0] and kind_of(t, command) == Effect.COMPUTE)


@compiled
def _mark(program: Ints, run: Ints, held: Ints, hits: Ints, value: int) -> None:
    """Set ``hits`` of the banks whose open row a held command needs; ``held[:, 1]`` of such a command is itself."""
    for place in range(run[_HELD]):
        number = held[place, 0]
        if program[number, 0] == held[place, 1] and program[number, 2] >= 0:
            hits[program[number, 1]] = value


@compiled
def _remove(run: Ints, held: Ints, place: int) -> None:
    for later in range(place, run[_HELD] - 1):
        held[later, 0], held[later, 1] = held[later + 1, 0], held[later + 1, 1]
    run[_HELD] -= 1


@compiled
def _send(t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, held: Ints, log: Ints, place: int, tick: int) -> None:
    """Send what the command at ``place`` needs next."""
    number, command = held[place, 0], held[place, 1]
    if command == program[number, 0]:
        _remove(run, held, place)
    if command == BARRIER:
        return
    _act(t, s, sets, log, command, program[number, 1], program[number, 2], program[number, 3], tick)
    if _bus(t, command) == ROW:
        if run[_CLOSE_UNUSED]:
            _note_close(t, s, sets, program[number, 0], program[number, 1])
        _look_again(t, s, sets, program, run, held)


@compiled
def _note_close(t: Ints, s: Ints, sets: Ints, command: int, bank: int) -> None:
    """Keep with the first bank of an opened set what closes it; with the others, that they wait for the first."""
    for other in range(sets[command, _BANKS]):
        place = t[TableWord.ROWS] + (bank + sets[command, _OFFSETS + other]) * _BANK
        s[place + BankWord.DEADLINE] = sets[command, _CLOSES] if other == 0 else -1


@compiled
def _act(t: Ints, s: Ints, sets: Ints, log: Ints, command: int, bank: int, row: int, column: int, tick: int) -> None:
    """Send a command to the devices."""
    constrain(t, s, command, bank, tick)
    kind = kind_of(t, command)
    if kind == Effect.OPEN_MANY or kind == Effect.CLOSE_MANY:
        for other in range(sets[command, _BANKS]):
            if kind == Effect.OPEN_MANY:
                open_bank(t, s, bank + sets[command, _OFFSETS + other], row, tick)
            else:
                close_bank(t, s, bank + sets[command, _OFFSETS + other], tick)
    else:
        act_on_banks(t, s, command, bank, row, tick)
    s[t[TableWord.ISSUED] + command] += 1
    note(log, tick, command, bank, row, column)


@compiled
def _refresh(t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, held: Ints, log: Ints, tick: int) -> bool:
    """Send the next command of the refreshes that are due, if it can go."""
    command = _refresh_need(t, s, sets)
    bank = _refreshed_bank(t, run)
    if earliest(t, s, command, bank) > tick:
        return False
    _act(t, s, sets, log, command, bank, -1, -1, tick)
    if command == t[TableWord.REFRESH]:
        run[_DUE] -= 1
        run[_REFRESHED] += 1
    _look_again(t, s, sets, program, run, held)
    return True


@compiled
def _refreshed_bank(t: Ints, run: Ints) -> int:
    """First bank of the scope that is refreshed next."""
    scopes = t[TableWord.BANKS] // t[TableWord.SCOPE_BANKS]
    return int(run[_REFRESHED] % scopes * t[TableWord.SCOPE_BANKS])


@compiled
def _refresh_need(t: Ints, s: Ints, sets: Ints) -> int:
    """The refresh command, or the close of all banks of the channel while any is open."""
    for bank in range(t[TableWord.BANKS]):
        if row_of(t, s, bank) != CLOSED:
            return int(sets[t[TableWord.REFRESH], _CLOSES])
    return int(t[TableWord.REFRESH])


@compiled
def _fill(t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, held: Ints) -> None:
    """Take commands in, in order, while there is room."""
    while run[_HELD] < held.shape[0] and run[_NEXT] < program.shape[0]:
        held[run[_HELD], 0] = run[_NEXT]
        held[run[_HELD], 1] = _need(t, s, sets, program, run[_NEXT])
        run[_HELD] += 1
        run[_NEXT] += 1


@compiled
def _look_again(t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, held: Ints) -> None:
    """After rows changed: what each held command needs next."""
    for place in range(run[_HELD]):
        held[place, 1] = _need(t, s, sets, program, held[place, 0])


@compiled
def _need(t: Ints, s: Ints, sets: Ints, program: Ints, number: int) -> int:
    """What a command of the program needs next: itself, or one that opens its row or closes another."""
    command = program[number, 0]
    if command == BARRIER or sets[command, _OPENS] < 0:
        return int(command)
    for other in range(sets[command, _BANKS]):
        row = row_of(t, s, program[number, 1] + sets[command, _OFFSETS + other])
        if row != program[number, 2]:
            return int(sets[command, _OPENS if row == CLOSED else _CLOSES])
    return int(command)


@compiled
def _next_event(t: Ints, s: Ints, sets: Ints, program: Ints, run: Ints, held: Ints, tick: int) -> int:
    """First later tick at which something that can't go now may go."""
    soonest = s[StateWord.NEXT_REFRESH] if t[TableWord.REFRESH] >= 0 else NEVER
    if run[_CLOSE_UNUSED]:
        for bank in range(t[TableWord.BANKS]):
            command = s[t[TableWord.ROWS] + bank * _BANK + BankWord.DEADLINE]
            if row_of(t, s, bank) != CLOSED and command >= 0:
                when = s[t[TableWord.READY] + command * t[TableWord.BANKS] + bank]
                if when > tick:
                    soonest = min(soonest, when)
    elif run[_DUE]:
        soonest = min(soonest, earliest(t, s, _refresh_need(t, s, sets), _refreshed_bank(t, run)))
    for place in range(run[_HELD]):
        if held[place, 1] != BARRIER:
            when = s[t[TableWord.READY] + held[place, 1] * t[TableWord.BANKS] + program[held[place, 0], 1]]
            if when > tick:
                soonest = min(soonest, when)
    return int(max(soonest, tick + 1))
