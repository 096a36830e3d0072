# SPDX-License-Identifier: Apache-2.0
"""The constraint table at work: when a command may go, and what it makes later ones wait for.

A rule holds for all banks of a node; ready times are kept per bank, so that asking takes one look.
"""

from __future__ import annotations

from simsparse.dram.compiled import compiled, hot
from simsparse.dram.layout import CommandWord, Ints, RuleWord, TableWord

_RULE, _COMMAND = len(RuleWord), len(CommandWord)


@hot
def kind_of(t: Ints, command: int) -> int:
    """``Effect`` of a command."""
    kind: int = t[t[TableWord.COMMANDS] + command * _COMMAND + CommandWord.KIND]
    return kind


@hot
def closes(t: Ints, command: int) -> bool:
    """Whether a command closes rows."""
    answer: bool = t[t[TableWord.COMMANDS] + command * _COMMAND + CommandWord.CLOSES] == 1
    return answer


@hot
def cover_of(t: Ints, command: int) -> int:
    """Which banks a command is for, see ``CommandWord.COVER``."""
    cover: int = t[t[TableWord.COMMANDS] + command * _COMMAND + CommandWord.COVER]
    return cover


@compiled
def bank_range(t: Ints, cover: int, bank: int) -> tuple[int, int, int]:
    """First bank, end and step of the banks that a command of ``cover`` to ``bank`` is for."""
    if cover == 0:
        return bank, bank + 1, 1
    many = t[TableWord.SCOPE_BANKS]
    first = bank // many * many
    if cover == 1:
        return first, first + many, 1
    step = t[TableWord.BANK_NUMBERS]
    return first + bank % step, first + many, step


@compiled
def earliest(t: Ints, s: Ints, command: int, bank: int) -> int:
    """First tick at which the constraints allow ``command`` to all banks that it is for."""
    ready = t[TableWord.READY] + command * t[TableWord.BANKS]
    cover = cover_of(t, command)
    if cover == 0:
        when: int = s[ready + bank]
        return when
    first, end, step = bank_range(t, cover, bank)
    if cover == 1:
        return int(s[ready + first])
    latest = 0
    for other in range(first, end, step):
        latest = max(latest, s[ready + other])
    return latest


@hot
def constrain(t: Ints, s: Ints, command: int, bank: int, tick: int) -> None:
    """Let ``command``, issued at ``tick``, hold back those that follow it."""
    cover = cover_of(t, command)
    begin, stop = t[t[TableWord.FIRST] + command], t[t[TableWord.FIRST] + command + 1]
    for rule in range(t[TableWord.RULES] + begin * _RULE, t[TableWord.RULES] + stop * _RULE, _RULE):
        span, until = t[rule + RuleWord.SPAN], tick + t[rule + RuleWord.TICKS]
        first = t[t[TableWord.NODE] + t[rule + RuleWord.NODE] + bank]
        if t[rule + RuleWord.PARENT] >= 0:
            if cover == 0 or not t[rule + RuleWord.WITHIN]:
                parent = t[t[TableWord.NODE] + t[rule + RuleWord.PARENT] + bank]
                _hold(t, s, rule, parent, first, 1, until)
                _hold(t, s, rule, first + span, parent + t[rule + RuleWord.PARENT_SPAN], 1, until)
            continue
        if t[rule + RuleWord.HISTORY] >= 0:
            since = _push(t, s, rule, first, tick)
            if since < 0:
                continue
            until = since + t[rule + RuleWord.TICKS]
        if cover and t[rule + RuleWord.WITHIN]:
            begins, ends, step = bank_range(t, cover, bank)
            _hold(t, s, rule, begins, ends, step if t[rule + RuleWord.BANK] else 1, until)
        else:
            _hold(t, s, rule, first, first + span, 1, until)


@hot
def _hold(t: Ints, s: Ints, rule: int, first: int, end: int, step: int, until: int) -> None:
    """Hold back the following command of ``rule`` in a range of banks."""
    ready = t[TableWord.READY] + t[rule + RuleWord.READY]
    if t[rule + RuleWord.STEP] > 1:
        step = t[rule + RuleWord.STEP]
        first = first // step * step
    if step == 1 and end - first > 4:
        words = s[ready + first : ready + end]  # numba compiles a loop over a slice to vector instructions
        for place in range(words.shape[0]):
            words[place] = max(words[place], until)
    else:
        for place in range(ready + first, ready + end, step):
            s[place] = max(s[place], until)


@hot
def _push(t: Ints, s: Ints, rule: int, first: int, tick: int) -> int:
    """Note ``tick``; returns that of the ``window``-th last command, -1 before there were so many."""
    ring = t[TableWord.HISTORY] + (t[rule + RuleWord.HISTORY] * t[TableWord.BANKS] + first) * (t[TableWord.WINDOW] + 1)
    place = s[ring + t[TableWord.WINDOW]]
    s[ring + place] = tick
    place += 1
    if place == t[rule + RuleWord.WINDOW]:
        place = 0
    s[ring + t[TableWord.WINDOW]] = place
    oldest: int = s[ring + place]
    return oldest
