# SPDX-License-Identifier: Apache-2.0
"""One metric by workload, configuration and sparsity: bars from zero, or dots on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsparse.report.metrics import Metric, spans_decades
from simsparse.report.plot import Plot, finish, plain_log
from simsparse.report.results import Results, StoredPoint
from simsparse.report.rows import Panel, bar_axes, name_rows, numbered, pages, panels_of, runs_note
from simsparse.report.si import Scale, scale_for
from simsparse.report.slices import sliced
from simsparse.report.style import (
    GRID,
    HOLLOW_LABEL,
    HOLLOW_NOTE,
    MUTED,
    SMALL_PT,
    UNVALIDATED_HATCH,
    UNVALIDATED_LABEL,
    UNVALIDATED_NOTE,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bars(results: Results, metric: Metric, name: str) -> list[Plot]:
    """``metric`` of each point, in as many figures as fit pages; none when no point has it.

    Of results with further axes those at one value of each are drawn (``sliced``). Bars begin at zero; values that span
    decades are dots on a logarithmic axis instead. Sparsities of one configuration that have the same answer share
    a row.
    """
    results = sliced(results)
    values = metric.values(results.done)
    panels = panels_of(results, lambda point: bool(metric.values([point])), failures=metric.unit != "×")
    if not values or not panels:
        return []
    scale = Scale(1.0, metric.unit) if metric.unit == "×" else scale_for(values, metric.unit)
    log = spans_decades(values)
    limits = _limits([value / scale.factor for value in values], log)
    packed, plots = pages(panels), []
    for i, own in enumerate(packed):
        figure, axes = bar_axes(own)
        for ax, panel in zip(axes, own, strict=True):
            _panel(ax, panel, results, metric, scale, limits, log)
            ax.set_xlabel(f"{metric.name} ({scale.unit}){', log scale' if log else ''}")
        title = _title(results, metric, {panel.workload for panel in own})
        finish(figure, title, unvalidated_legend(results, hollow=log))
        plots.append(Plot(numbered(name, i, len(packed), "_"), numbered(metric.name, i, len(packed), ", part "), title,
                          _caption(results, metric, log) + runs_note(results, own), figure))  # fmt: skip
    return plots


def _limits(values: Sequence[float], log: bool) -> tuple[float, float]:
    """Ends of the axis; the largest value leaves room for its number."""
    low, high = min(values), max(values)
    return (low / 1.5, high * (high / low) ** 0.25) if log else (0.0, high * 1.2)


def _panel(
    ax: Axes, panel: Panel, results: Results, metric: Metric, scale: Scale, limits: tuple[float, float], log: bool
) -> None:
    colours = results.colours
    ax.set_xscale("log" if log else "linear")
    ax.set_xlim(*limits)
    if log:
        plain_log(ax.xaxis, limits[1] / limits[0], ticks=6)
    for y, row in panel.placed():
        if row.point is not None:
            mark = _dot if log else _bar
            mark(ax, row.point, metric, scale, y, colours[row.point.sparsity])
    name_rows(ax, panel)
    if metric.unit == "×":
        ax.axvline(1.0, color="black", linewidth=0.8, linestyle=(0, (4, 2)))


def _bar(ax: Axes, point: StoredPoint, metric: Metric, scale: Scale, y: float, colour: str) -> None:
    value, hatch = metric.of(point) / scale.factor, UNVALIDATED_HATCH if point.is_unvalidated else None
    ax.barh(y, value, 0.86, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
    _write(ax, point, metric, value, y)


def _dot(ax: Axes, point: StoredPoint, metric: Metric, scale: Scale, y: float, colour: str) -> None:
    value = metric.of(point) / scale.factor
    ax.axhline(y, color=GRID, linewidth=0.6, zorder=0.5)
    ax.plot([value], [y], marker="o", markersize=5.5, color=colour, markeredgewidth=1.3,
            markerfacecolor="white" if point.is_unvalidated else colour, linestyle="none")  # fmt: skip
    _write(ax, point, metric, value, y)


def _write(ax: Axes, point: StoredPoint, metric: Metric, value: float, y: float) -> None:
    ax.annotate(
        metric.text(metric.of(point)), (value, y), xytext=(6, 0), textcoords="offset points", va="center",
        fontsize=SMALL_PT, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
    ).set_in_layout(False)  # fmt: skip


def sparsity_legend(results: Results, shown: Sequence[str]) -> list[object]:
    """Legend entries of the colours of ``shown``."""
    from matplotlib.patches import Patch

    colours = results.colours
    return [Patch(color=colours[sparsity], label=sparsity) for sparsity in shown]


def unvalidated_legend(results: Results, hollow: bool = False) -> list[object]:
    """The legend entry of the hatch, or of hollow markers, when some point needs it."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not any(point.is_unvalidated for point in results.done):
        return []
    if hollow:
        return [Line2D([], [], linestyle="none", marker="o", color=MUTED, markerfacecolor="white", markeredgewidth=1.4,
                       label=HOLLOW_LABEL, markersize=6)]  # fmt: skip
    return [Patch(facecolor=MUTED, hatch=UNVALIDATED_HATCH, label=UNVALIDATED_LABEL, edgecolor="white")]


def _title(results: Results, metric: Metric, workloads: set[str]) -> str:
    """What is drawn, and the best point of each of up to two workloads."""
    drawn = f"{metric.name} by configuration and weight sparsity{f', {results.at}' if results.at else ''}"
    best = {}
    for workload in (name for name in results.workloads if name in workloads):
        points = [p for p in results.done if p.workload == workload and metric.values([p])]
        if points:
            best[workload] = min(points, key=metric.rank)
    if len(best) > 2:
        return drawn
    word = "least" if metric.smaller_is_better else "largest"
    said = "; ".join(
        f"{w}: {metric.text(metric.of(p))} on {p.configuration} with {p.sparsity}" for w, p in best.items()
    )
    return f"{drawn} ({word} of {said})"


def counted(results: Results, chosen: Sequence[Sequence[StoredPoint]]) -> str:
    """``H100 in 3 of 4 workloads, PIM in 1 of 4``: configurations of the points chosen in each workload.

    Where there is one configuration only, sparsities.
    """
    one = len(results.configurations) == 1
    names = [{point.sparsity if one else point.configuration for point in points} for points in chosen]
    flat = [name for group in names for name in group]
    ranked = sorted(set(flat), key=lambda name: (-flat.count(name), name))
    return ", ".join(f"{name} in {flat.count(name)} of {len(chosen)} workloads" for name in ranked)


def _caption(results: Results, metric: Metric, log: bool) -> str:
    better = "less" if metric.smaller_is_better else "more"
    text = f"{metric.name} of one pass of each workload, by configuration and weight sparsity; {better} is better."
    if metric.unit == "×":
        text += (
            " Each is the ratio of two points that differ in nothing else; those without such a partner are not "
            "drawn. The dashed line is the baseline: left of it, a pass takes longer."
        )
    if log:
        text += " The axis is logarithmic: equal distances are equal ratios."
    if any(point.is_unvalidated for point in results.done):
        text += HOLLOW_NOTE if log else UNVALIDATED_NOTE
    return text + results.note
