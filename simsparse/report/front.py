"""Pareto fronts: two costs of every point, and the points that no other beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsparse.report.bars import sparsity_legend
from simsparse.report.labels import place_labels
from simsparse.report.metrics import Metric, spans_decades
from simsparse.report.pareto import pareto_front
from simsparse.report.plot import Plot, finish, freeze_layout, panels, plain_log
from simsparse.report.results import Point, Results
from simsparse.report.si import Scale, scale_for
from simsparse.report.style import INK, MUTED, setup_markers, sparsity_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_IN = 3.3
MAX_LABELS = 14
RASTER_FROM = 2000


def front(results: Results, x: Metric, y: Metric, name: str) -> Plot | None:
    """Scatter of ``x`` and ``y``, one panel a workload, with the front joined and labelled.

    None when fewer than two points have both numbers.
    """
    points = [point for point in results.done if x.values([point]) and y.values([point])]
    if len(points) < 2:
        return None
    workloads = [workload for workload in results.workloads if any(p.workload == workload for p in points)]
    figure, axes = panels(len(workloads), PANEL_IN, columns=1)
    scales = _scale(points, x), _scale(points, y)
    fronts = []
    for ax, workload in zip(axes, workloads, strict=True):
        own = [point for point in points if point.workload == workload]
        _scatter(ax, results, own, (x, y), scales)
        fronts.append([own[i] for i in pareto_front([(x.of(p), y.of(p)) for p in own])])
        ax.set_title(workload)
    title = _title(workloads, fronts, x, y)
    finish(figure, title, _legend(results))
    freeze_layout(figure)
    for ax, best in zip(axes, fronts, strict=True):
        own = [point for point in points if point.workload == best[0].workload]
        _join(ax, own, best, (x, y), scales)
    return Plot(name, f"{y.name} against {x.name.lower()}", title, _caption(x, y), figure)


def _scale(points: Sequence[Point], metric: Metric) -> Scale:
    return Scale(1.0, metric.unit) if metric.unit == "mm²" else scale_for(metric.values(points), metric.unit)


def _scatter(
    ax: Axes, results: Results, points: Sequence[Point], metrics: tuple[Metric, Metric], scales: tuple[Scale, Scale]
) -> None:
    colours, markers = sparsity_colours(results.sparsities), setup_markers(results.setups)
    groups: dict[tuple[str, str, bool], list[Point]] = {}
    for point in points:
        groups.setdefault((point.setup, point.sparsity, bool(point.unvalidated)), []).append(point)
    for (setup, sparsity, hollow), group in groups.items():
        xs, ys = _coordinates(group, metrics, scales)
        ax.plot(
            xs, ys, linestyle="none", marker=markers[setup], color=colours[sparsity], markersize=6.5, alpha=0.9,
            markerfacecolor="white" if hollow else colours[sparsity], markeredgewidth=1.4 if hollow else 0.5,
            rasterized=len(points) > RASTER_FROM,
        )  # fmt: skip
    for axis, set_scale, metric, scale, set_label in (
        (ax.xaxis, ax.set_xscale, metrics[0], scales[0], ax.set_xlabel),
        (ax.yaxis, ax.set_yscale, metrics[1], scales[1], ax.set_ylabel),
    ):
        log = spans_decades(metric.values(points))
        set_label(f"{metric.name} ({scale.unit}){', log scale' if log else ''}")
        if log:
            set_scale("log")
            plain_log(axis)
    ax.margins(x=0.12, y=0.14)
    if ax.get_xscale() == "linear":
        ax.set_xlim(left=0)
    if ax.get_yscale() == "linear":
        ax.set_ylim(bottom=0)


def _coordinates(
    points: Sequence[Point], metrics: tuple[Metric, Metric], scales: tuple[Scale, Scale]
) -> tuple[list[float], list[float]]:
    xs = [metrics[0].of(point) / scales[0].factor for point in points]
    ys = [metrics[1].of(point) / scales[1].factor for point in points]
    return xs, ys


def _join(
    ax: Axes, points: Sequence[Point], best: Sequence[Point], metrics: tuple[Metric, Metric],
    scales: tuple[Scale, Scale],
) -> None:  # fmt: skip
    """A staircase through the front, then the labels round it."""
    xs, ys = _coordinates(best, metrics, scales)
    ax.set_xlim(*ax.get_xlim())
    ax.set_ylim(*ax.get_ylim())
    ax.plot(xs, ys, color=INK, linewidth=1.0, drawstyle="steps-post", zorder=1.5)
    obstacles = list(zip(*_coordinates(points, metrics, scales), strict=True))
    labelled = best if len(best) <= MAX_LABELS else [best[round(i)] for i in _spread(len(best))]
    place_labels(
        ax, list(zip(*_coordinates(labelled, metrics, scales), strict=True)), [_label(p) for p in labelled], obstacles
    )


def _spread(count: int) -> list[float]:
    return [i * (count - 1) / (MAX_LABELS - 1) for i in range(MAX_LABELS)]


def _label(point: Point) -> str:
    return ", ".join([point.setup, point.sparsity, *(value for value in point.axes.values() if value)])


def _legend(results: Results) -> list[object]:
    from matplotlib.lines import Line2D

    shapes: list[object] = [
        Line2D([], [], linestyle="none", marker=marker, color=MUTED, label=setup, markersize=6)
        for setup, marker in setup_markers(results.setups).items()
    ]
    colours = sparsity_legend(results, results.sparsities)[: len(results.sparsities)]
    if any(point.unvalidated for point in results.done):
        shapes.append(
            Line2D([], [], linestyle="none", marker="o", color=MUTED, markerfacecolor="white", markeredgewidth=1.4,
                   label="hollow: unvalidated model", markersize=6)
        )  # fmt: skip
    shapes.append(Line2D([], [], color=INK, linewidth=1.0, label="Pareto front"))
    return colours + shapes


def _title(workloads: Sequence[str], fronts: Sequence[Sequence[Point]], x: Metric, y: Metric) -> str:
    said = [
        f"{workload}: {len(best)} point{'s' * (len(best) != 1)} of {', '.join(dict.fromkeys(p.setup for p in best))}"
        for workload, best in zip(workloads, fronts, strict=True)
    ]
    return f"Not beaten in both {x.name.lower()} and {y.name.lower()}: " + "; ".join(said)


def _caption(x: Metric, y: Metric) -> str:
    return (
        f"{y.name} against {x.name.lower()} of every point; lower left is better. The black staircase joins the points "
        "that no other point beats in both; colours are weight sparsity, shapes are setups, hollow markers come from "
        "models that no reference checks."
    )
