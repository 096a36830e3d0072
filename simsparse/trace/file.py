# SPDX-License-Identifier: Apache-2.0
"""Trace files: JSON lines, gzip'd when large; docs/trace-format.md describes them.

Reading needs neither torch nor numpy. A file is untrusted: sizes are checked before memory is
taken, and whatever is not as described is a TraceError that names file and line.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

from simsparse.core import Op, Trace
from simsparse.core.table import is_frame
from simsparse.core.trace import WRITERS
from simsparse.errors import SimsparseError, TraceError
from simsparse.paths import data_root, is_file, temporary_prefix
from simsparse.trace.record import MAX_DEPS, MAX_IDS, OpRecord, body_of, checked, ids_in, op_from, op_record
from simsparse.trace.table import trace_of_table

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "simsparse-trace"
VERSION = 3
READABLE = (1, 2, 3)
"""Version 1 has a routing's ids as arrays; before version 3 ops have no kernels,
no weight format, no type of results and no optional dims; all else is the same."""

GZIP_FROM_BYTES = 64 * 1024
MAX_TEXT_BYTES = 256 * 1024**2
MAX_LINE_BYTES = 16 * 1024**2
MAX_OPS = 2_000_000
_GZIP_MAGIC = b"\x1f\x8b"
_HEADER_KEYS = {"format", "version", "name", "meta", "bodies", "ops"}


@WRITERS.register("file")
def save_trace(trace: Trace, path: str | Path) -> Path:
    """Write ``trace`` to ``path`` and return the path.

    The text is gzip'd when it exceeds 64 KiB or the path ends in ``.gz``. The file appears whole or
    not at all. Raises TraceError when the trace holds what a file can't (NaN, values that are not
    JSON, a dim out of range) or the path can't be written.
    """
    target = Path(path)
    text = trace_text(trace).encode()
    if len(text) > MAX_TEXT_BYTES:
        raise TraceError(f"{len(text)} bytes of text; at most {MAX_TEXT_BYTES} are allowed", key=trace.name)
    if len(text) > GZIP_FROM_BYTES or target.suffix == ".gz":
        text = gzip.compress(text, compresslevel=9, mtime=0)
    replace_file(target, text)
    return target


def load_trace(path: str | Path | pd.DataFrame) -> Trace:
    """The trace in the file ``path``, plain or gzip'd; a path under the package's data folder serves too.

    In place of a file, a table with one row per operator: see ``simsparse.trace.table.trace_of_table``.
    Raises TraceError naming file and line when the file is missing, truncated, of another version,
    too large, or says anything that docs/trace-format.md does not allow.
    """
    if is_frame(path):
        return trace_of_table(path)
    source = Path(cast("str | Path", path))
    if not is_file(source) and is_file(data_root() / source):
        source = data_root() / source
    try:
        with source.open("rb") as file:
            return _trace_from(file, str(source))
    except (OSError, ValueError) as error:
        raise TraceError(f"can't be read: {error}", file=str(source)) from error


def trace_in(content: bytes, name: str) -> Trace:
    """The trace in the ``content`` of the file ``name``, plain or gzip'd. Raises TraceError as ``load_trace`` does."""
    return _trace_from(io.BytesIO(content), name)


def _trace_from(file: BinaryIO, name: str) -> Trace:
    try:
        return _read(_Lines(_text_stream(file), name))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise TraceError(f"can't be read: {error}", file=name) from error


def trace_text(trace: Trace) -> str:
    """The lines of the file that ``trace`` is saved as. Raises TraceError as ``save_trace`` does."""
    bodies: dict[str, int] = {}
    index = {op.name: i for i, op in enumerate(trace.ops)}
    ops = [_op_line(trace, op, i, index, bodies) for i, op in enumerate(trace.ops)]
    header = {
        "format": FORMAT, "version": VERSION, "name": _name(trace.name), "meta": dict(trace.meta),
        "bodies": len(bodies), "ops": len(ops),
    }  # fmt: skip
    return "\n".join([_dump(header, trace.name), *bodies, *ops]) + "\n"


def _op_line(trace: Trace, op: Op, i: int, index: dict[str, int], bodies: dict[str, int]) -> str:
    try:
        checked(op)
        body = bodies.setdefault(_dump(body_of(op), op.name), len(bodies))
        return _dump(op_record(op, body, [index[dep] - i for dep in op.deps]), op.name)
    except SimsparseError as error:
        raise TraceError(f"can't be saved: {error.message}", key=f"{trace.name}: {error.key or op.name}") from error


def _dump(value: Any, key: str) -> str:
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TraceError(f"is not JSON: {error}", key=key) from error
    if len(text) >= MAX_LINE_BYTES:
        raise TraceError(f"takes {len(text)} bytes; a line has at most {MAX_LINE_BYTES}", key=key)
    return text


def _name(name: str) -> str:
    if not name.isprintable() or not name:
        raise TraceError(f"{name!r} is not a printable name", key="name")
    return name


def replace_file(target: Path, content: bytes) -> None:
    """Write ``content`` to ``target``, whole or not at all. Raises TraceError; a device or a folder is not replaced."""
    temporary = target.with_name(f"{temporary_prefix(target)}tmp")
    try:
        if target.exists() and not target.is_file():
            raise TraceError("can't be written: is no plain file", file=str(target))
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        said = getattr(error, "strerror", None) or error
        raise TraceError(f"can't be written: {said}", file=str(target)) from error
    finally:
        with suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)


