# SPDX-License-Identifier: Apache-2.0
"""Panels of horizontal bars: one a workload, two side by side, groups of bars by setup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simsparse.report.results import PointKey, Results
from simsparse.report.style import DPI, MUTED, SMALL_PT, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
PAGE_IN = 8.6
"""Tallest panels of one figure in inches; with title and legend that fits a printed page at full size."""


@dataclass(frozen=True)
class TableRow:
    """Panels side by side: their workloads, and the setups that are their groups of bars from the top."""

    workloads: tuple[str, ...]
    setups: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Axes of one workload in a row; ``labelled`` is the one that names the groups."""

    ax: Axes
    workload: str
    setups: tuple[str, ...]
    labelled: bool


def pages(results: Results, height_in: Callable[[int], float]) -> list[list[TableRow]]:
    """Rows for all workloads and setups, packed into figures that fit a page.

    ``height_in`` gives the inches of a row of so many setups. A row leaves out setups that none of
    its workloads was asked for; setups that don't fit a page go on in another row.
    """
    most = max((n for n in range(1, len(results.setups) + 1) if height_in(n) <= PAGE_IN), default=1)
    columns = min(COLUMNS, len(results.workloads))
    packed: list[list[TableRow]] = []
    room = 0.0
    for i in range(0, len(results.workloads), columns):
        workloads = tuple(results.workloads[i : i + columns])
        setups = _asked(results, workloads)
        for row in (TableRow(workloads, setups[j : j + most]) for j in range(0, len(setups), most)):
            room -= height_in(len(row.setups))
            if not packed or room < 0:
                packed.append([])
                room = PAGE_IN - height_in(len(row.setups))
            packed[-1].append(row)
    return packed


def bar_panels(rows: Sequence[TableRow], height_in: Callable[[int], float]) -> tuple[Figure, list[Place]]:
    """A figure of ``rows``, each as high as its setups need."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(row.workloads) for row in rows)
    heights = [height_in(len(row.setups)) for row in rows]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        len(rows), columns, squeeze=False, sharex=False, sharey="row", gridspec_kw={"height_ratios": heights}
    )
    places = []
    for axes, row in zip(grid, rows, strict=True):
        for unused in axes[len(row.workloads) :]:
            unused.remove()
        for j, (ax, workload) in enumerate(zip(axes, row.workloads, strict=False)):
            places.append(Place(ax, workload, row.setups, labelled=j == 0))
    return figure, places


def numbered(text: str, index: int, count: int, between: str) -> str:
    """``text`` for the first of ``count`` figures, with the number behind ``between`` for the others."""
    return text if index == 0 or count == 1 else f"{text}{between}{index + 1}"


def _asked(results: Results, workloads: tuple[str, ...]) -> tuple[str, ...]:
    asked = {point.setup for point in results.points if point.workload in workloads}
    return tuple(setup for setup in results.setups if setup in asked)


def asked_for(results: Results, workload: str, setup: str) -> bool:
    """Whether the sweep has any point of ``workload`` on ``setup``."""
    return any((point.workload, point.setup) == (workload, setup) for point in results.points)


def mark_absent(ax: Axes, results: Results, cell: PointKey, y: float) -> None:
    """Say in the place of a bar why it is not there."""
    failed = any(point.cell == cell for point in results.failed)
    write_absent(ax, "failed" if failed else "no dense run" if cell in results.cells else "not run", y)


def write_absent(ax: Axes, word: str, y: float) -> None:
    """Write ``word`` where a bar would begin."""
    ax.annotate(
        word, (0, y), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", va="center",
        fontsize=SMALL_PT, color=MUTED, style="italic",
    ).set_in_layout(False)  # fmt: skip
