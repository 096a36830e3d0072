# SPDX-License-Identifier: Apache-2.0
"""How much a reader of untrusted files takes: bytes, values and seconds, checked before and while a file is unpacked.

Every reader names the limits that it keeps in its docstring, and takes larger ones as ``limits``; commands that read
files of other tools take them as ``--limit bytes=1GiB``.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import BinaryIO

from simsparse.errors import SimsparseError, SpecError, TraceError, nearest

KIB, MIB = 1024, 1024**2
RATIO = 200
"""How many times its packed size a file may unpack to, beyond ``SMALL`` bytes."""
SMALL = 16 * MIB
_UNITS = {"": 1, "B": 1, "KiB": KIB, "MiB": MIB, "GiB": 1024**3, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_AT_ONCE = MIB


@dataclass(frozen=True)
class Limits:
    """``bytes`` of a file as it is unpacked, ``values`` (nodes, elements, rows) in it, ``seconds`` that reading takes.

    A packed file may not unpack to more than ``ratio`` times its size either, beyond 16 MiB; 0: 200 times, and as often
    as it likes where ``bytes`` is raised.
    """

    bytes: int = 256 * MIB
    values: int = 2_000_000
    seconds: float = 60.0
    ratio: int = 0

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Limits:
        """Limits from texts such as ``bytes=1GiB``, ``values=10000000`` and ``seconds=600``. Raises SpecError."""
        limits = cls()
        names = [field.name for field in fields(cls) if field.name != "ratio"]
        for text in texts:
            name, equals, said = text.partition("=")
            found = re.fullmatch(r"(\d{1,15})([A-Za-z]*)", said)
            if name not in names or not equals:
                raise SpecError(f"{text!r:.80} is not a limit; {nearest(name, names)}", key="limit")
            if found is None or found[2] not in (_UNITS if name == "bytes" else ("",)) or not int(found[1]):
                raise SpecError(
                    f"{said!r:.80} is not a positive whole number, of bytes with a unit", key=f"limit.{name}"
                )
            limits = replace(limits, **{name: int(found[1]) * _UNITS[found[2]]})
        return limits

    def check(self, name: str, amount: int, error: type[SimsparseError] = TraceError) -> None:
        """Raises ``error`` when ``amount`` exceeds the limit ``name``."""
        most = getattr(self, name)
        if amount > most:
            raise error(f"{amount} {name}, more than the limit of {most}; raise it with limit {name}=...")

    def clock(self, error: type[SimsparseError] = TraceError) -> Callable[[], None]:
        """A function that raises ``error`` when it is called after the limit of seconds from now."""
        end = time.monotonic() + self.seconds

        def check() -> None:
            if time.monotonic() > end:
                raise error(f"takes longer than the limit of {self.seconds:g} seconds; raise it with limit seconds=...")

        return check

    def unpacked(self, packed: int) -> int:
        """Most bytes that ``packed`` bytes may unpack to."""
        if not self.ratio and self.bytes != Limits.bytes:
            return self.bytes
        return min(self.bytes, max(SMALL, (self.ratio or RATIO) * packed))


def read_whole(path: Path, most: int, error: type[SimsparseError] = TraceError) -> bytes:
    """All bytes of a file.

    Raises ``error`` when there are more than ``most``, however long it says it is, or its name holds a NUL; OSError.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except ValueError as failure:
        raise error(f"can't be read: {failure}", file=str(path)) from failure
    if len(content) > most:
        raise error(f"is longer than {most} bytes", file=str(path))
    return content


def read_stream(stream: BinaryIO, packed: int | None, limits: Limits) -> bytes:
    """All bytes of ``stream``, piece by piece; ``packed``: bytes that they are unpacked from. Raises TraceError."""
    most = limits.bytes if packed is None else limits.unpacked(packed)
    clock, pieces, size = limits.clock(), [], 0
    while piece := stream.read(_AT_ONCE):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            what = "is longer than" if packed is None else f"{packed} bytes unpack to more than"
            raise TraceError(f"{what} {most} bytes; raise the limit with limit bytes=...")
        clock()
    return b"".join(pieces)


def unpacked_pieces(data: bytes, limits: Limits) -> Iterator[bytes]:
    """zlib's ``data`` unpacked, piece by piece. Raises TraceError beyond the limit, zlib.error on damage."""
    packed = len(data)
    most, size, worker, piece = limits.unpacked(packed), 0, zlib.decompressobj(), b""
    while (data or piece) and not worker.eof:
        piece = worker.decompress(data, _AT_ONCE)
        data, size = worker.unconsumed_tail, size + len(piece)
        if size > most:
            raise TraceError(f"{packed} bytes unpack to more than {most} bytes; raise the limit with limit bytes=...")
        yield piece
    if not worker.eof:
        raise zlib.error("incomplete data")


def check_json(text: bytes, limits: Limits) -> None:
    """Raises TraceError when JSON ``text`` holds too much, before any memory is taken for it.

    Too much are more lists and objects than twice the limit of values, and more separators than six times that.
    """
    for amount, share in ((text.count(b"[") + text.count(b"{"), 2), (text.count(b","), 6)):
        limits.check("values", -(-amount // share))
