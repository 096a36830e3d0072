# SPDX-License-Identifier: Apache-2.0
"""What a store holds: its tables, the record of a point, and the columns of the table that people read.

One SQLite file, whose transactions are whole points: those that a process sent together. ``about(name, value)`` holds
the sweep's name and the schema version; ``points(key, result, error, ops, timeline)`` the records by the hash of their
input; ``rows(idx, key, axes)`` the points of the sweep as last run, in order, with their values by key as JSON.
``result`` is JSON (the summary of a Result); ``ops`` and ``timeline`` are zlib-compressed JSON, ``{column: [values]}``,
NULL when not kept. ``forms(id, text)``: where points differ in numbers alone, ``result`` and ``axes`` are lists that
fill the holes of a form (simsparse.store.forms).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from simsparse.text import printable

STORE_NAME, PARQUET_NAME, CSV_NAME, SPEC_NAME = "sweep.sqlite", "results.parquet", "results.csv", "resolved.yaml"
"""Files of a sweep's folder: the store, its table in two forms, and the sweep with every number that it used."""
SCHEMA = 2
"""Version of the tables and of what a key covers."""
APPLICATION_ID = 0x53535053
TABLES = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE points (key TEXT PRIMARY KEY, result TEXT, error TEXT, ops BLOB, timeline BLOB)",
    "CREATE TABLE forms (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    "CREATE TABLE rows (idx INTEGER PRIMARY KEY, key TEXT NOT NULL, axes TEXT NOT NULL)",
)
NUMBERS = ("latency_s", "energy_j", "area_mm2", "power_w")
"""Fields of a summary that are numbers of their own."""
DETAILS = (
    "seconds_by_bound",
    "energy_by_component",
    "assumed",
    "unvalidated",
    "overrides",
    "memory",
    "cache",
    "notes",
    "runs_as",
)
"""Fields of a summary that a table holds as JSON text."""


class Record(NamedTuple):
    """What a point came to: a result's summary as JSON, or the error that ended it.

    ``ops`` and ``timeline`` are columns as ``simsparse.store.columns.packed`` gives them; None when not kept.
    Where ``form`` is one (simsparse.store.forms), ``result`` is the list of what fills its holes.
    """

    key: str
    result: str | None
    error: str | None = None
    ops: bytes | None = None
    timeline: bytes | None = None
    form: str | None = None


NOT_RUN = "has not run yet"
"""What the table holds as the error of a point that is planned and was not run."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A point of the sweep in its place: its values by key, and the summary or the error of its record."""

    key: str
    values: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    error: str | None

    def columns(self) -> dict[str, Any]:
        """The row of the table that people read, its texts printable; see ``simsparse.store.table.to_frame``."""
        summary = self.summary or {}
        si = {f"si.{path}": value for path, value in summary.get("override_si", {}).items()}
        measures = {name: summary.get(name) for name in (*NUMBERS, "bound")}
        details = {name: _json(summary[name]) if name in summary else "" for name in DETAILS}
        error = self.error or ("" if self.summary else NOT_RUN)
        names = {"trace": summary.get("trace", ""), "title": summary.get("workload", "")}
        row = {**self.values, **si, **names, **measures, **details, "error": error, "key": self.key}
        return {_printable_name(name): shown(value) for name, value in row.items()}


_printable_name = lru_cache(maxsize=1024)(printable)


def _json(value: Any) -> str:
    """``value`` as JSON text; most details are empty."""
    if not value and isinstance(value, dict | list):
        return "{}" if isinstance(value, dict) else "[]"
    return json.dumps(value)


def shown(value: Any) -> Any:
    """``value``, printable where it is a text."""
    return printable(value) if isinstance(value, str) else value
