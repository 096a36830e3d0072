# SPDX-License-Identifier: Apache-2.0
"""The tables that ``simsparse sweep`` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simsparse.cli.console import note, si, table

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 12


def counted(count: int, noun: str) -> str:
    """``1 point`` or ``2 points``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def show(frame: pd.DataFrame, lists_all: bool) -> None:
    """Print the best points of a sweep, those within its limits, and its failures.

    ``lists_all``: the sweep runs all points of its axes; of a search, or where an axis is a range, the best points are
    its Pareto front.
    """
    names = _telling(frame)
    done, failed = frame[frame["error"] == ""], frame[frame["error"] != ""]
    inside = done[done["feasible"]] if "feasible" in done else done
    if len(inside):
        _show_best(frame, inside.sort_values("latency_s", kind="stable"), names, lists_all)
    if beyond := len(done) - len(inside):
        note(f"{beyond} of {counted(len(done), 'point')} beyond the limits of the sweep, not shown")
    if len(failed):
        rows = [(*(row[name] for name in names), row["error"]) for row in failed.head(SHOWN).to_dict("records")]
        first = f", the first {len(rows)}" if len(rows) < len(failed) else ""
        table(f"{len(failed)} of {counted(len(frame), 'point')} without a result{first}", (*names, "error"), rows)


def _show_best(frame: pd.DataFrame, ordered: pd.DataFrame, names: list[str], lists_all: bool) -> None:
    best, title = _best(ordered, names) if lists_all else _front(ordered)
    areas = best["area_mm2"].notna().any()
    rows = [
        (*(row[name] for name in names), si(row["latency_s"], "s"), si(row["energy_j"], "J"),
         *([_area(row["area_mm2"])] if areas else []), row["bound"], "*" if row["front"] else "")
        for row in best.to_dict("records")
    ]  # fmt: skip
    right = ("latency", "energy", *(["area"] if areas else []))
    table(f"{counted(len(frame), 'point')}, {title}", (*names, *right, "bound", "front"), rows, right)


def _area(value: float | None) -> str:
    return "unknown" if value is None or math.isnan(value) else f"{value:.4g} mm2"


def _best(ordered: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, str]:
    """The fastest point of each combination of all axes but the last; where those are many, the Pareto front."""
    outer = names[:-1]
    if outer and 1 < ordered.groupby(outer).ngroups <= 3 * SHOWN:
        return ordered.groupby(outer, sort=False).head(1).sort_values(
            outer
        ), f"the fastest of each {' and '.join(outer)}"
    return _front(ordered)


def _front(ordered: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The Pareto front, points with one answer once."""
    front = ordered[ordered["front"]].drop_duplicates(["latency_s", "energy_j", "area_mm2"])
    shown = "" if len(front) <= 2 * SHOWN else f", the fastest {2 * SHOWN} of them"
    return front.head(2 * SHOWN), f"the Pareto front, {int(ordered['front'].sum())} of them{shown}"


def _telling(frame: pd.DataFrame) -> list[str]:
    """The inputs that vary and do not follow from an earlier one."""
    inputs = [name for name in frame.columns[: list(frame.columns).index("trace")] if not name.startswith("si.")]
    kept: list[str] = []
    for name in inputs:
        follows = any((frame.groupby(other)[name].nunique() <= 1).all() for other in kept)
        if frame[name].nunique() > 1 and not follows:
            kept.append(name)
    return kept
