# SPDX-License-Identifier: Apache-2.0
"""Errors of predictions against measurements, by section."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import rankdata

from simsparse.validate.measurement import Measurement


class Unsupported(Exception):
    """A row that the models can't predict, and why."""


@dataclass(frozen=True)
class Prediction:
    """A measured value and what the model says, both in ``unit`` (s or J)."""

    row: Measurement
    measured: float
    predicted: float
    unit: str = "s"

    @property
    def error(self) -> float:
        """Relative error, positive where the model says too much."""
        return self.predicted / self.measured - 1


@dataclass(frozen=True)
class SectionReport:
    """Comparison of one section.

    ``tolerance`` is the mean absolute percentage error, as a share, that the section must stay
    within. ``skipped`` are rows that were not compared, by reason. ``facts`` are shares by what they are of, such as
    rows in which the right one of two kernels is faster.
    """

    name: str
    predictions: Sequence[Prediction]
    tolerance: float
    skipped: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def mape(self) -> float:
        """Mean absolute relative error; NaN without a compared row."""
        return statistics.fmean(abs(p.error) for p in self.predictions) if self.predictions else math.nan

    @property
    def median(self) -> float:
        """Median absolute relative error; NaN without a compared row."""
        return statistics.median(abs(p.error) for p in self.predictions) if self.predictions else math.nan

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's rank correlation of predictions and measurements; None of fewer than three rows."""
        if len(self.predictions) < 3:
            return None
        said, found = (rankdata([getattr(p, name) for p in self.predictions]) for name in ("predicted", "measured"))
        spread = float(said.std() * found.std())
        return float(((said - said.mean()) * (found - found.mean())).mean()) / spread if spread else None

    @property
    def worst(self) -> Prediction | None:
        """The prediction that is furthest off."""
        return max(self.predictions, key=lambda p: abs(p.error), default=None)

    @property
    def passed(self) -> bool:
        """Whether the mean error is within the tolerance; True where nothing was compared."""
        return not self.predictions or self.mape <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        worst = self.worst
        return {
            "section": self.name, "rows": len(self.predictions) + sum(self.skipped.values()),
            "compared": len(self.predictions), "skipped": dict(self.skipped),
            "mape": self.mape if self.predictions else None, "median": self.median if self.predictions else None,
            "rank_correlation": self.rank_correlation,
            "worst": worst and {
                "error": worst.error, "measured": worst.measured, "predicted": worst.predicted, "unit": worst.unit,
                "line": worst.row.line, "shape": worst.row.shape,
            },
            "tolerance": self.tolerance, "passed": self.passed, "facts": dict(self.facts),
        }  # fmt: skip


@dataclass(frozen=True)
class ValidationReport:
    """Comparison of a file's rows with the models of one part.

    ``not_simulated`` and ``unknown`` give the rows of sections that no model covers and of sections
    that the schema does not have.
    """

    file: str
    hardware: str
    sections: Sequence[SectionReport]
    not_simulated: Mapping[str, int]
    unknown: Mapping[str, int]

    @property
    def passed(self) -> bool:
        """Whether every section is within its tolerance."""
        return all(section.passed for section in self.sections)

    def section(self, name: str) -> SectionReport:
        """The section called ``name``. Raises KeyError."""
        return {section.name: section for section in self.sections}[name]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return {
            "file": self.file, "hardware": self.hardware, "passed": self.passed,
            "sections": [section.to_dict() for section in self.sections],
            "not_simulated": dict(self.not_simulated), "unknown": dict(self.unknown),
        }  # fmt: skip

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for people: a row a section, then the sections that were not compared."""
        columns = ["section", "rows", "compared", "mean error", "median", "worst", "worst case", "tolerance", "result"]
        rows = [_cells(section) for section in self.sections]
        rows += [[name, str(count), "0", *[""] * 5, "not simulated"] for name, count in self.not_simulated.items()]
        rows += [[name, str(count), "0", *[""] * 5, "unknown section"] for name, count in self.unknown.items()]
        return columns, rows


LONG_FIELD = 60
"""Characters of a row's field beyond which it is left out, such as the tokens of each expert."""


def shape_text(row: Measurement) -> str:
    """What a row measured, in short."""
    return ", ".join(f"{key} {value}" for key, value in row.shape.items() if len(str(value)) <= LONG_FIELD)


def _cells(section: SectionReport) -> list[str]:
    compared, worst = len(section.predictions), section.worst
    counts = [section.name, str(compared + sum(section.skipped.values())), str(compared)]
    if worst is None:
        return [*counts, "", "", "", "; ".join(section.skipped), f"{section.tolerance:.0%}", "not compared"]
    figures = [f"{section.mape:.1%}", f"{section.median:.1%}", f"{worst.error:+.1%}", shape_text(worst.row)]
    return [*counts, *figures, f"{section.tolerance:.0%}", "pass" if section.passed else "FAIL"]
