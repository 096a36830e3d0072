"""Reading a sweep's SQLite store: rows, per-op tables and timelines.

Tables read: ``rows(idx, key, axes)`` and ``points(key, result, error, ops, timeline)``, as
simsparse.sweep.store documents them. Nothing is written.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Generic, TypeVar

from simsparse.core import OpResult, Span, Timeline
from simsparse.errors import StoreError

STORE_NAME = "sweep.sqlite"
T = TypeVar("T")


class LazyTable(Mapping[str, T], Generic[T]):
    """What a store kept of some points, by point key; read once, when it is asked for."""

    def __init__(self, keys: frozenset[str], load: Callable[[str], T]) -> None:
        self._keys, self._load = keys, load
        self._loaded: dict[str, T] = {}

    def __getitem__(self, key: str) -> T:
        if key not in self._keys:
            raise KeyError(key)
        if key not in self._loaded:
            self._loaded[key] = self._load(key)
        return self._loaded[key]

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._keys))

    def __len__(self) -> int:
        return len(self._keys)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """One mapping a row, in order: axis values, the summary's fields, ``error`` and ``key``. Raises StoreError."""
    query = "SELECT key, axes, result, error FROM rows LEFT JOIN points USING (key) ORDER BY idx"
    return [
        {**_object(axes, path), **_measures(_object(result, path)), "error": error or _missing(result), "key": key}
        for key, axes, result, error in _select(path, query)
    ]


def read_ops(path: Path) -> LazyTable[tuple[OpResult, ...]]:
    """The per-op rows of the points that have them."""

    def load(key: str) -> tuple[OpResult, ...]:
        columns = {name: values for name, values in _columns(path, "ops", key).items() if name in OpResult._fields}
        return tuple(OpResult(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))

    return LazyTable(_keys(path, "ops"), load)


def read_timelines(path: Path) -> LazyTable[Timeline]:
    """The timelines of the points that have them."""

    def load(key: str) -> Timeline:
        columns = _columns(path, "timeline", key)
        rows = zip(*columns.values(), strict=True)
        return Timeline.of(Span(**dict(zip(columns, row, strict=True))) for row in rows)

    return LazyTable(_keys(path, "timeline"), load)


def _measures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary's fields as the columns of the sweep's own table: nested ones as JSON text."""
    wanted = ("latency_s", "energy_j", "area_mm2", "power_w", "bound")
    nested = ("seconds_by_bound", "energy_by_component", "assumed", "unvalidated", "overrides")
    si = {f"si.{path}": value for path, value in summary.get("override_si", {}).items()}
    texts = {name: json.dumps(summary[name]) if name in summary else "" for name in nested}
    return {**si, "trace": summary.get("trace", ""), **{name: summary.get(name) for name in wanted}, **texts}


def _missing(result: str | None) -> str:
    return "" if result else "has not run yet"


def _object(text: str | None, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(text or "{}")
    except ValueError as error:
        raise StoreError(f"is damaged: a row is no JSON: {error}", file=str(path)) from error
    if not isinstance(data, dict):
        raise StoreError("is damaged: a row is no JSON object", file=str(path))
    return data


def _keys(path: Path, column: str) -> frozenset[str]:
    rows = _select(path, f"SELECT key FROM rows JOIN points USING (key) WHERE {column} IS NOT NULL")
    return frozenset(key for (key,) in rows)


def _columns(path: Path, column: str, key: str) -> dict[str, list[Any]]:
    rows = _select(path, f"SELECT {column} FROM points WHERE key = ?", (key,))
    try:
        return {str(name): list(values) for name, values in json.loads(zlib.decompress(rows[0][0])).items()}
    except (IndexError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise StoreError(f"is damaged: {column} of point {key}: {error}", file=str(path)) from error


def _select(path: Path, query: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=1.0)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.Error as error:
        busy = "locked" in str(error)
        message = "is in use by a running sweep" if busy else f"is no sweep's store: {error}"
        raise StoreError(message, file=str(path)) from error
