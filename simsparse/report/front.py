# SPDX-License-Identifier: Apache-2.0
"""Pareto fronts: two costs of every point, and the points that no other beats."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simsparse.core.pareto import pareto_front
from simsparse.report.bars import counted, sparsity_legend, unvalidated_legend
from simsparse.report.labels import place_labels
from simsparse.report.metrics import Metric, spans_decades
from simsparse.report.plot import Plot, finish, freeze_layout, panels, plain_log
from simsparse.report.results import Results, StoredPoint, density, listed, unique
from simsparse.report.rows import numbered
from simsparse.report.si import Scale, scale_for, short_value
from simsparse.report.style import INK, MARKERS, MUTED, OTHER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_IN = 2.6
PANELS = 3
MAX_LABELS = 14
MAX_SHAPES = 6
RASTER_FROM = 2000
STEP_PX = 8


def front(results: Results, x: Metric, y: Metric, name: str) -> list[Plot]:
    """Scatter of ``x`` and ``y``, one panel per workload, with the front joined, labelled and coloured by sparsity.

    All other points are grey. At most ``MAX_SHAPES`` configurations have a shape of their own, those on fronts first.
    None when fewer than two points have both numbers.
    """
    points = [point for point in results.done if x.values([point]) and y.values([point])]
    if len(points) < 2:
        return []
    workloads = [workload for workload in results.workloads if any(p.workload == workload for p in points)]
    count = -(-len(workloads) // PANELS)
    return [
        _figure(results, [p for p in points if p.workload in part], (x, y), (name, i, count))
        for i, part in enumerate(workloads[i : i + PANELS] for i in range(0, len(workloads), PANELS))
    ]


def _figure(
    results: Results, points: Sequence[StoredPoint], metrics: tuple[Metric, Metric], name: tuple[str, int, int],
) -> Plot:  # fmt: skip
    x, y = metrics
    groups: dict[str, list[StoredPoint]] = {}
    for point in points:
        groups.setdefault(point.workload, []).append(point)
    figure, axes = panels(len(groups), PANEL_IN, columns=1)
    scales = _scale(points, x), _scale(points, y)
    able = [[point for point in own if point.feasible] for own in groups.values()]
    fronts = [[own[i] for i in pareto_front([(x.cost(p), y.cost(p)) for p in own])] for own in able]
    shapes = _shapes(points, fronts)
    for ax, (workload, own), best in zip(axes, groups.items(), fronts, strict=True):
        _scatter(ax, own, best, metrics, scales, (results.colours, shapes))
        ax.set_title(workload)
    title = _title(results, list(groups), fronts, metrics)
    finish(figure, title, _legend(results, [_visible(best, metrics) for best in fronts], shapes))
    freeze_layout(figure)
    for ax, own, best in zip(axes, groups.values(), fronts, strict=True):
        _join(ax, own, best, metrics, scales)
    label = f"{y.name} against {x.name.lower()}"
    listing = _listing(list(groups), fronts, metrics)
    return Plot(numbered(*name, "_"), numbered(label, *name[1:], ", part "), title, _caption(x, y) + listing, figure)


def _scale(points: Sequence[StoredPoint], metric: Metric) -> Scale:
    return Scale(1.0, metric.unit) if metric.is_plain else scale_for(metric.values(points), metric.unit)


def _shapes(points: Sequence[StoredPoint], fronts: Sequence[Sequence[StoredPoint]]) -> dict[str, str]:
    """A marker for each of up to ``MAX_SHAPES`` configurations: those on fronts, then those with the fastest points."""
    ranked = [point.configuration for best in fronts for point in best]
    ranked += [point.configuration for point in sorted(points, key=lambda point: point.latency_s)]
    return dict(zip(unique(ranked)[:MAX_SHAPES], MARKERS, strict=False))


def _visible(best: Sequence[StoredPoint], metrics: tuple[Metric, Metric]) -> list[StoredPoint]:
    """Of the points of the front that stand at one place the densest of each configuration."""
    first: dict[tuple[object, ...], StoredPoint] = {}
    for point in sorted(best, key=lambda point: -density(point.sparsity)):
        first.setdefault((point.configuration, *(metric.of(point) for metric in metrics)), point)
    return list(first.values())


def _scatter(
    ax: Axes, points: Sequence[StoredPoint], best: Sequence[StoredPoint], metrics: tuple[Metric, Metric],
    scales: tuple[Scale, Scale], looks: tuple[Mapping[str, str], Mapping[str, str]],
) -> None:  # fmt: skip
    colours, shapes = looks
    chosen = {point.identity for point in _visible(best, metrics)}
    hidden = {point.identity for point in best} - chosen
    groups: dict[tuple[bool, str, str, bool], list[StoredPoint]] = {}
    for point in (point for point in points if point.identity not in hidden):
        on_front = point.identity in chosen
        sparsity = point.sparsity if on_front else ""
        groups.setdefault((on_front, point.configuration, sparsity, point.is_unvalidated), []).append(point)
    for (on_front, configuration, sparsity, hollow), group in sorted(groups.items(), key=lambda item: item[0][0]):
        xs, ys = _coordinates(group, metrics, scales)
        colour = colours[sparsity] if on_front else OTHER
        ax.plot(
            xs, ys, linestyle="none", marker=shapes.get(configuration, "."), color=colour,
            markersize=7 if on_front else 5.5, markerfacecolor="white" if hollow else colour,
            markeredgewidth=1.4 if hollow else 0.5, rasterized=len(points) > RASTER_FROM, zorder=3 if on_front else 2,
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
    place_labels(ax, places, [label_of_place(groups[place]) for place in places], obstacles)


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


def label_of_place(points: Sequence[StoredPoint]) -> str:
    """The points of one place by configuration, ``H100, 2:4 = 1:4``, with the axis values that they share."""
    groups: dict[str, list[StoredPoint]] = {}
    for point in points:
        groups.setdefault(point.configuration, []).append(point)
    said = []
    for configuration, group in groups.items():
        shared = [value for value in group[0].axes.values() if value and all(value in p.axes.values() for p in group)]
        sparsities = dict.fromkeys(point.sparsity for point in group)
        said.append(", ".join([configuration, " = ".join(sparsities), *map(short_value, shared)]))
    return said[0] + (f" and {len(said) - 1} more" if len(said) > 1 else "")


def _legend(results: Results, fronts: Sequence[Sequence[StoredPoint]], shapes: Mapping[str, str]) -> list[object]:
    """What the marks mean that are drawn; ``fronts``: the visible points of each front."""
    from matplotlib.lines import Line2D

    def entry(marker: str, label: str, colour: str) -> object:
        return Line2D([], [], linestyle="none", marker=marker, color=colour, label=label, markersize=6)

    best = [point for own in fronts for point in own]
    colours = sparsity_legend(results, [s for s in results.sparsities if any(point.sparsity == s for point in best)])
    entries = [entry(marker, configuration, MUTED) for configuration, marker in shapes.items()]
    if any(point.configuration not in shapes for point in results.done):
        entries.append(entry(".", "other configurations", OTHER))
    entries += unvalidated_legend(results, hollow=True)
    if len(best) < len(results.done):
        entries.append(entry("s", "not on the front", OTHER))
    if any(len(own) > 1 for own in fronts):
        entries.append(Line2D([], [], color=INK, linewidth=1.0, label="Pareto front"))
    return [*colours, *entries]


def _title(
    results: Results, workloads: Sequence[str], fronts: Sequence[Sequence[StoredPoint]], metrics: tuple[Metric, Metric]
) -> str:
    """The configurations on each workload's front; of many workloads, how often each configuration is on it."""
    configurations = [list(dict.fromkeys(point.configuration for point in best)) for best in fronts]
    said = "; ".join(
        f"{workload}: {listed(names, ' and ')}" for workload, names in zip(workloads, configurations, strict=True)
    )
    if len(workloads) > 2:
        said = counted(results, fronts)
    return f"Not beaten in both {metrics[0].name.lower()} and {metrics[1].name.lower()}: {said}"


