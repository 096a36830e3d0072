# SPDX-License-Identifier: Apache-2.0
"""What commands print: tables for people, JSON for programs, and files that are whole or absent."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from simsparse.cli.progress import make_way
from simsparse.errors import StoreError
from simsparse.paths import temporary_prefix
from simsparse.text import printable

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write to; nothing is written elsewhere.")]
CellRow = Sequence[object]

WIDTH = 160
"""Columns of a table that goes to a file or pipe."""


def part_words(incomplete: str) -> list[str]:
    """The names of parts and systems that begin so, for the completion of shells."""
    from simsparse.config.paths import own_part_names, part_names

    return [name for name in (*part_names(), *own_part_names()) if name.startswith(incomplete)]


def emit_json(data: Any) -> None:
    """Print ``data`` as JSON on stdout; numbers that JSON lacks (infinite, not a number) are null."""
    line(json.dumps(_plain(data), indent=1, allow_nan=False))


def line(text: str) -> None:
    """Print ``text`` on stdout."""
    make_way()
    sys.stdout.write(text + "\n")


def _plain(value: Any) -> Any:
    """``value`` of JSON's own types: numpy's numbers as Python's, sequences as lists, all else as text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple | set | frozenset) else str(value)


def table(title: str, columns: Sequence[str], rows: Sequence[CellRow], right: Sequence[str] = ()) -> None:
    """Print a table on stdout; the columns in ``right`` are flush right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(printable(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    make_way()
    wide = None if sys.stdout.isatty() else WIDTH
    console = Console(file=sys.stdout, width=wide, highlight=False)
    console.print(Text(printable(title), style="bold"))
    console.print(drawn)


def note(message: str) -> None:
    """Print a line for people on stderr."""
    make_way()
    sys.stderr.write(printable(message) + "\n")


def si(value: float | None, unit: str) -> str:
    """``value`` with three to four digits and a prefix: ``1.23 ms``."""
    if value is None or value != value:  # noqa: PLR0124
        return "unknown"
    if value == 0:
        return f"0 {unit}"
    scales = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))
    scale, prefix = next(((s, p) for s, p in scales if abs(value) >= s), (1e-12, "p"))
    return f"{value / scale:.4g} {prefix}{unit}"


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to write in that becomes ``out`` when all is written, or whose files move into it.

    Nothing is left when the body raises. Raises StoreError when ``out`` can't be written, before the body as far as
    that is known by then.
    """
    if out.exists() and not (out.is_dir() and os.access(out, os.W_OK)):
        raise StoreError("is no folder that can be written", file=str(out))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=out.parent, prefix=temporary_prefix(out)))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise StoreError(f"can't be written: {getattr(error, 'strerror', None) or error}", file=str(out)) from error
    try:
        yield part
        part.chmod(0o755)
        _move(part, out)
    except OSError as error:
        raise StoreError(f"can't be written: {error.strerror or error}", file=str(out)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, out: Path) -> None:
    if not out.exists():
        part.rename(out)
        return
    for file in part.iterdir():
        file.replace(out / file.name)
