# SPDX-License-Identifier: Apache-2.0
"""How a search came to its front: three objectives at once, and how much each point added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from simsparse.core.pareto import hypervolume, pareto_front
from simsparse.report.front import MAX_LABELS, label_of_place
from simsparse.report.labels import place_labels
from simsparse.report.metrics import OBJECTIVES, Metric, spans_decades
from simsparse.report.plot import Plot, finish, freeze_layout, panels, plain_log
from simsparse.report.results import Results, StoredPoint
from simsparse.report.si import Scale, scale_for
from simsparse.report.style import INK, OTHER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_IN = 2.9
MAX_PANELS = 3
MARGIN = 1.1
"""The hypervolume is taken below this times the largest value of each objective."""


def three_objectives(results: Results) -> Plot | None:
    """The first two objectives of every point, and the third as the colour of those that none beats in all three."""
    metrics = _metrics(results)
    groups = {name: own for name in results.workloads if len(own := _known(results, name, metrics)) > 1}
    if len(metrics) < 3 or not groups or len(set(metrics[2].values(results.done))) < 2:
        return None
    shown = list(groups.items())[:MAX_PANELS]
    figure, axes = panels(len(shown), PANEL_IN, columns=1)
    fronts = [_scatter(ax, own, metrics) for ax, (_, own) in zip(axes, shown, strict=True)]
    for ax, (name, _) in zip(axes, shown, strict=True):
        ax.set_title(name)
    names = ", ".join(metric.name.lower() for metric in metrics[:3])
    said = "; ".join(f"{n} of {len(own)}" for n, (_, own) in zip(map(len, fronts), shown, strict=True))
    title = f"Points not beaten in all of {names}: {said}"
    finish(figure, title)
    freeze_layout(figure)
    for ax, (_, own), chosen in zip(axes, shown, fronts, strict=True):
        _name_front(ax, own, chosen, metrics)
    caption = (
        f"{metrics[1].name} against {metrics[0].name.lower()} of every point; those that no other point beats in all "
        f"three objectives are coloured by {metrics[2].name.lower()}, all others are grey."
    )
    return Plot("pareto_three", f"Front in {names}", title, caption + results.note, figure)


def _scatter(ax: Axes, points: Sequence[StoredPoint], metrics: Sequence[Metric]) -> list[int]:
    """Draw one workload; returns which of its points are on the front."""
    x, y, z = metrics[:3]
    scales = [_scale(metric, points) for metric in (x, y, z)]
    able = [i for i, point in enumerate(points) if point.feasible]
    chosen = [able[i] for i in pareto_front([tuple(metric.cost(points[j]) for metric in (x, y, z)) for j in able])]
    xs, ys, zs = ([metric.of(point) / scale.factor for point in points]
                  for metric, scale in zip((x, y, z), scales, strict=True))  # fmt: skip
    ax.plot(xs, ys, linestyle="none", marker="o", markersize=4, color=OTHER)
    drawn = ax.scatter([xs[i] for i in chosen], [ys[i] for i in chosen], c=[zs[i] for i in chosen], s=42,
                       cmap="viridis", edgecolors=INK, linewidths=0.6, zorder=3)  # fmt: skip
    bar = ax.figure.colorbar(drawn, ax=ax)
    bar.set_label(f"{z.name} ({scales[2].unit})")
    for axis, metric, scale, values in ((ax.xaxis, x, scales[0], xs), (ax.yaxis, y, scales[1], ys)):
        log = spans_decades(values)
        axis.set_label_text(f"{metric.name} ({scale.unit}){', log scale' if log else ''}")
        if log:
            (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
            plain_log(axis, max(values) / min(values))
    ax.margins(0.08)
    return chosen


def _name_front(ax: Axes, points: Sequence[StoredPoint], chosen: Sequence[int], metrics: Sequence[Metric]) -> None:
    """Write beside points of the front which they are, of many as far as there is room."""
    x, y = metrics[:2]
    scales = [_scale(metric, points) for metric in (x, y)]
    places = [(x.of(point) / scales[0].factor, y.of(point) / scales[1].factor) for point in points]
    named = chosen[:MAX_LABELS]
    place_labels(ax, [places[i] for i in named], [label_of_place([points[i]]) for i in named], places)


def _scale(metric: Metric, points: Sequence[StoredPoint]) -> Scale:
    return Scale(1.0, metric.unit) if metric.is_plain else scale_for(metric.values(points), metric.unit)


def convergence(results: Results) -> Plot | None:
    """Hypervolume of the objectives, or the least value of a single one, over the points of a search in their order."""
    metrics = _metrics(results)
    if results.drawn:
        results = replace(results, points=results.drawn)
    groups = {name: able for name in results.workloads
              if len(able := [p for p in _known(results, name, metrics) if p.feasible]) > 1}  # fmt: skip
    if not results.searched or not metrics or not groups:
        return None
    figure, axes = panels(1, PANEL_IN, columns=1)
    ax, ends = axes[0], []
    for name, own in groups.items():
        steps, values = _progress(own, metrics)
        ends.append(next(step for step, value in zip(steps, values, strict=True) if value >= 0.99 * values[-1]))
        ax.plot(steps, [100 * value / values[-1] for value in values], drawstyle="steps-post", label=name)
    ax.set_xlabel("Points that have been run and did not fail")
    ax.set_ylabel("Share of the final (%)")
    ax.set_ylim(0, 104)
    *first, last = (metric.name.lower() for metric in metrics)
    names = f"{', '.join(first)} and {last}" if first else last
    what = f"Hypervolume in {names}" if len(metrics) > 1 else f"Best {names}"
    said = ", ".join(map(str, ends))
    title = f"{what} over the points of the search: 99 % of the final after {said} of {max(map(len, groups.values()))}"
    finish(figure, title, ax.get_legend_handles_labels()[0] if len(groups) > 1 else ())
    level = " Points at the first level of the search." if results.drawn else ""
    caption = (
        f"{what} of the points so far, as a share of that of all. The hypervolume is that below {MARGIN:g} times the "
        "largest value of each objective, each divided by it; of one objective it is the reciprocal of the least value."
        f"{level}"
    )
    return Plot("convergence", "Convergence", title, caption, figure)


def _progress(points: Sequence[StoredPoint], metrics: Sequence[Metric]) -> tuple[list[int], list[float]]:
    """Number of points, and the measure of success among them, at each point that moved it."""
    largest = [max(metric.values(points)) for metric in metrics]
    rows = [tuple(metric.of(p) / top for metric, top in zip(metrics, largest, strict=True)) for p in points]
    front: list[tuple[float, ...]] = []
    steps, values = [], []
    for i, row in enumerate(rows, start=1):
        if any(row == kept or all(a <= b for a, b in zip(kept, row, strict=True)) for kept in front):
            continue
        front = [kept for kept in front if not all(a <= b for a, b in zip(row, kept, strict=True))] + [row]
        steps.append(i)
        values.append(1 / row[0] if len(row) == 1 else hypervolume(front, (MARGIN,) * len(row)))
    return [*steps, len(rows)], [*values, values[-1]]


def _metrics(results: Results) -> list[Metric]:
    return [OBJECTIVES[name] for name in results.objectives if name in OBJECTIVES]


def _known(results: Results, workload: str, metrics: Sequence[Metric]) -> list[StoredPoint]:
    own = (point for point in results.done if point.workload == workload)
    return [point for point in own if all(metric.values([point]) for metric in metrics)]
