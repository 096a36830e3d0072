# SPDX-License-Identifier: Apache-2.0
"""Reading a store, whoever wrote it and whether or not the sweep has ended. Nothing is written."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from simsparse.core import OpResult, Span, Timeline
from simsparse.errors import StoreError, TraceError
from simsparse.store.columns import StoredRows
from simsparse.store.forms import TextForm
from simsparse.store.schema import StoredRow

T = TypeVar("T")
NEEDED_BYTES = 1 << 16
"""Free bytes below which a disk is called full: SQLite's index of a write-ahead log takes 32 KiB."""
ROWS = "SELECT key, axes, result, error FROM rows LEFT JOIN points USING (key) ORDER BY idx"


class LazyTable(Mapping[str, T], Generic[T]):
    """What a store kept of some points, by point key; read when it is asked for, and the last one remembered."""

    def __init__(self, keys: frozenset[str], load: Callable[[str], T]) -> None:
        self._keys, self._load = keys, lru_cache(maxsize=1)(load)

    def __getitem__(self, key: str) -> T:
        if key not in self._keys:
            raise KeyError(key)
        return self._load(key)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._keys))

    def __len__(self) -> int:
        return len(self._keys)


class Reader:
    """The store in the file ``path``, opened for each question. Every method raises StoreError on a damaged store."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> Iterator[StoredRow]:
        """Every point of the sweep as last run, in order."""
        forms = self.forms()
        for key, values, result, error in self.select(ROWS):
            summary = self.object_in(result, forms) if result else None
            yield StoredRow(key, self.object_in(values, forms), summary, error)

    def forms(self) -> Mapping[int, TextForm]:
        """The forms of texts by number; none in a store that was written without."""
        if not list(self.select("SELECT name FROM sqlite_master WHERE name = 'forms'")):
            return {}
        return {number: TextForm(text) for number, text in self.select("SELECT id, text FROM forms")}

    def ops(self) -> LazyTable[StoredRows[OpResult]]:
        """The per-op rows of the points that have them; columns that this version does not know are left out."""

        def load(key: str) -> StoredRows[OpResult]:
            with self._sound("ops", key):
                return StoredRows(OpResult, self._packed("ops", key))

        return LazyTable(self._keys("ops"), load)

    def timelines(self) -> LazyTable[Timeline]:
        """The timelines of the points that have them."""

        def load(key: str) -> Timeline:
            with self._sound("timeline", key):
                spans = StoredRows(Span, self._packed("timeline", key))
                if any(after < before for before, after in pairwise(spans.values("start_fs"))):
                    return Timeline.of(spans)
                return Timeline(spans, max(spans.values("end_fs"), default=0))

        return LazyTable(self._keys("timeline"), load)

    def select(self, query: str, values: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """The answer to a query, row by row."""
        try:
            with closing(sqlite3.connect(self._address(), uri=True, timeout=1.0)) as store:
                self._check_tables(store)
                yield from store.execute(query, values)
        except sqlite3.OperationalError as error:
            raise StoreError(_trouble(str(error), self.path), file=str(self.path)) from error
        except sqlite3.Error as error:
            raise StoreError(f"is no sweep's store: {error}", file=str(self.path)) from error

    def _check_tables(self, store: sqlite3.Connection) -> None:
        """Raises StoreError where a view stands for a table: it could be without end."""
        found = store.execute("SELECT name, type FROM sqlite_master WHERE name IN ('rows', 'points', 'forms')")
        if odd := [f"{name} is a {kind}" for name, kind in found if kind != "table"]:
            raise StoreError(f"is no sweep's store: {', '.join(odd)}", file=str(self.path))

    def _address(self) -> str:
        """To write, as reading a store that was killed does; a closed store on a read-only disk is one file."""
        path = self.path.resolve()
        write_ahead = path.with_name(f"{path.name}-wal")
        closed = not os.access(path.parent, os.W_OK) and not write_ahead.exists()
        return f"{path.as_uri()}?{'mode=ro&immutable=1' if closed else 'mode=rw'}"

    def _keys(self, column: str) -> frozenset[str]:
        rows = self.select(f"SELECT key FROM rows JOIN points USING (key) WHERE {column} IS NOT NULL")
        return frozenset(key for (key,) in rows)

    def _packed(self, column: str, key: str) -> bytes:
        rows = list(self.select(f"SELECT {column} FROM points WHERE key = ?", (key,)))
        if not rows or not isinstance(rows[0][0], bytes):
            raise TypeError("is not packed")
        return rows[0][0]

    @contextmanager
    def _sound(self, column: str, key: str) -> Iterator[None]:
        """What goes wrong within is damage of a point's column."""
        try:
            yield
        except (IndexError, TypeError, ValueError, AttributeError, OverflowError, TraceError, zlib.error) as error:
            raise StoreError(f"is damaged: {column} of point {key}: {error}", file=str(self.path)) from error

    def object_in(self, text: str | None, forms: Mapping[int, TextForm] = MappingProxyType({})) -> dict[str, Any]:
        """The JSON object in ``text``, which may be of one of ``forms``."""
        try:
            data = _DECODER.decode(text or "{}")
            if isinstance(data, list) and data and data[0] in forms:
                data = _DECODER.decode(forms[data[0]].filled(data[1:]))
        except ValueError as error:
            raise StoreError(f"is damaged: a row is no JSON: {error}", file=str(self.path)) from error
        if not isinstance(data, dict):
            raise StoreError("is damaged: a row is no JSON object", file=str(self.path))
        return data


MOST_DIGITS = 40


def _whole(text: str) -> int:
    """A whole number that a float can hold. Raises ValueError."""
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


_DECODER = json.JSONDecoder(parse_int=_whole)


def disk_trouble(path: Path) -> str:
    """Why nothing can be written beside ``path``, empty where something can."""
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        return error.strerror or str(error)
    if not os.access(path.parent, os.W_OK):
        return "its folder can't be written to"
    return "its disk is full" if free < NEEDED_BYTES else ""


def _trouble(error: str, path: Path) -> str:
    """What a message of SQLite about a file means to a reader."""
    if "locked" in error:
        return "is in use by a running sweep"
    return f"is no sweep's store: {error}" if "no such" in error else f"can't be read: {disk_trouble(path) or error}"
