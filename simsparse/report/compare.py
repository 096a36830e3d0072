# SPDX-License-Identifier: Apache-2.0
"""Two results or sweeps side by side: what was changed, by how much the answers moved, and which part of them moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsparse.config.keys import KEYS, OVERRIDE, is_key
from simsparse.errors import StoreError
from simsparse.report.reader import read_any
from simsparse.report.results import Results, StoredPoint
from simsparse.report.si import si

SAME = 1e-9
"""Relative difference up to which two numbers are the same."""
SAID_FROM = 0.01
"""Parts are named that moved by at least this share of the larger latency."""
NAMED = 3
IGNORED = ("workload.trace",)
"""Inputs that are paths; the names of traces and systems are compared instead."""


@dataclass(frozen=True)
class Change:
    """One point of A beside its partner in B; ``place`` names it, ``inputs`` are (key, in A, in B) that differ.

    Ratios are B over A, None where one of them failed. ``moved`` says which seconds by bound changed, in words.
    """

    place: str
    inputs: tuple[tuple[str, str, str], ...]
    latency_s: tuple[float | None, float | None]
    energy_j: tuple[float | None, float | None]
    moved: tuple[str, ...]
    errors: tuple[str, str] = ("", "")

    @property
    def is_same(self) -> bool:
        """Whether latency and energy agree, and no point failed where the other did not."""
        if any(self.errors):
            return bool(self.errors[0]) == bool(self.errors[1])
        return all(_ratio(*pair) is not None and abs((_ratio(*pair) or 0) - 1) <= SAME
                   for pair in (self.latency_s, self.energy_j))  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with the ratios."""
        return {
            "place": self.place, "inputs": [list(each) for each in self.inputs], "latency_s": list(self.latency_s),
            "energy_j": list(self.energy_j), "latency_ratio": _ratio(*self.latency_s),
            "energy_ratio": _ratio(*self.energy_j), "moved": list(self.moved), "errors": list(self.errors),
            "same": self.is_same,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """All pairs of two sweeps or runs, and the places that only one of them has."""

    changes: tuple[Change, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def compare(a: Path, b: Path) -> Comparison:
    """Compare two folders of sweeps or runs, or files of runs' results.

    Points are partners when they stand at the same place of the axes; the two points of two runs are always.
    Raises StoreError when a path holds no result.
    """
    one, other = read_any(a), read_any(b)
    if len(one.points) == len(other.points) == 1:
        pairs = {"": (one.points[0], other.points[0])}
        return Comparison((_change("", *pairs[""], _rows(one), _rows(other)),), (), ())
    first, second = _by_place(one), _by_place(other)
    shared = [place for place in first if place in second]
    if not shared:
        raise StoreError("no point of it stands at a place of the other's axes", file=str(b))
    rows_a, rows_b = _rows(one), _rows(other)
    return Comparison(
        tuple(_change(place, first[place], second[place], rows_a, rows_b) for place in shared),
        tuple(place for place in first if place not in second), tuple(place for place in second if place not in first),
    )  # fmt: skip


def _by_place(results: Results) -> dict[str, StoredPoint]:
    return {", ".join(f"{name}={value}" for name, value in point.place.items() if value): point
            for point in results.points}  # fmt: skip


def _rows(results: Results) -> Mapping[str, Mapping[str, Any]]:
    keys = results.table["key"].astype(str) if "key" in results.table else [point.key for point in results.points]
    return dict(zip(keys, results.table.to_dict("records"), strict=False))  # type: ignore[arg-type]


def _change(
    place: str, a: StoredPoint, b: StoredPoint, rows_a: Mapping[str, Mapping[str, Any]],
    rows_b: Mapping[str, Mapping[str, Any]],
) -> Change:  # fmt: skip
    inputs = _inputs(rows_a.get(a.key, {}), rows_b.get(b.key, {}), a, b)
    latency, energy = (_known(a.latency_s), _known(b.latency_s)), (_known(a.energy_j), _known(b.energy_j))
    return Change(place, inputs, latency, energy, _moved(a, b), (a.error, b.error))


def _inputs(
    row_a: Mapping[str, Any], row_b: Mapping[str, Any], a: StoredPoint, b: StoredPoint
) -> tuple[tuple[str, str, str], ...]:
    """Keys whose values differ, the trace by its name; numbers of parts that only one of them assumes."""
    names = [*KEYS, *(name for name in {**row_a, **row_b} if is_key(name) and name not in KEYS), "trace"]
    found = [
        (name, str(row_a.get(name, "")), str(row_b.get(name, "")))
        for name in dict.fromkeys(names)
        if name not in IGNORED and str(row_a.get(name, "")) != str(row_b.get(name, ""))
    ]
    found += [(f"{OVERRIDE}{path}", a.overrides.get(path, ""), b.overrides.get(path, ""))
              for path in {**a.overrides, **b.overrides}
              if a.overrides.get(path) != b.overrides.get(path) and f"{OVERRIDE}{path}" not in names]  # fmt: skip
    assumed_a, assumed_b = (dict(text.split(" = ", 1) for text in p.assumed if " = " in text) for p in (a, b))
    found += [(f"assumed {path}", assumed_a[path], assumed_b[path]) for path in assumed_a
              if path in assumed_b and assumed_a[path] != assumed_b[path]]  # fmt: skip
    return tuple(found)


def _moved(a: StoredPoint, b: StoredPoint) -> tuple[str, ...]:
    """``transfer 1.20 s to 600 ms``: the bounds whose seconds changed most."""
    least = SAID_FROM * max(_known(a.latency_s) or 0.0, _known(b.latency_s) or 0.0)
    bounds = {**a.seconds_by_bound, **b.seconds_by_bound}
    changes = {name: (a.seconds_by_bound.get(name, 0.0), b.seconds_by_bound.get(name, 0.0)) for name in bounds}
    ranked = sorted(changes.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
    return tuple(f"{name} {si(before, 's')} to {si(after, 's')}" for name, (before, after) in ranked[:NAMED]
                 if abs(after - before) >= least > 0)  # fmt: skip


def _known(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124


def _ratio(a: float | None, b: float | None) -> float | None:
    """B over A; None where one is not known, 1 where both are zero."""
    if a is None or b is None:
        return None
    return b / a if a else (1.0 if a == b else None)
