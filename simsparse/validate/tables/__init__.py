# SPDX-License-Identifier: Apache-2.0
"""Public tables of measured kernels: CSV files whose header says what they hold.

A user gives the path of a table that was fetched from where docs/howto/validate.md says; tables are not part of
this project. A row becomes a Measurement: its columns as fields, ``s`` the seconds.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsparse.errors import SpecError
from simsparse.limits import read_whole
from simsparse.registry import Registry
from simsparse.validate.measurement import MAX_BYTES, Measurement


@dataclass(frozen=True)
class TableSchema:
    """A schema: the ``columns`` that its header must hold, and the section of a row (by its fields).

    ``spread``: columns that are a measurement each, with what ran in them, and seconds of their unit; the other fields
    of the row go with each, and ``kernel`` says what ran.
    """

    columns: frozenset[str]
    section: Callable[[Mapping[str, Any]], str]
    seconds: Callable[[Mapping[str, Any]], Any]
    spread: tuple[Mapping[str, str], float] | None = None


TABLES: Registry[TableSchema] = Registry("table", package="simsparse.validate.tables")
"""Schemas by name; a module of this package registers those of one source."""


def is_table(path: str | Path) -> bool:
    """Whether the file is read as a table: by its name."""
    return str(path).endswith((".csv", ".csv.gz"))


def read_table(path: str | Path) -> list[Measurement]:
    """The rows of a CSV file, packed or plain. Raises SpecError that names file and line."""
    text = _text(Path(path))
    rows = csv.DictReader(io.StringIO(text))
    table = _table_of(rows.fieldnames or (), str(path))
    return [measured for row in rows for measured in _row(table, row, str(path), rows.line_num)]


def read_rows(path: str | Path, section: Callable[[Mapping[str, Any]], str]) -> list[Measurement]:
    """The rows of a CSV file of any columns, with the section that its fields give. Raises SpecError."""
    text = _text(Path(path))
    rows = csv.DictReader(io.StringIO(text))
    found = []
    for row in rows:
        fields = _fields(row, str(path), rows.line_num)
        found.append(Measurement(section(fields), fields, str(path), rows.line_num))
    return found


def _text(path: Path) -> str:
    try:
        data = read_whole(path, MAX_BYTES, SpecError)
        if path.suffix == ".gz":
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SpecError(f"unpacks to more than {MAX_BYTES} bytes", file=str(path))
        return data.decode("utf-8")
    except (OSError, EOFError, zlib.error) as error:
        raise SpecError(f"can't be read: {error}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text: {error.reason}", file=str(path)) from error


def _table_of(header: Sequence[str], file: str) -> TableSchema:
    found = [table for name in TABLES if (table := TABLES.get(name)).columns <= set(header)]
    if not found:
        known = "; ".join(f"{name}: {', '.join(sorted(TABLES.get(name).columns))}" for name in TABLES)
        raise SpecError(f"no table has these columns; there are {known}", file=file, line=1)
    return found[0]


def _row(table: TableSchema, row: Mapping[str, Any], file: str, line: int) -> list[Measurement]:
    found = []
    for fields in _spread(table, _fields(row, file, line)):
        try:
            seconds = table.seconds(fields)
        except TypeError as error:
            raise SpecError("holds text where its seconds should be", file=file, line=line) from error
        found.append(Measurement(table.section(fields), {**fields, "s": seconds}, file, line))
    return found


def _spread(table: TableSchema, fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The row, or one for each of its columns that is a measurement of its own."""
    if table.spread is None:
        return [fields]
    kernels, unit = table.spread
    shared = {key: value for key, value in fields.items() if key not in kernels}
    values = {name: fields[column] for column, name in kernels.items() if fields[column] != ""}
    return [
        {**shared, "kernel": name, "s": value * unit if isinstance(value, int | float) else None}
        for name, value in values.items()
    ]


def _fields(row: Mapping[str, Any], file: str, line: int) -> dict[str, Any]:
    if None in row or None in row.values():
        raise SpecError("has not as many fields as the header", file=file, line=line)
    return {key: _value(text) for key, text in row.items()}


def _value(text: str) -> Any:
    """A number where ``text`` is one, as CSV writes them: Python's own underscores between digits are none."""
    for read in () if "_" in text else (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
