# SPDX-License-Identifier: Apache-2.0
"""Pareto fronts: two costs of every point, and the points that no other beats."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsparse.report.bars import counted, sparsity_legend
from simsparse.report.labels import place_labels
from simsparse.report.metrics import Metric, spans_decades
from simsparse.report.pareto import pareto_front
from simsparse.report.plot import Plot, finish, freeze_layout, panels, plain_log
from simsparse.report.results import Results, StoredPoint
from simsparse.report.rows import numbered
from simsparse.report.si import Scale, scale_for, short_value
from simsparse.report.style import INK, MUTED, OTHER, setup_markers, sparsity_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_IN = 2.6
PANELS = 3
MAX_LABELS = 14
RASTER_FROM = 2000
STEP_PX = 8


def front(results: Results, shown: Results, x: Metric, y: Metric, name: str) -> list[Plot]:
    """Scatter of ``x`` and ``y``, one panel a workload, with the front joined and labelled.

    Setups and sparsities that ``shown`` leaves out are drawn in grey. None when fewer than two points
    have both numbers.
    """
    points = [point for point in results.done if x.values([point]) and y.values([point])]
    if len(points) < 2:
        return []
    workloads = [workload for workload in results.workloads if any(p.workload == workload for p in points)]
    count = -(-len(workloads) // PANELS)
    return [
        _figure(results, shown, [p for p in points if p.workload in part], (x, y), (name, i, count))
        for i, part in enumerate(workloads[i : i + PANELS] for i in range(0, len(workloads), PANELS))
    ]


def _figure(
    results: Results, shown: Results, points: Sequence[StoredPoint], metrics: tuple[Metric, Metric],
    name: tuple[str, int, int],
) -> Plot:  # fmt: skip
    x, y = metrics
    groups: dict[str, list[StoredPoint]] = {}
    for point in points:
        groups.setdefault(point.workload, []).append(point)
    figure, axes = panels(len(groups), PANEL_IN, columns=1)
    scales = _scale(points, x), _scale(points, y)
    for ax, (workload, own) in zip(axes, groups.items(), strict=True):
        _scatter(ax, shown, own, metrics, scales)
        ax.set_title(workload)
    fronts = [[own[i] for i in pareto_front([(x.cost(p), y.cost(p)) for p in own])] for own in groups.values()]
    title = _title(results, list(groups), fronts, metrics)
    finish(figure, title, _legend(results, shown))
    freeze_layout(figure)
    for ax, own, best in zip(axes, groups.values(), fronts, strict=True):
        _join(ax, own, best, metrics, scales)
    label = f"{y.name} against {x.name.lower()}"
    return Plot(numbered(*name, "_"), numbered(label, *name[1:], ", part "), title, _caption(x, y), figure)


def _scale(points: Sequence[StoredPoint], metric: Metric) -> Scale:
    return Scale(1.0, metric.unit) if metric.is_plain else scale_for(metric.values(points), metric.unit)


def _scatter(
    ax: Axes, shown: Results, points: Sequence[StoredPoint], metrics: tuple[Metric, Metric], scales: tuple[Scale, Scale]
) -> None:
    colours, markers = sparsity_colours(shown.sparsities), setup_markers(shown.setups)
    groups: dict[tuple[str, str, bool], list[StoredPoint]] = {}
    for point in points:
        groups.setdefault((point.setup, point.sparsity, point.is_unvalidated), []).append(point)
    for (setup, sparsity, hollow), group in groups.items():
        xs, ys = _coordinates(group, metrics, scales)
        colour = colours.get(sparsity, OTHER)
        ax.plot(
            xs, ys, linestyle="none", marker=markers.get(setup, "."), color=colour, markersize=6.5, alpha=0.9,
            markerfacecolor="white" if hollow else colour, markeredgewidth=1.4 if hollow else 0.5,
            rasterized=len(points) > RASTER_FROM,
        )  # fmt: skip
    for axis, set_scale, metric, scale, set_label in (
        (ax.xaxis, ax.set_xscale, metrics[0], scales[0], ax.set_xlabel),
        (ax.yaxis, ax.set_yscale, metrics[1], scales[1], ax.set_ylabel),
    ):
        values = metric.values(points)
        log = spans_decades(values)
        set_label(f"{metric.name} ({scale.unit}){', log scale' if log else ''}")
        if log:
            set_scale("log")
            plain_log(axis, max(values) / min(values))
    ax.margins(x=0.12, y=0.14)


def _coordinates(
    points: Sequence[StoredPoint], metrics: tuple[Metric, Metric], scales: tuple[Scale, Scale]
) -> tuple[list[float], list[float]]:
    xs = [metrics[0].of(point) / scales[0].factor for point in points]
    ys = [metrics[1].of(point) / scales[1].factor for point in points]
    return xs, ys


def _join(
    ax: Axes, points: Sequence[StoredPoint], best: Sequence[StoredPoint], metrics: tuple[Metric, Metric],
    scales: tuple[Scale, Scale],
) -> None:  # fmt: skip
    """A staircase through the front, then the labels round it."""
    xs, ys = _coordinates(best, metrics, scales)
    ax.set_xlim(*ax.get_xlim())
    ax.set_ylim(*ax.get_ylim())
    ax.plot(xs, ys, color=INK, linewidth=1.0, drawstyle="steps-post", zorder=1.5)
    obstacles = [*zip(*_coordinates(points, metrics, scales), strict=True), *_along(ax, xs, ys)]
    groups: dict[tuple[float, float], list[StoredPoint]] = {}
    for x, y, point in zip(xs, ys, best, strict=True):
        groups.setdefault((x, y), []).append(point)
    places = list(groups) if len(groups) <= MAX_LABELS else [list(groups)[round(i)] for i in _spread(len(groups))]
    place_labels(ax, places, [_label(groups[place]) for place in places], obstacles)


def _along(ax: Axes, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Points of the staircase through (``xs``, ``ys``), close enough on the screen that no text fits between two."""
    corners = [(x, y) for i, y in enumerate(ys) for x in xs[i : i + 2]]
    screen = ax.transData.transform(corners)
    dense: list[tuple[float, float]] = []
    for (x, y), (to_x, to_y) in itertools.pairwise(screen):
        steps = 1 + int(max(abs(to_x - x), abs(to_y - y)) / STEP_PX)
        dense += [(x + (to_x - x) * i / steps, y + (to_y - y) * i / steps) for i in range(steps)]
    return [(float(x), float(y)) for x, y in ax.transData.inverted().transform(dense)] if dense else []


