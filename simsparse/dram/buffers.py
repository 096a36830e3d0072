# SPDX-License-Identifier: Apache-2.0
"""Requests in a channel, by buffers in order. An entry is named by its place in ``s``."""

from __future__ import annotations

from simsparse.dram.compiled import hot
from simsparse.dram.layout import Ints, StateWord, TableWord


@hot
def entry_at(t: Ints, s: Ints, buffer: int, place: int) -> int:
    """The entry at ``place`` of ``buffer``."""
    entry: int = s[t[TableWord.ORDER] + buffer * t[TableWord.POOL] + place]
    return entry


@hot
def append(t: Ints, s: Ints, buffer: int, entry: int) -> None:
    """Put ``entry`` last in ``buffer``."""
    s[t[TableWord.ORDER] + buffer * t[TableWord.POOL] + s[StateWord.LENGTH + buffer]] = entry
    s[StateWord.LENGTH + buffer] += 1


@hot
def take(t: Ints, s: Ints, buffer: int, place: int) -> int:
    """Take the entry at ``place`` out of ``buffer``."""
    order = t[TableWord.ORDER] + buffer * t[TableWord.POOL]
    entry: int = s[order + place]
    s[StateWord.LENGTH + buffer] -= 1
    for other in range(order + place, order + s[StateWord.LENGTH + buffer]):
        s[other] = s[other + 1]
    return entry


@hot
def new_entry(t: Ints, s: Ints) -> int:
    """A free entry."""
    s[StateWord.FREE] -= 1
    entry: int = s[t[TableWord.FREE] + s[StateWord.FREE]]
    return entry


@hot
def drop(t: Ints, s: Ints, entry: int) -> None:
    """Give ``entry`` back."""
    s[t[TableWord.FREE] + s[StateWord.FREE]] = entry
    s[StateWord.FREE] += 1
