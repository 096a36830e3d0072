# SPDX-License-Identifier: Apache-2.0
"""Lines of latency over a numeric axis, one panel per workload and configuration that it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from simsparse.config.keys import label_of
from simsparse.report.bars import sparsity_legend
from simsparse.report.metrics import Metric, spans_decades
from simsparse.report.plot import Plot, finish, panels, plain_log
from simsparse.report.results import Results, StoredPoint
from simsparse.report.si import Scale, axis_numbers, binary_scale_for, scale_for
from simsparse.report.sizes import over_sizes
from simsparse.report.slices import SliceChoice, at_choice, choice_text, slice_of
from simsparse.report.style import SMALL_PT, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PANELS = 12
MAX_AXES = 4
PANEL_IN = 2.0
LONG_NAME = 20
"""Characters of an axis' name that leave no room for its unit beside it under one of three panels."""
STILL = 0.002
"""A panel whose lines move by less than this share is left out and named in the caption."""

Line = Mapping[float, float]
Lines = Mapping[str, Line]
"""The metric over the axis by sparsity, everything else the same along a line."""


def sensitivities(results: Results, metric: Metric) -> list[Plot]:
    """A plot for each numeric axis, and for each size in which workloads differ, at most ``MAX_AXES``."""
    wanted = [(name, results) for name in _numeric_axes(results)] + list(over_sizes(results))
    plots = (_sensitivity(own, metric, name, i) for i, (name, own) in enumerate(wanted[:MAX_AXES]))
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
    moved = _moved(results, metric, axis)
    choice = slice_of(results, without=axis)
    groups: dict[tuple[str, str], dict[str, dict[float, float]]] = {}
    for point in at_choice(results, choice, axis) if choice is not None else ():
        if point.axes.get(axis, "") in numbers and metric.values([point]):
            line = groups.setdefault((point.workload, point.configuration), {}).setdefault(point.sparsity, {})
            line[numbers[point.axes[axis]]] = metric.of(point)
    moving = {cell: lines for cell, lines in groups.items() if _change(lines) > STILL}
    if not moving or choice is None:
        return None
    shown = sorted(moving, key=lambda cell: -_change(moving[cell]))[:MAX_PANELS]
    cells = [cell for cell in moving if cell in shown]
    columns = 3 if len(cells) in (3, 5, 6) or len(cells) > 8 else min(2, len(cells))
    figure, axes = panels(len(cells), PANEL_IN + 0.3 * (len(cells) <= 3), columns=columns)
    x_scale = _x_scale(numbers, unit)
    y_scale = scale_for(metric.values(results.done), metric.unit)
    log = any(spans_decades(_all_values(moving[cell])) for cell in cells)
    for i, (ax, cell) in enumerate(zip(axes, cells, strict=True)):
        _panel(ax, results, moving[cell], x_scale, y_scale, log)
        width = 24 if columns > 2 else 42
        ax.set_title("\n".join(wrapped(name, width) for name in cell), fontsize=8.5)
        between = "\n" if columns > 2 and len(label_of(axis)) > LONG_NAME else " "
        ax.set_xlabel(f"{label_of(axis)}{between}({x_scale.unit})" if x_scale.unit else label_of(axis))
        if i % columns == 0:
            ax.set_ylabel(f"{metric.name} ({y_scale.unit}){', log' if log else ''}")
    title = _title(axis, {cell: moving[cell] for cell in cells}, choice, metric)
    finish(figure, title, sparsity_legend(results, _colours_drawn(results, [moving[cell] for cell in cells])))
    label = f"{metric.name} over {label_of(axis)}"
    return Plot(f"sensitivity_{index + 1}", label, title, _caption(axis, groups, cells, metric, moved), figure)


def _colours_drawn(results: Results, drawn: Sequence[Lines]) -> list[str]:
    """The sparsities whose colour a line has: of equal lines the densest."""
    seen = set()
    for lines in drawn:
        first: dict[tuple[tuple[float, float], ...], str] = {}
        for sparsity in (text for text in results.sparsities if text in lines):
            first.setdefault(tuple(sorted(lines[sparsity].items())), sparsity)
        seen |= set(first.values())
    return [sparsity for sparsity in results.sparsities if sparsity in seen]


