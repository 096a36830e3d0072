# SPDX-License-Identifier: Apache-2.0
"""Lines of latency over a numeric axis, one panel a workload and setup that it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simsparse.config.keys import label_of
from simsparse.report.bars import sparsity_legend
from simsparse.report.metrics import Metric, spans_decades
from simsparse.report.plot import Plot, finish, panels, plain_log
from simsparse.report.results import Results
from simsparse.report.si import Scale, axis_numbers, scale_for
from simsparse.report.style import sparsity_colours, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PANELS = 12
MAX_AXES = 4
PANEL_IN = 2.0
LONG_NAME = 20
"""Characters of an axis' name that leave no room for its unit beside it under one of three panels."""
STILL = 0.002
"""A panel whose lines move by less than this share is left out and named in the caption."""

Lines = Mapping[str, Mapping[float, Sequence[float]]]


def sensitivities(results: Results, metric: Metric) -> list[Plot]:
    """A plot for each numeric axis, at most ``MAX_AXES``."""
    plots = (_sensitivity(results, metric, name, i) for i, name in enumerate(_numeric_axes(results)[:MAX_AXES]))
    return [plot for plot in plots if plot is not None]


def _numeric_axes(results: Results) -> list[str]:
    return [name for name in results.axes if name != "seed" and len(_numbers(results, name)[0]) > 1]


def _numbers(results: Results, axis: str) -> tuple[dict[str, float], str]:
    """Texts of ``axis`` as SI numbers, and their unit; empty when they are no numbers."""
    texts = sorted({text for point in results.done if (text := point.axes.get(axis, ""))})
    numbers = axis_numbers(texts)
    return ({}, "") if numbers is None else (dict(zip(texts, numbers[0], strict=True)), numbers[1])


def _sensitivity(results: Results, metric: Metric, axis: str, index: int) -> Plot | None:
    numbers, unit = _numbers(results, axis)
    groups: dict[tuple[str, str], dict[str, dict[float, list[float]]]] = {}
    for point in results.done:
        if point.axes.get(axis, "") in numbers and metric.values([point]):
            lines = groups.setdefault((point.workload, point.setup), {}).setdefault(point.sparsity, {})
            lines.setdefault(numbers[point.axes[axis]], []).append(metric.of(point))
    moving = {cell: lines for cell, lines in groups.items() if _change(lines) > STILL}
    if not moving:
        return None
    shown = sorted(moving, key=lambda cell: -_change(moving[cell]))[:MAX_PANELS]
    cells = [cell for cell in moving if cell in shown]
    columns = 3 if len(cells) in (3, 5, 6) or len(cells) > 8 else min(2, len(cells))
    figure, axes = panels(len(cells), PANEL_IN + 0.3 * (len(cells) <= 3), columns=columns)
    x_scale = scale_for(numbers.values(), unit) if unit else Scale(1.0, "")
    y_scale = scale_for(metric.values(results.done), metric.unit)
    log = any(spans_decades(_all_values(moving[cell])) for cell in cells)
    for i, (ax, cell) in enumerate(zip(axes, cells, strict=True)):
        _panel(ax, results, moving[cell], x_scale, y_scale, log)
        ax.set_title("\n".join((cell[0], wrapped(cell[1], 32))), fontsize=8.5)
        between = "\n" if columns > 2 and len(label_of(axis)) > LONG_NAME else " "
        ax.set_xlabel(f"{label_of(axis)}{between}({x_scale.unit})" if x_scale.unit else label_of(axis))
        if i % columns == 0:
            ax.set_ylabel(f"{metric.name} ({y_scale.unit}){', log' if log else ''}")
    title = _title(axis, {cell: moving[cell] for cell in cells}, metric)
    finish(figure, title, sparsity_legend(results, results.sparsities)[: len(results.sparsities)])
    label = f"{metric.name} over {label_of(axis)}"
    return Plot(f"sensitivity_{index + 1}", label, title, _caption(results, axis, groups, cells, metric), figure)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def _all_values(lines: Lines) -> list[float]:
    return [value for line in lines.values() for group in line.values() for value in group]


def _change(lines: Lines) -> float:
    """Largest relative change of any line's medians."""
    medians = [[_median(values) for values in line.values()] for line in lines.values()]
    return max((max(line) / min(line) - 1 for line in medians), default=0.0)


def _panel(ax: Axes, results: Results, lines: Lines, x_scale: Scale, y_scale: Scale, log: bool) -> None:
    colours = sparsity_colours(results.sparsities)
    for sparsity in results.sparsities:
        line = sorted((lines.get(sparsity) or {}).items())
        xs = [x / x_scale.factor for x, _ in line]
        ys = [_median(values) / y_scale.factor for _, values in line]
        ax.plot(xs, ys, marker="o", markersize=4, color=colours[sparsity], label=sparsity)
        low, high = ([pick(values) / y_scale.factor for _, values in line] for pick in (min, max))
        ax.fill_between(xs, low, high, color=colours[sparsity], alpha=0.15, linewidth=0)
    values = _all_values(lines)
    positions = [x for line in lines.values() for x in line if x > 0]
    if spans_decades(positions):
        ax.set_xscale("log")
        plain_log(ax.xaxis, max(positions) / min(positions))
    if log:
        ax.set_yscale("log")
        plain_log(ax.yaxis, max(values) / min(values))
    else:
        ax.set_ylim(0, 1.08 * max(values) / y_scale.factor)
    ax.margins(x=0.08)


def _title(axis: str, shown: Mapping[tuple[str, str], Lines], metric: Metric) -> str:
    workload, setup = max(shown, key=lambda cell: _change(shown[cell]))
    ratio = 1 + _change(shown[workload, setup])
    return f"{label_of(axis)} moves {metric.name.lower()} by up to {ratio:.2f}×, most on {setup} ({workload})"


def _caption(
    results: Results, axis: str, groups: Mapping[tuple[str, str], Lines], cells: Sequence[tuple[str, str]],
    metric: Metric,
) -> str:  # fmt: skip
    text = f"{metric.name} over {label_of(axis)}, by weight sparsity."
    if len(results.axes) > 1:
        text += " Lines are medians over the other axes, bands reach from least to most."
    if hidden := len(groups) - len(cells):
        text += f" {hidden} combination{'s' * (hidden != 1)} of workload and setup, which it moves least, not shown."
    return text