def _spread(count: int) -> list[float]:
    return [i * (count - 1) / (MAX_LABELS - 1) for i in range(MAX_LABELS)]


def _label(points: Sequence[StoredPoint]) -> str:
    """The points of one place by setup, ``H100, 2:4 = 1:4``, with the axis values that they share."""
    groups: dict[str, list[StoredPoint]] = {}
    for point in points:
        groups.setdefault(point.setup, []).append(point)
    said = []
    for setup, group in groups.items():
        shared = [value for value in group[0].axes.values() if value and all(value in p.axes.values() for p in group)]
        sparsities = dict.fromkeys(point.sparsity for point in group)
        said.append(", ".join([setup, " = ".join(sparsities), *map(short_value, shared)]))
    return said[0] + (f" and {len(said) - 1} more" if len(said) > 1 else "")


def _legend(results: Results, shown: Results) -> list[object]:
    from matplotlib.lines import Line2D

    shapes: list[object] = [
        Line2D([], [], linestyle="none", marker=marker, color=MUTED, label=setup, markersize=6)
        for setup, marker in setup_markers(shown.setups).items()
    ]
    colours = sparsity_legend(shown, shown.sparsities)[: len(shown.sparsities)]
    if any(point.is_unvalidated for point in results.done):
        shapes.append(
            Line2D([], [], linestyle="none", marker="o", color=MUTED, markerfacecolor="white", markeredgewidth=1.4,
                   label="hollow: unvalidated model", markersize=6)
        )  # fmt: skip
    if shown is not results:
        shapes.append(Line2D([], [], linestyle="none", marker=".", color=OTHER, label="others", markersize=6))
    shapes.append(Line2D([], [], color=INK, linewidth=1.0, label="Pareto front"))
    return colours + shapes


def _title(
    results: Results, workloads: Sequence[str], fronts: Sequence[Sequence[StoredPoint]], metrics: tuple[Metric, Metric]
) -> str:
    """The setups on each workload's front; of many workloads, how often each setup is on it."""
    setups = [list(dict.fromkeys(point.setup for point in best)) for best in fronts]
    said = "; ".join(f"{workload}: {', '.join(names)}" for workload, names in zip(workloads, setups, strict=True))
    if len(workloads) > 2:
        said = counted(results, fronts)
    return f"Not beaten in both {metrics[0].name.lower()} and {metrics[1].name.lower()}: {said}"


def _better(x: Metric, y: Metric) -> str:
    """The corner where the best points lie."""
    return f"{'lower' if y.smaller_is_better else 'upper'} {'left' if x.smaller_is_better else 'right'}"


def _caption(x: Metric, y: Metric) -> str:
    return (
        f"{y.name} against {x.name.lower()} of every point; {_better(x, y)} is better. The black staircase joins the "
        "points that no other point beats in both; colours are weight sparsity, shapes are setups, hollow markers come "
        "from models that no reference checks."
    )