def _x_scale(numbers: Mapping[str, float], unit: str) -> Scale:
    """The unit of the axis: powers of 1024 where its texts are in such."""
    if unit and all("iB" in text for text in numbers):
        return binary_scale_for(numbers.values())
    return scale_for(numbers.values(), unit) if unit else Scale(1.0, "")


def _moved(results: Results, metric: Metric, axis: str) -> tuple[float, StoredPoint] | None:
    """The largest ratio of two points that differ in ``axis`` alone, and the slower one; None without such a pair."""
    groups: dict[tuple[tuple[str, str], ...], list[StoredPoint]] = {}
    for point in results.done:
        if metric.values([point]):
            others = tuple(item for item in point.place.items() if item[0] != axis)
            groups.setdefault(others, []).append(point)
    ends = [(max(own, key=metric.of), min(own, key=metric.of)) for own in groups.values()]
    ratios = [(metric.of(most) / metric.of(least), most) for most, least in ends]
    return max(ratios, key=lambda item: item[0], default=None)


def _all_values(lines: Lines) -> list[float]:
    return [value for line in lines.values() for value in line.values()]


def _change(lines: Lines) -> float:
    """Largest relative change along any line."""
    return max((max(line.values()) / min(line.values()) - 1 for line in lines.values()), default=0.0)


def _panel(ax: Axes, results: Results, lines: Lines, x_scale: Scale, y_scale: Scale, log: bool) -> None:
    colours = results.colours
    same: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for sparsity in results.sparsities:
        if line := tuple(sorted((lines.get(sparsity) or {}).items())):
            same.setdefault(line, []).append(sparsity)
    for line, names in same.items():
        xs, ys = [x / x_scale.factor for x, _ in line], [y / y_scale.factor for _, y in line]
        ax.plot(xs, ys, marker="o", markersize=4, color=colours[names[0]])
        if len(names) > 1:
            ax.annotate(" = ".join(names), (xs[-1], ys[-1]), xytext=(0, 5), textcoords="offset points", ha="right",
                        fontsize=SMALL_PT).set_in_layout(False)  # fmt: skip
    values = _all_values(lines)
    positions = [x for line in lines.values() for x in line if x > 0]
    if spans_decades(positions):
        ax.set_xscale("log")
        plain_log(ax.xaxis, max(positions) / min(positions))
    if log:
        ax.set_yscale("log")
        plain_log(ax.yaxis, max(values) / min(values))
    else:
        room = 1.08 if all(len(names) == 1 for names in same.values()) else 1.22
        ax.set_ylim(0, room * max(values) / y_scale.factor)
    ax.margins(x=0.08)


def _title(axis: str, shown: Mapping[tuple[str, str], Lines], choice: SliceChoice, metric: Metric) -> str:
    at = f", at {choice_text(choice)}" if choice_text(choice) else ""
    _, most = cell = max(shown, key=lambda cell: _change(shown[cell]))
    change = f"it moves by up to {1 + _change(shown[cell]):.2f}× along a line, most on {most}"
    return f"{metric.name} over {label_of(axis)}{at}: {change}"


def _caption(
    axis: str, groups: Mapping[tuple[str, str], Lines], cells: Sequence[tuple[str, str]], metric: Metric,
    moved: tuple[float, StoredPoint] | None,
) -> str:  # fmt: skip
    text = f"{metric.name} over {label_of(axis)}, by weight sparsity; along a line nothing else changes."
    drawn = max(_change(groups[cell]) for cell in cells)
    if moved is not None and moved[0] > 1 + drawn + STILL:
        text += (
            f" Of all pairs that differ in this axis alone, drawn or not, the largest ratio is {moved[0]:.2f}×, on "
            f"{moved[1].configuration}."
        )
    if hidden := len(groups) - len(cells):
        some = f"{hidden} combination{'s' * (hidden != 1)}"
        text += f" {some} of workload and configuration, which it moves least, not shown."
    return text
