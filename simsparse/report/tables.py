# SPDX-License-Identifier: Apache-2.0
"""Tables: for people on the page, for programs as CSV and Parquet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simsparse.config.keys import label_of
from simsparse.report.metrics import PER_AREA, PER_JOULE, Metric
from simsparse.report.results import Results, StoredPoint, unique
from simsparse.report.si import digits, si
from simsparse.store import to_csv

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 400
_MEASURES = ("Latency", "Energy", "Area", PER_AREA.name, PER_JOULE.name, "Bound by", "Checked")


@dataclass(frozen=True, slots=True)
class TableCell:
    """Text of a cell, and the number it sorts by (None: by text); ``warn`` marks it."""

    text: str
    order: float | None = None
    warn: bool = False


@dataclass(frozen=True)
class HtmlTable:
    """A table of the page; ``intro`` stands above it, ``note`` under it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    note: str = ""
    intro: str = ""


def page_tables(results: Results) -> dict[str, HtmlTable]:
    """The tables of the page by their anchor, in order."""
    return {
        "points": points_table(results), "failed": failed_table(results), "unvalidated": unvalidated_table(results),
        "assumed": assumed_table(results),
    }  # fmt: skip


def points_table(results: Results) -> HtmlTable:
    """Every point that ended well, first ``MAX_ROWS`` of them."""
    columns = ("Workload", "Configuration", "Sparsity", *_axis_names(results), *_MEASURES)
    rows = tuple(_point_row(point, results.axes) for point in results.done[:MAX_ROWS])
    hidden = len(results.done) - len(rows)
    note = f"{hidden} more points stand in points.csv and points.parquet." if hidden else ""
    intro = (
        "One row a point that ended well. Checked says whether references check every model behind the numbers; the "
        "percentage is the share of operator time from models that none checks."
    )
    return HtmlTable("Points", columns, rows, note, intro)


def _point_row(point: StoredPoint, axes: Sequence[str]) -> tuple[TableCell, ...]:
    words = (point.workload, point.configuration, point.sparsity, *(point.axes.get(name, "") for name in axes))
    return (
        *(TableCell(word) for word in words),
        TableCell(si(point.latency_s, "s"), point.latency_s), TableCell(si(point.energy_j, "J"), point.energy_j),
        TableCell("–" if point.area_mm2 is None else f"{digits(point.area_mm2)} mm²", point.area_mm2 or -1.0),
        _number(point, PER_AREA), _number(point, PER_JOULE),
        TableCell(point.bound or "–"), _checked(point),
    )  # fmt: skip


def _number(point: StoredPoint, metric: Metric) -> TableCell:
    value = metric.of(point)
    return TableCell("–", -1.0) if math.isnan(value) else TableCell(digits(value), value)


def _checked(point: StoredPoint) -> TableCell:
    if not point.unvalidated:
        return TableCell("validated")
    share = point.unvalidated_share
    known = "" if share is None else " <1 %" if share < 0.01 else f" {100 * share:.0f} %"
    return TableCell(f"unvalidated{known}", warn=True)


def failed_table(results: Results) -> HtmlTable:
    """Every point that failed, with its error."""
    rows = []
    for point in results.failed[:MAX_ROWS]:
        others = (point.axes[name] for name in results.axes)
        words = (point.workload, point.configuration, point.sparsity, *others, point.error)
        rows.append(tuple(TableCell(word) for word in words))
    hidden = len(results.failed) - len(rows)
    note = f"{hidden} more failed points stand in points.csv." if hidden else ""
    return HtmlTable(
        "Failed points", ("Workload", "Configuration", "Sparsity", *_axis_names(results), "Reason"), tuple(rows), note
    )


def _axis_names(results: Results) -> list[str]:
    return [label_of(name) for name in results.axes]


def assumed_table(results: Results) -> HtmlTable:
    """Every assumed value, and the configurations whose answers rest on it."""
    users: dict[str, list[str]] = {}
    for point in results.done:
        for value in point.assumed:
            users.setdefault(value, []).append(point.configuration)
    rows = []
    for text, configurations in users.items():
        path, _, value = text.partition(" = ")
        rows.append(tuple(TableCell(word) for word in (path, value, ", ".join(unique(configurations)))))
    intro = "Numbers of the hardware models that no source gives. The answers of the configurations named rest on them."
    return HtmlTable("Assumed values", ("Value", "Set to", "Used by"), tuple(rows), intro=intro)


def unvalidated_table(results: Results) -> HtmlTable:
    """Every model that no reference checks, and the configurations that use it."""
    users: dict[str, list[str]] = {}
    for point in results.done:
        for model in point.unvalidated:
            users.setdefault(model, []).append(point.configuration)
    rows = tuple(
        (TableCell(model), TableCell(", ".join(unique(configurations)))) for model, configurations in users.items()
    )
    intro = "Models that no measurement, publication or other level of the simulator was compared with."
    return HtmlTable("Unvalidated models", ("Model", "Used by"), rows, intro=intro)


def write_tables(results: Results, folder: Path) -> list[Path]:
    """points.csv, points.parquet, and ops.* when per-op rows were kept."""
    written = _write(results.table, folder / "points")
    if any(results.ops.values()):
        written += _write(ops_frame(results), folder / "ops")
    return written


def ops_frame(results: Results) -> pd.DataFrame:
    """One row an op of every point whose ops were kept, with the point's key."""
    import pandas as pd

    return pd.DataFrame([{"key": key, **op._asdict()} for key, ops in results.ops.items() for op in ops])


def _write(table: pd.DataFrame, stem: Path) -> list[Path]:
    csv, parquet = stem.with_suffix(".csv"), stem.with_suffix(".parquet")
    to_csv(table, csv)
    table.to_parquet(parquet, index=False)
    return [csv, parquet]
