# SPDX-License-Identifier: Apache-2.0
"""The rows of a store as one table and its files, each written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from simsparse.errors import StoreError
from simsparse.paths import temporary_prefix
from simsparse.store.frames import AT_ONCE, stored_columns
from simsparse.store.reader import Reader
from simsparse.store.schema import CSV_NAME, DETAILS, NUMBERS, PARQUET_NAME, STORE_NAME, shown

if TYPE_CHECKING:
    import pandas as pd


MANY = 100_000
"""Rows beyond which texts are Python's own, so that equal ones are kept once."""
MARK = b"simsparse"
"""Name of the mark among the metadata of a Parquet file."""
_SEPARATOR = re.compile('[",\r\n]')
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""Characters at the beginning of a cell that make spreadsheets compute it."""


def to_frame(reader: Reader, once: bool = False) -> pd.DataFrame:
    """One row per point of a store, in order; with ``once`` only the first of points of equal key.

    Columns: the axes (a named one shows its labels), then all other keys (``workload.trace``,
    ``system``, ``policy``, ..., ``override.PATH`` as text and ``si.PATH`` in SI units); ``trace``, the trace's name;
    ``title``, its model, phase and sizes;
    ``latency_s``, ``energy_j``, ``area_mm2``, ``power_w`` (as stated of the devices; the simulated mean is
    ``energy_j / latency_s``), ``bound``; as JSON text ``seconds_by_bound``,
    ``energy_by_component``, ``assumed``, ``unvalidated``, ``overrides``, ``memory``, ``cache``,
    ``notes``, ``runs_as``; ``error``,
    empty when the point has a result; ``key``, under which the store keeps it.
    """
    import pandas as pd

    columns = stored_columns(reader)
    many = len(columns.get("key", ())) > MANY
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) if many and isinstance(values[0], str) else values
                          for name, values in columns.items()})  # fmt: skip
    return in_order(frame.drop_duplicates("key", ignore_index=True) if once else frame)


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with its columns in the order of tables, and the numbers of results as such."""
    last = [name for name in (*NUMBERS, "bound", *DETAILS, "error", "key") if name in frame]
    frame = frame[[name for name in frame.columns if name not in last] + last]
    numbers = [name for name in NUMBERS if name in frame]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def read_table(folder: Path) -> pd.DataFrame:
    """The table of a sweep's folder, texts printable: of its store, or of its Parquet file where there is no store.

    Raises StoreError when the folder holds neither, or one that can't be read.
    """
    import pandas as pd

    if (folder / STORE_NAME).is_file():
        return pd.DataFrame(stored_columns(Reader(folder / STORE_NAME)))
    path = folder / PARQUET_NAME
    if not path.is_file():
        expected = f"expected {STORE_NAME} or {PARQUET_NAME}, which simsparse sweep writes"
        raise StoreError(f"holds no sweep result; {expected}", file=str(folder))
    frame = _read_parquet(path)
    texts = {name: frame[name].map(shown) for name in frame.columns if frame[name].dtype.kind in "OT"}
    return frame.assign(**texts).rename(columns={name: shown(name) for name in frame.columns})


def _read_parquet(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path, columns=columns)
    except Exception as error:
        raise StoreError(f"is no Parquet table: {error}", file=str(path)) from error


def brief_table(folder: Path) -> pd.DataFrame:
    """The table in a folder's Parquet file without ``DETAILS``. Raises StoreError."""
    import pyarrow.parquet as pq

    path = folder / PARQUET_NAME
    return _read_parquet(path, [name for name in pq.read_schema(path).names if name not in DETAILS])


def whole_table(folder: Path) -> pd.DataFrame:
    """The table in a folder's Parquet file. Raises StoreError."""
    return _read_parquet(folder / PARQUET_NAME)


