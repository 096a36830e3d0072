# SPDX-License-Identifier: Apache-2.0
"""What all formats of other tools share: the registry, options, notes on what is lost, bounded reading."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simsparse.core import DType, Trace
from simsparse.errors import SimsparseError, TraceError, nearest
from simsparse.limits import Limits, read_stream
from simsparse.registry import Registry
from simsparse.trace.record import checked

MAX_NODES = Limits.values
_GZIP_MAGIC = b"\x1f\x8b"
_HERE = "simsparse.trace.interchange"


@dataclass(frozen=True)
class ImportOptions:
    """What a file may not say: the element type, how many ranks a collective joins, sizes of symbolic dims.

    ``limits``: how much of a file is read.
    """

    dtype: DType | None = None
    ranks: int | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Imported:
    """A trace read from another tool's file, and what was assumed or left out on the way."""

    trace: Trace
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TraceFormat:
    """Another tool's format of workloads.

    ``suffixes`` are the ends of file names that choose it. ``read`` and ``write`` are None where
    the format is export-only or import-only; ``write`` returns notes on what the format can't
    carry.
    """

    name: str
    suffixes: tuple[str, ...]
    about: str
    read: Callable[[Path, ImportOptions], Imported] | None = None
    write: Callable[[Trace, Path], tuple[str, ...]] | None = None


TRACE_FORMATS: Registry[TraceFormat] = Registry(
    "trace format",
    tuple(f"{_HERE}.{name}" for name in ("accelforge", "chakra", "onnx_model", "parquet", "scalesim", "timeloop",
                                         "torch_et")),
)  # fmt: skip


def import_trace(path: str | Path, format: str | None = None, options: ImportOptions | None = None) -> Imported:
    """The trace in another tool's file, whose format its suffix or ``format`` says.

    Raises TraceError naming the file and the place in it when it is damaged, exceeds the limits of
    ``options``, or says what a trace can't hold; SpecError on an unknown format.
    """
    source = Path(path)
    read = format_of(source, format, "read").read
    assert read is not None
    try:
        found = read(source, options or ImportOptions())
        for op in found.trace.ops:
            _checked_at(source, op.name, lambda op=op: checked(op))  # type: ignore[misc]
    except SimsparseError as error:
        if error.file is not None:
            raise
        raise TraceError(error.message, file=str(source), line=error.line, key=error.key) from error
    except (OSError, EOFError, zlib.error, ValueError, RecursionError, OverflowError, MemoryError) as error:
        said = "takes more memory than there is" if isinstance(error, MemoryError) else error
        raise TraceError(f"can't be read: {said}", file=str(source)) from error
    return found


def _checked_at(source: Path, place: str, check: Callable[[], object]) -> None:
    try:
        check()
    except SimsparseError as error:
        raise TraceError(error.message, file=str(source), key=f"{place}: {error.key}") from error


def export_trace(trace: Trace, path: str | Path, format: str | None = None) -> tuple[str, ...]:
    """Write ``trace`` in another tool's format; returns what that format can't carry.

    Raises TraceError when nothing of the trace can be carried or the path can't be written;
    SpecError on an unknown format.
    """
    target = Path(path)
    write = format_of(target, format, "write").write
    assert write is not None
    return write(trace, target)


def format_of(path: Path, name: str | None, role: str) -> TraceFormat:
    """The format called ``name``, else the one whose suffix ends the file's name; ``role`` is read or write."""
    if name is not None:
        chosen = TRACE_FORMATS.get(name)
        if getattr(chosen, role) is None:
            raise TraceError(f"{name} can't be {_DONE[role]}; {nearest(name, formats(role))}", key="format")
        return chosen
    able = [TRACE_FORMATS.get(each) for each in formats(role)]
    found = [each for each in able if path.name.lower().endswith(each.suffixes)]
    if not found:
        known = ", ".join(f"{suffix} ({each.name})" for each in able for suffix in each.suffixes)
        message = f"the suffix of {path.name!r} is of no format that can be {_DONE[role]}; known: {known}; or --format"
        raise TraceError(message, file=str(path))
    return max(found, key=lambda each: max(len(s) for s in each.suffixes if path.name.lower().endswith(s)))


_DONE = {"read": "imported", "write": "exported"}


def formats(role: str) -> list[str]:
    """Names of the formats that can be imported (``read``) or exported (``write``)."""
    return [name for name in TRACE_FORMATS if getattr(TRACE_FORMATS.get(name), role) is not None]


class Notes:
    """What was assumed or left out, each said once with how many ops it concerns."""

    def __init__(self) -> None:
        self._seen: dict[str, list[str]] = {}

    def add(self, text: str, op: str | None = None) -> None:
        """``text`` concerns ``op``, or the whole file."""
        self._seen.setdefault(text, []).extend([] if op is None else [op])

    def lines(self, *more: str) -> tuple[str, ...]:
        """One line a note, in the order of first mention."""
        return (*map(_line, self._seen.items()), *more)


def _line(note: tuple[str, Sequence[str]]) -> str:
    text, ops = note
    if not ops:
        return text
    return f"{text} ({ops[0]})" if len(ops) == 1 else f"{text} ({len(ops)} ops, the first {ops[0]})"


def read_bounded(path: Path, limits: Limits) -> bytes:
    """The bytes of a file, unzipped when it is gzip'd. Raises TraceError beyond the limits of bytes and seconds."""
    with path.open("rb") as file:
        zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        if not zipped:
            return read_stream(file, None, limits)
        return read_stream(gzip.GzipFile(fileobj=file), path.stat().st_size, limits)  # type: ignore[arg-type]


def dims_of(texts: Iterable[str]) -> Mapping[str, int]:
    """Sizes of symbolic dims from texts such as ``batch=8``. Raises TraceError."""
    sizes = {}
    for text in texts:
        name, _, size = text.partition("=")
        if not name or not size.isascii() or not size.isdecimal() or not 0 < int(size[:20]) < 2**31:
            raise TraceError(f"{text!r:.80} is not a dim; expected NAME=SIZE such as batch=8", key="dim")
        sizes[name] = int(size)
    return sizes


def printable(text: str | bytes, longest: int = 300) -> str:
    """``text``, or bytes that are no UTF-8, as a trace may hold it: printable and not too long."""
    if isinstance(text, bytes):
        text = text[:longest].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text[:longest])
