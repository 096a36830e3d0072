# SPDX-License-Identifier: Apache-2.0
"""Measured rows: one JSON object a line, checked field by field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.core import DType
from simsparse.core.table import TABLE, is_frame, records
from simsparse.errors import SimsparseError, SpecError
from simsparse.limits import read_whole

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 256 << 20
MAX_LINES = 200_000
TIMING_KEYS = frozenset(("s", "s_min", "s_max", "s_runs", "laps_s", "gbps", "graph", "calls", "joule", "watt", "sm_mhz",
                         "section", "floor_s", "throttle", "run", "order", "per_layer_s", "per_layer_s_runs",
                         "power_w"))  # fmt: skip
"""Fields that say how a row was measured and what came out, not what was run."""


@dataclass(frozen=True)
class Measurement:
    """One row: its section, its fields, and where it stands."""

    section: str
    fields: Mapping[str, Any]
    file: str
    line: int

    def text(self, key: str) -> str:
        """A string field. Raises SpecError."""
        value = self._value(key)
        if not isinstance(value, str):
            raise self.error(key, f"{value!r} is not a string")
        return value

    def whole(self, key: str) -> int:
        """A positive whole number. Raises SpecError."""
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**50:
            raise self.error(key, f"{value!r} is not a whole number from 1 to 2**50")
        return value

    def count(self, key: str) -> int:
        """A whole number from 0. Raises SpecError."""
        return 0 if self._value(key) == 0 else self.whole(key)

    def number(self, key: str) -> float:
        """A positive finite number. Raises SpecError."""
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.error(key, f"{value!r} is not a positive number")
        try:
            return float(value)
        except OverflowError:
            raise self.error(key, "is larger than any number that is computed with") from None

    def amount(self, key: str) -> float:
        """A finite number from 0; 0 where the row has none. Raises SpecError."""
        return self.number(key) if self.fields.get(key, 0) != 0 else 0.0

    def dtype(self, key: str = "dtype") -> DType:
        """An element type. Raises SpecError."""
        try:
            return DType.parse(self.text(key))
        except SpecError as error:
            raise self.error(key, error.message) from None

    @property
    def shape(self) -> dict[str, Any]:
        """What was run: the fields without the timings."""
        return {key: value for key, value in self.fields.items() if key not in TIMING_KEYS}

    def error(self, key: str, message: str) -> SpecError:
        """An error at this row."""
        return SpecError(message, file=self.file, line=self.line, key=key)

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Errors within that name no file become errors at this row."""
        try:
            yield
        except SimsparseError as error:
            if error.file is not None:
                raise
            raise SpecError(error.message, file=self.file, line=self.line, key=error.key) from error

    def _value(self, key: str) -> Any:
        if key not in self.fields:
            raise self.error(key, f"is missing from a row of section {self.section}")
        return self.fields[key]


def read_measurements(path: str | Path) -> list[Measurement]:
    """The rows of a JSON-lines file; empty lines are skipped.

    Raises SpecError that names file and line, and beyond MAX_BYTES or MAX_LINES.
    """
    file = Path(path)
    try:
        text = read_whole(file, MAX_BYTES, SpecError).decode("utf-8")
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text: {error.reason}", file=str(path)) from error
    if text.count("\n") > MAX_LINES:
        raise SpecError(f"{text.count(chr(10))} lines; at most {MAX_LINES} are read", file=str(path))
    lines = enumerate(text.split("\n"), start=1)
    rows = [_parse(line, str(path), number) for number, line in lines if line.strip()]
    if not rows:
        raise SpecError("has no rows", file=str(path))
    return rows


def measurements(rows: Iterable[Mapping[str, Any]] | pd.DataFrame, file: str = "rows") -> list[Measurement]:
    """Rows that are in memory already, or of a table; ``line`` counts them from 1. Raises SpecError."""
    if is_frame(rows):
        return measurements(records(rows), TABLE)
    return [_measurement(row, file, number) for number, row in enumerate(rows, start=1)]


def _parse(text: str, file: str, line: int) -> Measurement:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise SpecError(f"is not JSON: {reason}", file=file, line=line) from None
    return _measurement(row, file, line)


def _measurement(row: Any, file: str, line: int) -> Measurement:
    if not isinstance(row, Mapping):
        raise SpecError(f"expected an object; got {type(row).__name__}", file=file, line=line)
    section = row.get("section")
    if not isinstance(section, str) or not section:
        raise SpecError(f"{section!r} is not the name of a section", file=file, line=line, key="section")
    return Measurement(section, row, file, line)
