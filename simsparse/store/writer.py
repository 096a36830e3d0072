# SPDX-License-Identifier: Apache-2.0
"""Writing the store of a sweep: a process that is killed at any moment leaves every point that it had written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from simsparse.errors import StoreError
from simsparse.store.reader import Reader, disk_trouble
from simsparse.store.schema import APPLICATION_ID, SCHEMA, STORE_NAME, TABLES, Record

CHECKPOINT_PAGES = 8192
"""Pages of the write-ahead log before it is folded into the database, which waits for the disk."""


class PointRow(NamedTuple):
    """Place of a point in the sweep, its key, and its values by key, or those that fill the holes of ``form``."""

    place: int
    key: str
    values: Mapping[str, Any] | Sequence[Any]
    form: str | None = None


class Store(Reader):
    """An open store; one process at a time. Use as a context manager."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(path)
        self._db = connection
        self._numbers: dict[str, int] = {}

    @classmethod
    def open(cls, out: Path, sweep: str, check: bool = True) -> Store:
        """Open or make the store of ``sweep`` in the folder ``out``.

        Without ``check``, the method of that name is to be called before records are read.

        Raises StoreError when ``out`` holds something else, another sweep, or a damaged store, or
        when another process has it open.
        """
        path = out / STORE_NAME
        try:
            out.mkdir(parents=True, exist_ok=True)
            store = cls(sqlite3.connect(path, isolation_level=None, timeout=1.0), path)
        except (OSError, ValueError, sqlite3.Error) as error:  # ValueError: a NUL in the name
            raise StoreError(f"can't be written: {_reason(error, path)}", file=str(path)) from error
        try:
            store._prepare(sweep)
            if check:
                store.check()
        except BaseException:
            store.close()
            raise
        return store

    def _prepare(self, sweep: str) -> None:
        with self._guard():
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables:
                self._create(sweep)
            elif self._db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise StoreError("is a database, but no sweep's store", file=str(self.path))
            self._check_owner(sweep)

    def check(self) -> None:
        """Read the whole store. Raises StoreError when it is damaged."""
        with self._guard():
            if (fault := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise StoreError(f"is damaged: {fault}; move it away to start afresh", file=str(self.path))

    def _create(self, sweep: str) -> None:
        about = [("sweep", sweep), ("schema", str(SCHEMA))]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in TABLES:
            self._db.execute(statement)
        self._db.executemany("INSERT INTO about VALUES (?, ?)", about)
        self._db.execute("COMMIT")

    def _check_owner(self, sweep: str) -> None:
        about = dict(self._db.execute("SELECT name, value FROM about"))
        if about.get("schema") != str(SCHEMA):
            raise StoreError(
                f"has schema {about.get('schema')}, this version reads {SCHEMA}; give another --out",
                file=str(self.path),
            )
        if about.get("sweep") != sweep:
            raise StoreError(
                f"belongs to the sweep {about.get('sweep')!r}, not to {sweep!r}; give another --out",
                file=str(self.path),
            )

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            busy = "locked" in str(error)
            message = "is in use by another run" if busy else f"can't be written: {_reason(error, self.path)}"
            raise StoreError(message, file=str(self.path)) from error
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreError(f"is damaged: {error}; move it away to start afresh", file=str(self.path)) from error

    def select(self, query: str, values: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self._guard():
            yield from self._db.execute(query, values)

    def put(self, *records: Record) -> None:
        """Write records, as one transaction."""
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            rows = [(each.key, self._in_form(each.result, each.form), each.error, each.ops, each.timeline)
                    for each in records]  # fmt: skip
            self._db.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")

    def set_rows(self, rows: Iterable[PointRow], start: int = 0) -> None:
        """Write the sweep's rows from place ``start`` on, dropping the ones that stood there."""
        listed = [(row.place, row.key, json.dumps(row.values), row.form) for row in rows]
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            written = [(index, key, self._in_form(text, form)) for index, key, text, form in listed]
            self._db.execute("DELETE FROM rows WHERE idx >= ?", (start,))
            self._db.executemany("INSERT INTO rows VALUES (?, ?, ?)", written)
            self._db.execute("COMMIT")

    def _in_form(self, text: str | None, form: str | None) -> str | None:
        """``text`` as it is stored, within a transaction: with the number of its form where it is of one."""
        if form is None or text is None:
            return text
        if form not in self._numbers:
            self._db.execute("INSERT OR IGNORE INTO forms (text) VALUES (?)", (form,))
            self._numbers[form] = self._db.execute("SELECT id FROM forms WHERE text = ?", (form,)).fetchone()[0]
        return f"[{self._numbers[form]}, {text[1:]}"

    def finished(self, ops: bool = False, timeline: bool = False) -> set[str]:
        """Keys of the points that have a result, and their ops and timeline where these are wanted."""
        query = "SELECT key FROM points WHERE result IS NOT NULL"
        query += " AND ops IS NOT NULL" if ops else ""
        at_level_0 = "result LIKE '[%' OR json_extract(result, '$.level') = 0"  # in a form: at level 0 alone
        query += f" AND (timeline IS NOT NULL OR {at_level_0})" if timeline else ""
        return {key for (key,) in self.select(query)}

    def summary(self, key: str) -> dict[str, Any] | None:
        """The summary of the result under ``key``, None when the point failed or has not run."""
        found = list(self.select("SELECT result FROM points WHERE key = ?", (key,)))
        return self.object_in(found[0][0], self.forms()) if found and found[0][0] else None

    def close(self) -> None:
        """Close the store; a closed store is one file."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _reason(error: OSError | ValueError | sqlite3.Error, path: Path) -> str:
    """What happened, in words of the disk where SQLite names no cause."""
    if not isinstance(error, sqlite3.Error):
        return getattr(error, "strerror", None) or str(error)
    return disk_trouble(path) or str(error)
