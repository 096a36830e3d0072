# SPDX-License-Identifier: Apache-2.0
"""Bars of one metric: one panel a workload, one group a setup, one bar a sparsity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsparse.report.metrics import Metric, spans_decades
from simsparse.report.plot import Plot, finish, plain_log
from simsparse.report.results import Results, StoredPoint
from simsparse.report.rows import Place, asked_for, bar_panels, mark_absent, numbered, pages, write_absent
from simsparse.report.si import Scale, scale_for
from simsparse.report.style import (
    MUTED,
    SMALL_PT,
    UNVALIDATED_HATCH,
    UNVALIDATED_LABEL,
    UNVALIDATED_NOTE,
    sparsity_colours,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR_IN = 0.155
GROUP_GAP = 0.14


def bars(results: Results, metric: Metric, name: str) -> list[Plot]:
    """Grouped bars of ``metric``, in as many figures as fit pages; none when no point has it.

    A cell of several points shows the median with a line from least to most. Combinations that
    were asked for and have no answer are marked as failed or not run.
    """
    values = metric.values(results.done)
    if not values:
        return []
    scale = Scale(1.0, metric.unit) if metric.unit == "×" else scale_for(values, metric.unit)
    shown, log = shown_sparsities(results, metric), spans_decades(values)
    limits = _limits([value / scale.factor for value in values], log)
    packed = pages(results, lambda setups: _height_in(setups, len(shown)))
    plots = []
    for i, rows in enumerate(packed):
        figure, places = bar_panels(rows, lambda setups: _height_in(setups, len(shown)))
        for place in places:
            _panel(place, results, metric, scale, limits)
            place.ax.set_xlabel(f"{metric.name} ({scale.unit}){', log scale' if log else ''}")
        title = _title(results, metric, {place.workload for place in places})
        finish(figure, title, sparsity_legend(results, shown))
        label = numbered(metric.name, i, len(packed), ", part ")
        plots.append(
            Plot(numbered(name, i, len(packed), "_"), label, title, _caption(results, metric, log), figure)
        )  # fmt: skip
    return plots


def _height_in(setups: int, sparsities: int) -> float:
    return 0.75 + BAR_IN * max(setups * (sparsities + 1), 4)


def _limits(values: Sequence[float], log: bool) -> tuple[float, float, str]:
    """Ends and scale of the axis: bars begin at 0 or a power of ten, the longest leaves room for its number."""
    low, high = min(values), max(values)
    if not log:
        return 0.0, high * 1.35, "linear"
    start = 10.0 ** math.floor(math.log10(low) - 0.05)
    return start, high * (high / start) ** 0.35, "log"


def _panel(place: Place, results: Results, metric: Metric, scale: Scale, limits: tuple[float, float, str]) -> None:
    ax, shown = place.ax, shown_sparsities(results, metric)
    ax.set_xscale(limits[2])
    ax.set_xlim(*limits[:2])
    if limits[2] == "log":
        plain_log(ax.xaxis, limits[1] / limits[0], ticks=5)
    for row, setup in enumerate(place.setups):
        if asked_for(results, place.workload, setup):
            _group(ax, results, (place.workload, setup), metric, scale, row)
        else:
            write_absent(ax, "not run", row)
    ax.set_title(place.workload)
    ax.grid(axis="y", visible=False)
    ax.set_ylim(len(place.setups) - 0.5, -0.5)
    ax.set_yticks(range(len(place.setups)), [wrapped(setup) for setup in place.setups])
    ax.tick_params(axis="y", length=0, labelleft=place.labelled)
    if metric.unit == "×" and shown:
        ax.axvline(1.0, color="black", linewidth=0.8, linestyle=(0, (4, 2)))


def _group(ax: Axes, results: Results, owner: tuple[str, str], metric: Metric, scale: Scale, row: int) -> None:
    """The bars of one setup under one workload, round y = ``row``."""
    colours, shown = sparsity_colours(results.sparsities), shown_sparsities(results, metric)
    height = (1 - GROUP_GAP) / len(shown)
    for column, sparsity in enumerate(shown):
        y = row + (column - (len(shown) - 1) / 2) * height
        cell = (*owner, sparsity)
        points = [point for point in results.cells.get(cell, []) if metric.values([point])]
        if points:
            _bar(ax, points, metric, scale, y, height, colours[sparsity])
        else:
            mark_absent(ax, results, cell, y)


def _bar(
    ax: Axes, group: Sequence[StoredPoint], metric: Metric, scale: Scale, y: float, height: float, colour: str
) -> None:
    values = sorted(value / scale.factor for value in metric.values(group))
    middle = values[(len(values) - 1) // 2]
    hatch = UNVALIDATED_HATCH if any(point.is_unvalidated for point in group) else None
    ax.barh(y, middle, height * 0.92, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
    if values[-1] > 1.005 * values[0]:
        ax.plot([values[0], values[-1]], [y, y], color="black", linewidth=0.8, marker="|", markersize=4)
    over_line = {"facecolor": "white", "edgecolor": "none", "pad": 0.4} if metric.unit == "×" else None
    ax.annotate(
        metric.text(middle * scale.factor), (values[-1], y), xytext=(3, 0), textcoords="offset points", va="center",
        fontsize=SMALL_PT, bbox=over_line,
    ).set_in_layout(False)  # fmt: skip


def shown_sparsities(results: Results, metric: Metric) -> list[str]:
    """All sparsities; for a gain over dense those that are sparse."""
    return [text for text in results.sparsities if metric.unit != "×" or text != "dense"]


def sparsity_legend(results: Results, shown: Sequence[str]) -> list[object]:
    """Legend entries of the colours of ``shown``, and of the hatch of what nothing validates."""
    from matplotlib.patches import Patch

    colours = sparsity_colours(results.sparsities)
    handles: list[object] = [Patch(color=colours[sparsity], label=sparsity) for sparsity in shown]
    return handles + unvalidated_legend(results)


def unvalidated_legend(results: Results) -> list[object]:
    """The legend entry of the hatch, when some point needs it."""
    from matplotlib.patches import Patch

    if not any(point.is_unvalidated for point in results.done):
        return []
    return [Patch(facecolor=MUTED, hatch=UNVALIDATED_HATCH, label=UNVALIDATED_LABEL, edgecolor="white")]


def _title(results: Results, metric: Metric, workloads: set[str]) -> str:
    """The best point of each workload; of many workloads, how often each setup has it."""
    best = {}
    for workload in (name for name in results.workloads if name in workloads):
        points = [p for p in results.done if p.workload == workload and metric.values([p])]
        if points:
            best[workload] = min(points, key=metric.rank)
    word = "Least" if metric.smaller_is_better else "Largest"
    if len(best) > 2:
        return f"{word} {metric.name.lower()}: {counted(results, [[point] for point in best.values()])}"
    said = "; ".join(f"{w}: {metric.text(metric.of(p))} on {p.setup} with {p.sparsity}" for w, p in best.items())
    return f"{word} {metric.name.lower()}: {said}"


def counted(results: Results, chosen: Sequence[Sequence[StoredPoint]]) -> str:
    """``H100 in 3 of 4 workloads, PIM in 1 of 4``: setups of the points chosen in each workload.

    Where there is one setup only, sparsities.
    """
    one = len(results.setups) == 1
    names = [{point.sparsity if one else point.setup for point in points} for points in chosen]
    flat = [name for group in names for name in group]
    ranked = sorted(set(flat), key=lambda name: (-flat.count(name), name))
    return ", ".join(f"{name} in {flat.count(name)} of {len(chosen)} workloads" for name in ranked)


def _caption(results: Results, metric: Metric, log: bool) -> str:
    better = "shorter" if metric.smaller_is_better else "longer"
    text = f"{metric.name} of one pass of each workload, by setup and weight sparsity; {better} is better."
    if metric.unit == "×":
        text += " The dashed line is dense weights on the same setup: left of it, sparsity costs more than it saves."
    if log:
        text += " The axis is logarithmic: equal distances are equal ratios."
    if any(point.is_unvalidated for point in results.done):
        text += UNVALIDATED_NOTE
    if results.has_spread:
        text += " Bars are medians over the other axes; black lines reach from least to most."
    return text + results.note
