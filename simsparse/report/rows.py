# SPDX-License-Identifier: Apache-2.0
"""Panels of horizontal bars: one per workload, groups by configuration, a row per answer."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simsparse.report.results import Results, StoredPoint, listed
from simsparse.report.style import DPI, MUTED, SMALL_PT, WIDTH_IN, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE_IN = 8.6
"""Tallest panels of one figure in inches; with title and legend that fits a printed page at full size."""
ROW_IN, LINE, GAP, FRAME_IN = 0.175, 0.72, 0.6, 0.75
"""Inches of a row of one line, height of each further line and of the gap between configurations, axis, title."""
LABEL_CHARACTERS, NAME_CHARACTERS, CHARACTER_PT = 30, 22, 4.6
FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """Sparsities of one configuration that have the same answer, and a point that has it; None where they have none."""

    configuration: str
    label: str
    point: StoredPoint | None

    @property
    def height(self) -> float:
        """In rows of one line."""
        return 1 + LINE * self.label.count("\n")


@dataclass(frozen=True)
class Panel:
    """The rows of a workload, or of some of its configurations."""

    workload: str
    rows: tuple[Row, ...]

    @property
    def groups(self) -> list[tuple[Row, ...]]:
        """The rows of each configuration."""
        return [tuple(own) for _, own in itertools.groupby(self.rows, key=lambda row: row.configuration)]

    @property
    def height(self) -> float:
        """In rows of one line, gaps between configurations included."""
        return sum(map(_group_height, self.groups)) + GAP * (len(self.groups) - 1)

    @property
    def height_in(self) -> float:
        return FRAME_IN + ROW_IN * max(self.height, 3.0)

    def placed(self) -> list[tuple[float, Row]]:
        """Each row with the place of its middle on the y axis, from the top."""
        found, top = [], 0.0
        for group in self.groups:
            end = top + _group_height(group) + GAP
            top += (_group_height(group) - sum(row.height for row in group)) / 2
            for row in group:
                found.append((top + row.height / 2, row))
                top += row.height
            top = end
        return found


def _group_height(group: Sequence[Row]) -> float:
    """Rows of one line that a configuration takes: those of its bars, or of its name where that is higher."""
    return max(
        sum(row.height for row in group), 1 + LINE * wrapped(group[0].configuration, NAME_CHARACTERS).count("\n")
    )


def panels_of(results: Results, wanted: Callable[[StoredPoint], bool], failures: bool = True) -> list[Panel]:
    """A panel per workload that has a row, those beyond a page's height in several.

    Rows hold the points that are ``wanted``; with ``failures`` a configuration's sparsities that failed have a row too.
    What was not run has none.
    """
    found = []
    for workload in results.workloads:
        groups = [
            own
            for configuration in results.configurations
            if (own := _rows(results, workload, configuration, wanted, failures))
        ]
        part: list[Row] = []
        for group in groups:
            if part and Panel(workload, (*part, *group)).height_in > PAGE_IN:
                found.append(Panel(workload, tuple(part)))
                part = []
            part += group
        found += [Panel(workload, tuple(part))] if part else []
    return found


def _rows(
    results: Results, workload: str, configuration: str, wanted: Callable[[StoredPoint], bool], failures: bool
) -> list[Row]:
    answers: list[list[StoredPoint]] = []
    failed = []
    for sparsity in results.sparsities:
        point = results.point_of(workload, configuration, sparsity)
        if point is not None and wanted(point):
            same = next((own for own in answers if any(_read_alike(point, other) for other in own)), None)
            if same is None:
                answers.append([point])
            else:
                same.append(point)
        elif any(each.cell == (workload, configuration, sparsity) for each in results.failed):
            failed.append(sparsity)
    rows = [Row(configuration, label_of_same(points), points[0]) for points in answers]
    if not failures or not failed:
        return rows
    denser = sum(results.sparsities.index(points[0].sparsity) < results.sparsities.index(failed[0])
                 for points in answers)  # fmt: skip
    return [*rows[:denser], Row(configuration, _lines(", ".join(failed)), None), *rows[denser:]]


def _read_alike(one: StoredPoint, other: StoredPoint) -> bool:
    """Whether two patterns have one answer: of patterns that a device runs as one, in the digits that are shown."""
    digits = 3 if _runs(one) == _runs(other) else 6
    return one.is_unvalidated == other.is_unvalidated and all(
        f"{a:.{digits}g}" == f"{b:.{digits}g}"
        for a, b in ((one.latency_s, other.latency_s), (one.energy_j, other.energy_j))
    )


def _runs(point: StoredPoint) -> str:
    """The pattern as which the devices run the point's weights."""
    return point.runs_as.get(point.sparsity, point.sparsity)


