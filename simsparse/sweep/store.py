"""The store of a sweep: one SQLite file in which every finished point is one transaction.

Tables: ``about(name, value)`` holds the sweep's name and the schema version; ``points(key, result,
error, ops, timeline)`` the outcomes by the hash of their input; ``rows(idx, key, axes)`` the points of
the sweep as last run, in order, with their axis values as JSON. ``result`` is JSON (the summary of a
Result); ``ops`` and ``timeline`` are zlib-compressed JSON, ``{column: [values]}``, NULL when not kept.
A process that is killed at any moment leaves a store that holds every point it had written.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from simsparse.core.timeline import Span, Timeline
from simsparse.errors import StoreError
from simsparse.sweep.execute import Outcome
from simsparse.sweep.point import POINT_SCHEMA, SweepPoint

STORE_NAME = "sweep.sqlite"
APPLICATION_ID = 0x53535053
CHECKPOINT_PAGES = 8192
"""Pages of the write-ahead log before it is folded into the database, which waits for the disk."""
_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE points (key TEXT PRIMARY KEY, result TEXT, error TEXT, ops BLOB, timeline BLOB);
CREATE TABLE rows (idx INTEGER PRIMARY KEY, key TEXT NOT NULL, axes TEXT NOT NULL);
"""


class Store:
    """An open store; one process at a time. Use as a context manager."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db, self.path = connection, path

    @classmethod
    def open(cls, out: Path, sweep: str) -> Store:
        """Open or make the store of ``sweep`` in the folder ``out``.

        Raises StoreError when ``out`` holds something else, another sweep, or a damaged store, or
        when another process has it open.
        """
        path = out / STORE_NAME
        try:
            out.mkdir(parents=True, exist_ok=True)
            store = cls(sqlite3.connect(path, isolation_level=None, timeout=1.0), path)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"can't be written: {error}", file=str(path)) from error
        try:
            store._prepare(sweep)
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
            if (fault := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise StoreError(f"is damaged: {fault}; move it away to start afresh", file=str(self.path))
            self._check_owner(sweep)

    def _create(self, sweep: str) -> None:
        about = [("sweep", sweep), ("schema", str(POINT_SCHEMA))]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in _TABLES.strip().split(";\n"):
            self._db.execute(statement.rstrip(";"))
        self._db.executemany("INSERT INTO about VALUES (?, ?)", about)
        self._db.execute("COMMIT")

    def _check_owner(self, sweep: str) -> None:
        about = dict(self._db.execute("SELECT name, value FROM about"))
        if about.get("schema") != str(POINT_SCHEMA):
            raise StoreError(
                f"has schema {about.get('schema')}, this version reads {POINT_SCHEMA}; give another --out",
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
            message = "is in use by another run" if busy else f"can't be read or written: {error}"
            raise StoreError(message, file=str(self.path)) from error
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreError(f"is damaged: {error}; move it away to start afresh", file=str(self.path)) from error

    def put(self, outcome: Outcome) -> None:
        """Write one outcome, as one transaction."""
        row = (outcome.key, outcome.result, outcome.error, outcome.ops, outcome.timeline)
        with self._guard():
            self._db.execute("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?, ?)", row)

    def set_rows(self, points: Iterable[SweepPoint], start: int = 0) -> None:
        """Write the sweep's rows from place ``start`` on, dropping the ones that stood there."""
        rows = [(p.index, p.job.key, json.dumps(p.columns)) for p in points]
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM rows WHERE idx >= ?", (start,))
            self._db.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")

    def finished(self, ops: bool = False, timeline: bool = False) -> set[str]:
        """Keys of the points that have a result, and their ops and timeline where these are wanted."""
        query = "SELECT key FROM points WHERE result IS NOT NULL"
        query += " AND ops IS NOT NULL" if ops else ""
        query += " AND (timeline IS NOT NULL OR json_extract(result, '$.level') = 0)" if timeline else ""
        with self._guard():
            return {key for (key,) in self._db.execute(query)}

    def summary(self, key: str) -> dict[str, Any] | None:
        """The summary of the result under ``key``, None when the point failed or has not run."""
        with self._guard():
            row = self._db.execute("SELECT result FROM points WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row and row[0] else None

    def records(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any] | None, str | None]]:
        """(key, axes, summary or None, error or None) of every row, in order."""
        query = "SELECT key, axes, result, error FROM rows LEFT JOIN points USING (key) ORDER BY idx"
        with self._guard():
            for key, axes, result, error in self._db.execute(query):
                yield key, json.loads(axes), json.loads(result) if result else None, error

    def ops(self, key: str) -> Mapping[str, list[Any]] | None:
        """The per-op table of a point by column, None when it was not kept."""
        return self._columns("ops", key)

    def timeline(self, key: str) -> Timeline | None:
        """The timeline of a point, None when it was not kept."""
        columns = self._columns("timeline", key)
        return None if columns is None else Timeline.of(Span(*row) for row in zip(*columns.values(), strict=True))

    def _columns(self, column: str, key: str) -> dict[str, list[Any]] | None:
        with self._guard():
            row = self._db.execute(f"SELECT {column} FROM points WHERE key = ?", (key,)).fetchone()
        if row is None or row[0] is None:
            return None
        columns: dict[str, list[Any]] = json.loads(zlib.decompress(row[0]))
        return columns

    def close(self) -> None:
        """Close the store; a closed store is one file."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
