"""Panels of horizontal bars: one a workload, two side by side, groups of bars by setup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simsparse.report.results import Cell, Results
from simsparse.report.style import DPI, MUTED, SMALL_PT, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2


@dataclass(frozen=True)
class Place:
    """Axes of one workload; ``setups`` are its groups of bars from the top, as all panels of its row have them."""

    ax: Axes
    workload: str
    setups: tuple[str, ...]
    labelled: bool


def bar_panels(results: Results, height_in: Callable[[int], float]) -> tuple[Figure, list[Place]]:
    """A figure with a panel a workload. ``height_in`` gives the inches of a row of so many setups.

    A row leaves out setups that none of its workloads was asked for.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = results.workloads
    columns = min(COLUMNS, len(names))
    rows = [names[i : i + columns] for i in range(0, len(names), columns)]
    setups = [_asked(results, row) for row in rows]
    heights = [height_in(len(row)) for row in setups]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        len(rows), columns, squeeze=False, sharex=False, sharey="row", gridspec_kw={"height_ratios": heights}
    )
    for unused in grid[-1][len(rows[-1]) :]:
        unused.remove()
    places = [
        Place(ax, workload, setups[i], labelled=j == 0)
        for i, row in enumerate(rows)
        for j, (ax, workload) in enumerate(zip(grid[i], row, strict=False))
    ]
    return figure, places


def _asked(results: Results, workloads: list[str]) -> tuple[str, ...]:
    asked = {point.setup for point in results.points if point.workload in workloads}
    return tuple(setup for setup in results.setups if setup in asked)


def asked_for(results: Results, workload: str, setup: str) -> bool:
    """Whether the sweep has any point of ``workload`` on ``setup``."""
    return any((point.workload, point.setup) == (workload, setup) for point in results.points)


def mark_absent(ax: Axes, results: Results, cell: Cell, y: float) -> None:
    """Say in the place of a bar why it is not there."""
    failed = any(point.cell == cell for point in results.failed)
    write_absent(ax, "failed" if failed else "no dense run" if cell in results.cells else "not run", y)


def write_absent(ax: Axes, word: str, y: float) -> None:
    """Write ``word`` where a bar would begin."""
    ax.annotate(
        word, (0, y), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", va="center",
        fontsize=SMALL_PT, color=MUTED, style="italic",
    ).set_in_layout(False)  # fmt: skip