def label_of_same(points: Sequence[StoredPoint]) -> str:
    """``2:4 = 1:4``, with what the device runs where that is none of them: ``1:8 (as 2:4)``."""
    names = [point.sparsity for point in points]
    used = set(map(_runs, points))
    mark = f" (as {next(iter(used))})" if len(used) == 1 and not used & set(names) else ""
    return _lines(" = ".join(names) + mark)


def _lines(text: str) -> str:
    return "\n".join(textwrap.wrap(text, LABEL_CHARACTERS, break_long_words=False, break_on_hyphens=False))


def pages(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Panels packed into figures that fit a page."""
    packed: list[list[Panel]] = []
    room = 0.0
    for panel in panels:
        room -= panel.height_in
        if not packed or room < 0:
            packed.append([])
            room = PAGE_IN - panel.height_in
        packed[-1].append(panel)
    return packed


def bar_axes(panels: Sequence[Panel]) -> tuple[Figure, list[Axes]]:
    """A figure with axes for ``panels``, each as high as its rows need, one under another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [panel.height_in for panel in panels]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    return figure, list(grid.flat)


def name_rows(ax: Axes, panel: Panel) -> None:
    """Limits and ticks of the y axis, names of rows beside it and of configurations beside those."""
    placed = panel.placed()
    ax.set_title(panel.workload, loc="right")
    ax.grid(axis="y", visible=False)
    ax.set_ylim(panel.height + 0.1, -0.1)
    ax.set_yticks([y for y, _ in placed], [row.label for _, row in placed])
    ax.tick_params(axis="y", length=0)
    widest = max(len(line) for row in panel.rows for line in row.label.split("\n"))
    for configuration in dict.fromkeys(row.configuration for row in panel.rows):
        own = [(y, row.height) for y, row in placed if row.configuration == configuration]
        middle = (own[0][0] - own[0][1] / 2 + own[-1][0] + own[-1][1] / 2) / 2
        ax.annotate(
            wrapped(configuration, NAME_CHARACTERS), (0, middle), xycoords=("axes fraction", "data"),
            xytext=(-CHARACTER_PT * widest - 12, 0), textcoords="offset points", ha="right", va="center",
            fontsize=SMALL_PT, fontweight="bold",
        )  # fmt: skip
    for y, row in placed:
        if row.point is None:
            write_absent(ax, FAILED, y)


def numbered(text: str, index: int, count: int, between: str) -> str:
    """``text`` for the first of ``count`` figures, with the number behind ``between`` for the others."""
    return text if index == 0 or count == 1 else f"{text}{between}{index + 1}"


def write_absent(ax: Axes, word: str, y: float) -> None:
    """Write ``word`` where a bar would begin."""
    ax.annotate(
        word, (0, y), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", va="center",
        fontsize=SMALL_PT, color=MUTED, style="italic",
    ).set_in_layout(False)  # fmt: skip


def runs_note(results: Results, panels: Sequence[Panel]) -> str:
    """``Patterns joined by = have one answer in the digits shown. On H100, 1:4 and 1:8 run as 2:4.``"""
    drawn = {row.configuration for panel in panels for row in panel.rows}
    said: dict[str, list[str]] = {}
    for configuration in (configuration for configuration in results.configurations if configuration in drawn):
        used: dict[str, list[str]] = {}
        for point in results.done:
            if point.configuration == configuration and (name := point.runs_as.get(point.sparsity)):
                own = used.setdefault(name, [])
                own += [] if point.sparsity in own else [point.sparsity]
        if used:
            text = "; ".join(f"{', '.join(stated)} as {name}" for name, stated in used.items())
            said.setdefault(text, []).append(configuration)
    joined = any(" = " in row.label.replace("\n", " ") for panel in panels for row in panel.rows)
    start = " Patterns joined by = have one answer in the digits shown." if joined else ""
    return start + "".join(
        f" {listed(configurations)} run{'s' * (len(configurations) == 1)} {text}."
        for text, configurations in said.items()
    )
