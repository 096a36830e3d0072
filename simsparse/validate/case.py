# SPDX-License-Identifier: Apache-2.0
"""Cases: what others published or simulated beside what the models say, each with a tolerance or a stated deviation."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsparse.errors import SpecError
from simsparse.paths import data_root
from simsparse.registry import Registry


@dataclass(frozen=True)
class CasePoint:
    """One figure: ``published`` and ``simulated``, both in ``unit`` ("x" for a ratio)."""

    label: str
    published: float
    simulated: float
    unit: str = ""

    @property
    def error(self) -> float:
        """Relative deviation, positive where the simulation says more."""
        return self.simulated / self.published - 1


@dataclass(frozen=True)
class Sensitivity:
    """How a point moves when one assumed parameter does: ``simulated`` is the point's value at ``value``."""

    point: str
    assumption: str
    value: str
    simulated: float


@dataclass(frozen=True)
class CaseTable:
    """Further figures of a case, such as the composition of a speed-up."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class CaseReport:
    """A case as it came out.

    ``source`` says who published the figures and where; ``method`` what is simulated, from which public parameters.
    ``tolerance`` is how far every point may be off, as a share: 0 asks for equality; None reports the deviation only,
    and ``deviation`` must then say its likely cause. ``assumed`` lists assumed parameters that matter.
    """

    name: str
    title: str
    source: str
    method: str
    points: Sequence[CasePoint]
    tolerance: float | None
    deviation: str = ""
    assumed: Sequence[str] = ()
    sensitivity: Sequence[Sensitivity] = ()
    tables: Sequence[CaseTable] = ()

    def __post_init__(self) -> None:
        if not self.points:
            raise SpecError("a case needs points", key=self.name)
        if self.tolerance is None and not self.deviation:
            raise SpecError("a case without a tolerance must say why it deviates", key=self.name)

    @property
    def worst(self) -> CasePoint:
        """The point that is furthest off."""
        return max(self.points, key=lambda point: abs(point.error))

    @property
    def mean_error(self) -> float:
        """Mean absolute relative deviation."""
        return math.fsum(abs(point.error) for point in self.points) / len(self.points)

    @property
    def passed(self) -> bool:
        """Whether every point is within the tolerance; True for a case that only reports."""
        return self.tolerance is None or abs(self.worst.error) <= self.tolerance + 1e-12

    @property
    def verdict(self) -> str:
        """``equal``, ``within T %``, ``beyond T %`` or ``reported``."""
        if self.tolerance is None:
            return "reported"
        if not self.passed:
            return f"beyond {100 * self.tolerance:g} %"
        return f"within {100 * self.tolerance:g} %" if self.tolerance else "equal"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return {
            "case": self.name, "title": self.title, "source": self.source, "method": self.method,
            "points": [{"label": p.label, "published": p.published, "simulated": p.simulated, "unit": p.unit,
                        "error": p.error} for p in self.points],
            "tolerance": self.tolerance, "passed": self.passed, "verdict": self.verdict, "deviation": self.deviation,
            "assumed": list(self.assumed),
            "sensitivity": [vars(item) for item in self.sensitivity],
            "tables": [{"title": t.title, "columns": list(t.columns), "rows": [list(row) for row in t.rows]}
                       for t in self.tables],
        }  # fmt: skip


CASES: Registry[Callable[[], CaseReport]] = Registry("case", package="simsparse.validate.cases")
"""Cases by name; a module of validate/cases registers one or a few that share their data."""


@dataclass(frozen=True)
class Varied:
    """How the points of a case follow from its part: the part's name, and the points by label under overrides."""

    part: str
    points: Callable[[Mapping[str, str]], Mapping[str, float]]


VARIED: Registry[Varied] = Registry("case that can be varied", package="simsparse.validate.cases")
"""The same cases as functions of their part's values, where they are that, so that assumed values can be moved."""


def case_folder(name: str) -> Path:
    """Where the data of a case lie: in a wheel's data, or in the checkout's tests."""
    root = data_root()
    bundled = root / "validation" / name
    return bundled if bundled.is_dir() else root / "tests" / "validation" / "data" / name


def case_rows(name: str, file: str) -> list[Mapping[str, str]]:
    """The rows of a CSV file of a case. Raises SpecError when it can't be read."""
    path = case_folder(name) / file
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    except OSError as error:
        raise SpecError(f"can't read: {error.strerror}", key=str(path)) from None


def run_cases(names: Sequence[str] = ()) -> list[CaseReport]:
    """The cases called ``names``, or all. Raises SpecError with the nearest name."""
    return [CASES.get(name)() for name in (names or list(CASES))]