def _better(x: Metric, y: Metric) -> str:
    """The corner where the best points lie."""
    return f"{'lower' if y.smaller_is_better else 'upper'} {'left' if x.smaller_is_better else 'right'}"


def _listing(workloads: Sequence[str], fronts: Sequence[Sequence[StoredPoint]], metrics: tuple[Metric, Metric]) -> str:
    """The points of each front from left to right, those of one place together, as far as ``MAX_LABELS``."""
    said = []
    for workload, best in zip(workloads, fronts, strict=True):
        places: dict[tuple[float, ...], list[StoredPoint]] = {}
        for point in best:
            places.setdefault(tuple(metric.of(point) for metric in metrics), []).append(point)
        names = [label_of_place(places[place]) for place in sorted(places)]
        more = f"; and {len(names) - MAX_LABELS} more" if len(names) > MAX_LABELS else ""
        said.append(f" On the front of {workload}, from left to right: {'; '.join(names[:MAX_LABELS])}{more}.")
    return "".join(said)


def _caption(x: Metric, y: Metric) -> str:
    return (
        f"{y.name} against {x.name.lower()} of every point; {_better(x, y)} is better. The black staircase joins the "
        "points that no other point beats in both, coloured by weight sparsity; all others are grey. Shapes are "
        "configurations; hollow markers come from models that no reference checks."
    )