def _text_stream(file: BinaryIO) -> BinaryIO:
    magic = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    return io.BufferedReader(gzip.GzipFile(fileobj=file)) if magic == _GZIP_MAGIC else file


class _Lines:
    """Objects of a stream of JSON lines, each checked for size before it is parsed."""

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self._stream, self._file = stream, file
        self._bytes = 0
        self.line = 0

    def fail(self, message: str, key: str | None = None) -> NoReturn:
        raise TraceError(message, file=self._file, line=self.line, key=key)

    def next(self, what: str) -> dict[str, Any]:
        """The object of the next line. Raises TraceError at the end of the file."""
        self.line += 1
        text = self._stream.readline(MAX_LINE_BYTES + 1)
        self._bytes += len(text)
        if len(text) > MAX_LINE_BYTES:
            self.fail(f"the line is longer than {MAX_LINE_BYTES} bytes")
        if self._bytes > MAX_TEXT_BYTES:
            self.fail(f"the text is longer than {MAX_TEXT_BYTES} bytes")
        if not text.endswith(b"\n"):
            self.fail(f"the file ends here, before {what} is complete")
        return self._parse(text)

    def end(self) -> None:
        """Raises TraceError when anything follows."""
        self.line += 1
        if self._stream.read(1):
            self.fail("more lines than the header counts")

    def _parse(self, text: bytes) -> dict[str, Any]:
        try:
            value = parse_json(text.decode("utf-8"))
        except RecursionError:
            self.fail("nested too deeply")
        except ValueError as error:
            self.fail(f"is not a line of a trace file: {error}")
        if not isinstance(value, dict):
            self.fail("is not a JSON object")
        return value


def parse_json(text: str) -> Any:
    """The value of JSON ``text`` of at most MAX_LINE_BYTES characters, strictly: finite numbers, each key once.

    Raises ValueError, RecursionError.
    """
    if len(text) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} characters")
    return _JSON.decode(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


_JSON = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)


def _read(lines: _Lines) -> Trace:
    header = lines.next("the header")
    name, meta, bodies, ops = _header(header, lines)
    records = [_body(lines, i) for i in range(bodies)]
    return _trace(name, meta, tuple(_ops(lines, records, ops)), lines)


def _header(header: dict[str, Any], lines: _Lines) -> tuple[str, dict[str, Any], int, int]:
    if header.get("format") != FORMAT:
        lines.fail(f"not a trace file: the first line does not say format {FORMAT!r}")
    if header.get("version") not in READABLE or type(header["version"]) is not int:
        allowed = ", ".join(map(str, READABLE))
        lines.fail(f"{header.get('version')!r:.40} is not a version that is read; allowed: {allowed}", "version")
    if set(header) != _HEADER_KEYS:
        odd = sorted(set(header) ^ _HEADER_KEYS)
        lines.fail(f"{odd[0]!r:.80} is missing or unknown; a header has {', '.join(sorted(_HEADER_KEYS))}")
    name, meta = header["name"], header["meta"]
    if not isinstance(name, str) or not name or not name.isprintable():
        lines.fail(f"{name!r:.80} is not a printable name", "name")
    if not isinstance(meta, dict):
        lines.fail("is not an object", "meta")
    bodies, ops = (_count(header, key, lines) for key in ("bodies", "ops"))
    if bodies > ops:
        lines.fail(f"{bodies} bodies for {ops} ops; at most one an op", "bodies")
    return name, meta, bodies, ops


def _count(header: dict[str, Any], key: str, lines: _Lines) -> int:
    value = header[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_OPS:
        lines.fail(f"{value!r:.40} is not a whole number from 0 to {MAX_OPS}", key)
    return value


def _body(lines: _Lines, i: int) -> OpRecord:
    try:
        return OpRecord.parse(lines.next(f"body {i}"))
    except SimsparseError as error:
        _at(lines, error)


def _ops(lines: _Lines, bodies: list[OpRecord], count: int) -> Iterator[Op]:
    names: list[str] = []
    seen: set[str] = set()
    edges = ids = 0
    for i in range(count):
        record = lines.next(f"op {i} of {count}")
        ids += ids_in(record)
        if ids > MAX_IDS:
            lines.fail(f"more than {MAX_IDS} expert ids", "routing.ids")
        try:
            op = op_from(record, bodies, names)
        except SimsparseError as error:
            _at(lines, error)
        edges += len(op.deps)
        if op.name in seen:
            lines.fail(f"op name {op.name!r:.80} is used twice", "name")
        if edges > MAX_DEPS:
            lines.fail(f"more than {MAX_DEPS} dependencies", "deps")
        names.append(op.name)
        seen.add(op.name)
        yield op


def _trace(name: str, meta: dict[str, Any], ops: tuple[Op, ...], lines: _Lines) -> Trace:
    lines.end()
    return Trace(name, ops, meta)


def _at(lines: _Lines, error: SimsparseError) -> NoReturn:
    if isinstance(error, TraceError) and error.file is not None:
        raise error
    lines.fail(error.message, error.key)
