# SPDX-License-Identifier: Apache-2.0
"""Streams of requests: patterns and address traces, in blocks so that memory stays flat."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simsparse.dram.compiled import compiled
from simsparse.dram.layout import Ints
from simsparse.errors import SpecError, TraceError

Drawn = NDArray[np.uint64]
BLOCK = 1 << 15
"""Requests that are made at once."""
MAX_LINE, MAX_TICKS = 4096, 1 << 36
"""Characters of a line of an address trace, and ticks in it: about half a minute of a DRAM's time."""
SEED = 12345
_MULTIPLIER, _INCREMENT = np.uint64(6364136223846793005), np.uint64(1442695040888963407)
_DRAWN_BITS = np.uint64(33)


class Pattern(StrEnum):
    """Order of the accesses of a stream."""

    SEQ = "seq"
    """One after the other."""
    STRIDE = "stride"
    """A stride apart; at the end of the region back to its beginning, one access further."""
    RANDOM = "random"
    """Anywhere in the region, each as likely."""


class Writes(StrEnum):
    """Which accesses write."""

    NONE = "r"
    ALL = "w"
    MIX = "mix"
    """Every third."""


@dataclass(frozen=True)
class AccessStream:
    """``count`` accesses of a pattern in a region of ``region`` accesses, ``stride`` accesses apart."""

    pattern: Pattern
    writes: Writes
    count: int
    region: int
    stride: int = 0
    seed: int = SEED

    def blocks(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Access numbers, 1 for a write, and tick before which the access does not come."""
        state = np.array([self.seed], np.uint64)
        for first in range(0, self.count, BLOCK):
            number = np.arange(first, min(first + BLOCK, self.count), dtype=np.int64)
            yield self._places(number, state), self._writing(number), np.zeros_like(number)

    def _places(self, number: Ints, state: Drawn) -> Ints:
        if self.pattern is Pattern.RANDOM:
            places = np.empty(len(number), np.int64)
            _draw(state, self.region, places)
            return places
        if self.pattern is Pattern.SEQ:
            return np.asarray(number % self.region, np.int64)
        around = number * self.stride
        return np.asarray((around % self.region + around // self.region) % self.region, np.int64)

    def _writing(self, number: Ints) -> Ints:
        if self.writes is Writes.MIX:
            return np.asarray(number % 3 == 2, np.int64)
        return np.full_like(number, self.writes is Writes.ALL)


@compiled
def _draw(state: Drawn, region: int, places: Ints) -> None:
    """Fill ``places`` with draws below ``region`` of a linear congruential generator of 64 bits (Knuth's MMIX)."""
    x = state[0]
    for i in range(places.shape[0]):
        x = x * _MULTIPLIER + _INCREMENT
        places[i] = np.int64(x >> _DRAWN_BITS) % region
    state[0] = x


_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{1,16}|\d{1,19}")
_READ_WORDS = frozenset(("R", "RD", "READ", "LD", "LOAD", "P_MEM_RD"))
_WRITE_WORDS = frozenset(("W", "WR", "WRITE", "ST", "STORE", "P_MEM_WR"))


@dataclass(frozen=True)
class AddressTrace:
    """A text file, one access per line: an address, R or W (LD, ST, READ, WRITE too), and perhaps a tick.

    ``#`` begins a comment. A tick is when the access comes at the earliest; without one it comes when there is room.
    Limits: MAX_LINE characters of a line, ticks below MAX_TICKS, and the numbers of an access below 2**62.
    """

    path: Path
    access_bytes: int

    def blocks(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """As those of ``AccessStream``. Raises TraceError that names file and line, or a file without any access."""
        empty = True
        with closing(self._lines()) as lines:
            while block := [self._access(number, text) for number, text in islice(lines, BLOCK)]:
                empty, columns = False, np.array(block, np.int64).T
                yield columns[0].copy(), columns[1].copy(), columns[2].copy()
        if empty:
            raise self._error("holds no access")

    def _lines(self) -> Generator[tuple[int, str], None, None]:
        """Number and text of each line that is no comment. Raises TraceError."""
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                for number in count(1):
                    if not (line := file.readline(MAX_LINE)):
                        return
                    if len(line) == MAX_LINE:
                        raise self._error(f"is longer than {MAX_LINE} characters", number)
                    if text := line.partition("#")[0].strip():
                        yield number, text
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise self._error(f"can't be read: {getattr(error, 'strerror', None) or error}") from error

    def _access(self, line: int, text: str) -> tuple[int, int, int]:
        numbers, writes = [], None
        for word in text.replace(",", " ").split():
            if word.upper() in _READ_WORDS | _WRITE_WORDS and writes is None:
                writes = int(word.upper() in _WRITE_WORDS)
            elif _ADDRESS.fullmatch(word):
                numbers.append(int(word, 0) if word.lower().startswith("0x") else int(word))
            else:
                raise self._error(f"{word!r:.60}: expected an address, R or W, and a tick", line)
        if not 1 <= len(numbers) <= 2 or max(numbers) >= 1 << 62:
            raise self._error("expected an address below 2**62, R or W, and perhaps a tick", line)
        tick = numbers[1] if len(numbers) == 2 else 0
        if tick >= MAX_TICKS:
            raise self._error(
                f"tick {tick}; expected ticks below {MAX_TICKS}, as all refreshes until then are run", line
            )
        return numbers[0] // self.access_bytes, writes or 0, tick

    def _error(self, message: str, line: int | None = None) -> TraceError:
        return TraceError(message, file=str(self.path), line=line)


def stream_of(
    pattern: str, rw: str, bytes: int, access_bytes: int, region: int, stride: int, room: int, seed: int
) -> AccessStream:
    """A stream of ``bytes`` in ``region`` bytes of a memory that holds ``room`` accesses. Raises SpecError."""
    for key, value, kinds in (("pattern", pattern, Pattern), ("rw", rw, Writes)):
        if value not in list(kinds):
            raise SpecError(f"{value!r:.60} is not one of {', '.join(kinds)}", key=key)
    if not access_bytes <= bytes < 1 << 50:
        raise SpecError(f"{bytes} bytes: expected one access of {access_bytes} bytes to 2**50", key="bytes")
    within = region // access_bytes
    if not 1 <= within <= room:
        raise SpecError(f"{region} bytes: expected {access_bytes} to {room * access_bytes}", key="region")
    if pattern == Pattern.STRIDE and not (stride >= access_bytes and stride % access_bytes == 0):
        raise SpecError(f"{stride} bytes is not a multiple of the access, {access_bytes} bytes", key="stride")
    if not 0 <= seed < 1 << 64:
        raise SpecError(f"{seed} is not from 0 to 2**64 - 1", key="seed")
    count = -(-bytes // access_bytes)
    return AccessStream(Pattern(pattern), Writes(rw), count, within, stride // access_bytes, seed)
