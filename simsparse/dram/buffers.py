# SPDX-License-Identifier: Apache-2.0
"""Requests in a channel, by buffers in order. An entry is named by its place in ``s``."""

from __future__ import annotations

from numba import njit

from simsparse.dram.layout import Ints
from simsparse.dram.layout import StateWord as S
from simsparse.dram.layout import TableWord as T


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def entry_at(t: Ints, s: Ints, buffer: int, place: int) -> int:
    """The entry at ``place`` of ``buffer``."""
    entry: int = s[t[T.ORDER] + buffer * t[T.POOL] + place]
    return entry


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def append(t: Ints, s: Ints, buffer: int, entry: int) -> None:
    """Put ``entry`` last in ``buffer``."""
    s[t[T.ORDER] + buffer * t[T.POOL] + s[S.LENGTH + buffer]] = entry
    s[S.LENGTH + buffer] += 1


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def take(t: Ints, s: Ints, buffer: int, place: int) -> int:
    """Take the entry at ``place`` out of ``buffer``."""
    order = t[T.ORDER] + buffer * t[T.POOL]
    entry: int = s[order + place]
    s[S.LENGTH + buffer] -= 1
    for other in range(order + place, order + s[S.LENGTH + buffer]):
        s[other] = s[other + 1]
    return entry


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def new_entry(t: Ints, s: Ints) -> int:
    """A free entry."""
    s[S.FREE] -= 1
    entry: int = s[t[T.FREE] + s[S.FREE]]
    return entry


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def drop(t: Ints, s: Ints, entry: int) -> None:
    """Give ``entry`` back."""
    s[t[T.FREE] + s[S.FREE]] = entry
    s[S.FREE] += 1
