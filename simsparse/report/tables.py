# SPDX-License-Identifier: Apache-2.0
"""Tables: for people on the page, for programs as CSV and Parquet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from simsparse.config.keys import label_of
from simsparse.core import OpResult
from simsparse.report.metrics import PER_AREA, PER_JOULE, Metric
from simsparse.report.results import Results, StoredPoint, unique
from simsparse.report.si import digits, si
from simsparse.store import to_csv

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 400
AT_ONCE = 20_000
"""Operators that are written at once."""
_MEASURES = ("Latency", "Energy", "Area", f"{PER_AREA.name} ({PER_AREA.unit})", PER_JOULE.name, "Bound by", "Checked")


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
        "One row per point that ended well. Checked says whether references check every model behind the numbers; the "
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
    csv, parquet = folder / "points.csv", folder / "points.parquet"
    to_csv(results.table, csv)
    results.table.to_parquet(parquet, index=False)
    return [csv, parquet, *_write_ops(results, folder)]


def _write_ops(results: Results, folder: Path) -> list[Path]:
    """One row per op of every point whose ops were kept, with the point's key, written piece by piece."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    csv, parquet, writer = folder / "ops.csv", folder / "ops.parquet", None
    for frame in _ops_frames(results):
        to_csv(frame, csv, more=writer is not None)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(parquet, table.schema)
        writer.write_table(table)
    if writer is None:
        return []
    writer.close()
    return [csv, parquet]


def _ops_frames(results: Results) -> Iterator[pd.DataFrame]:
    """Operators with their point's key, ``AT_ONCE`` at a time; columns have one type in all."""
    import pandas as pd

    types = {name: {float: "float64", int: "int64"}.get(hint, "string")
             for name, hint in get_type_hints(OpResult).items()}  # fmt: skip
    for key in results.ops:
        ops = iter(results.ops[key])
        while some := list(islice(ops, AT_ONCE)):
            frame = pd.DataFrame(some, columns=OpResult._fields).astype(types)
            frame.insert(0, "key", pd.Series(key, index=frame.index, dtype="string"))
            yield frame
