# SPDX-License-Identifier: Apache-2.0
"""Runs of serving by key, in one file: a process that is killed at any moment leaves every run that it had written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from simsparse.errors import StoreError

SERVED_NAME = "served.sqlite"
"""Name of the file in a sweep's folder."""


class ServedStore:
    """Summaries and faults of runs by key, each in a transaction of its own. Use as a context manager.

    Raises StoreError where the file can't be read or written.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / SERVED_NAME
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, summary TEXT, error TEXT)")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"can't be written: {error}", file=str(self._path)) from error

    def put(self, key: str, summary: Mapping[str, Any] | None, error: str | None) -> None:
        """Keep a run: what it came to, or why it failed."""
        text = None if summary is None else json.dumps(summary, default=float)
        try:
            self._db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (key, text, error))
        except sqlite3.Error as fault:
            raise StoreError(f"can't be written: {fault}", file=str(self._path)) from fault

    def runs(self) -> dict[str, tuple[dict[str, Any] | None, str | None]]:
        """Summary and fault of every run by key."""
        try:
            rows = self._db.execute("SELECT key, summary, error FROM runs").fetchall()
        except sqlite3.Error as fault:
            raise StoreError(f"can't be read: {fault}", file=str(self._path)) from fault
        return {key: (None if text is None else self._summary(key, text), error) for key, text, error in rows}

    def _summary(self, key: str, text: str) -> dict[str, Any]:
        """The summary that ``text`` holds. Raises StoreError for a text that no run was kept as."""
        try:
            summary = json.loads(text)
        except (TypeError, ValueError, RecursionError):
            summary = None
        if not isinstance(summary, dict):
            raise StoreError("the summary is no JSON mapping", file=str(self._path), key=str(key))
        return summary

    def __enter__(self) -> ServedStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._db.close()