def read_mark(folder: Path) -> dict[str, Any]:
    """The mark that was written with a folder's Parquet file; empty where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        mark = json.loads((pq.read_metadata(folder / PARQUET_NAME).metadata or {}).get(MARK, b"{}"))
    except (OSError, ValueError, RecursionError, pa.ArrowException):
        return {}
    return mark if isinstance(mark, dict) else {}


def write_csv(frame: pd.DataFrame, out: Path) -> None:
    """Write the table as CSV. Raises StoreError when the folder can't be written."""
    write_whole(out / CSV_NAME, lambda path: to_csv(frame, path))


def to_csv(frame: pd.DataFrame, path: Path, more: bool = False) -> None:
    """Write ``frame`` as CSV, or ``more`` rows of it, each text as spreadsheets may read it.

    That is printable, and with an apostrophe before what they would take for a formula.
    """
    odd = {name for name in frame.columns if _is_odd(frame[name])}
    with path.open("a" if more else "w", encoding="utf-8", newline="") as file:
        if not more:
            write_rows(file, ([heading(name)] for name in frame.columns))
        for start in range(0, len(frame), AT_ONCE):
            piece = frame.iloc[start : start + AT_ONCE]
            write_rows(file, [cells(piece[name].tolist(), name in odd, piece[name].dtype.kind == "f")
                              for name in frame.columns])  # fmt: skip


def write_rows(file: IO[str], columns: Iterable[Iterable[str]]) -> None:
    """Write rows of CSV, given the cells of each column."""
    file.writelines(f"{','.join(row)}\n" for row in zip(*columns, strict=True))


def cells(values: Sequence[Any], odd: bool, floats: bool) -> Iterator[str]:
    """The values of a column as they are written, empty where there is none; equal ones are written once.

    ``odd``: texts among them may have to be changed; ``floats``: all are floats.
    """
    if floats:
        return (repr(value) if value == value else "" for value in values)  # noqa: PLR0124 (not a number)
    if len(distinct := set(values)) < len(values) / 4:
        return map({value: _cell(value, odd) for value in distinct}.__getitem__, values)
    return (_cell(value, odd) for value in values)


def _cell(value: Any, odd: bool) -> str:
    import pandas as pd

    if isinstance(value, str):
        return _quoted(str(_plain(value)) if odd else value)
    if value is None or value is pd.NA or value != value:  # noqa: PLR0124 (not a number)
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def heading(name: object) -> str:
    """The name of a column as it is written."""
    return _quoted(str(_plain(name)))


def _quoted(text: str) -> str:
    """``text`` in quotes where a reader of CSV would take a part of it for a separator."""
    return '"' + text.replace('"', '""') + '"' if _SEPARATOR.search(text) else text


def _is_odd(column: pd.Series[Any]) -> bool:
    """Whether ``column`` may hold a text that is to be changed."""
    if column.dtype.kind not in "OT":
        return False
    texts = [text for text in column.unique() if isinstance(text, str)]
    return not "".join(texts).isprintable() or any(text.startswith(FORMULA_SIGNS) for text in texts)


def _plain(value: object) -> object:
    return f"'{shown(value)}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else shown(value)


def write_parquet(frame: pd.DataFrame, out: Path, mark: Mapping[str, Any]) -> None:
    """Write the table as Parquet, with a mark. Raises StoreError when the folder can't be written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(with_texts(frame), preserve_index=False)
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), MARK: json.dumps(mark)})
    write_whole(out / PARQUET_NAME, lambda path: pq.write_table(marked, path))


def with_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with columns of anything as texts, which is what a Parquet file can hold."""
    return frame.astype({name: "string" for name in frame.columns if frame[name].dtype == object})


def write_text(path: Path, text: str) -> None:
    """Write a text file whole. Raises StoreError."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path`` and rename it when it is complete. Raises StoreError."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path), suffix=path.suffix)
        os.close(handle)
        part = Path(name)
        try:
            write(part)
            part.chmod(0o644)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"can't be written: {error.strerror or error}", file=str(path)) from error
