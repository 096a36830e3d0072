"""Bars of latency and of energy: one panel a workload, one group a setup, one bar a sparsity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsparse.report.plot import Plot, legend_below, panels
from simsparse.report.results import Point, Results
from simsparse.report.si import Scale, scale_for, si
from simsparse.report.style import MUTED, SMALL_PT, UNVALIDATED_HATCH, UNVALIDATED_LABEL, sparsity_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = {"latency_s": ("Latency", "s"), "energy_j": ("Energy", "J")}
BAR_IN = 0.155
LOG_FROM_RATIO = 25.0


def bars(results: Results, metric: str) -> Plot | None:
    """Grouped bars of ``metric``; None when no point has it.

    A cell of several points shows the median with a line from least to most. Combinations that
    were asked for and have no answer are marked as failed or not run.
    """
    name, unit = METRICS[metric]
    values = [value for point in results.done if (value := getattr(point, metric)) > 0 and math.isfinite(value)]
    if not values:
        return None
    scale = scale_for(values, unit)
    rows = len(results.setups) * (len(results.sparsities) + 1)
    figure, axes = panels(len(results.workloads), 0.9 + BAR_IN * max(rows, 4), sharey=True)
    log = max(values) / min(values) > LOG_FROM_RATIO
    for ax, workload in zip(axes, results.workloads, strict=True):
        ax.set_xscale("log" if log else "linear")
        ax.set_xlim(*_limits([value / scale.factor for value in values], log))
        _panel(ax, results, workload, metric, scale)
        ax.set_title(workload)
        ax.set_xlabel(f"{name} ({scale.unit}){', log scale' if log else ''}")
    axes[0].set_ylim(len(results.setups) - 0.5, -0.5)
    axes[0].set_yticks(range(len(results.setups)), [_wrapped(setup) for setup in results.setups])
    legend_below(figure, _legend(results))
    return Plot(f"{name.lower()}_bars", _title(results, metric), _caption(results, name, log), figure)


def _panel(ax: Axes, results: Results, workload: str, metric: str, scale: Scale) -> None:
    colours = sparsity_colours(results.sparsities)
    height = 0.86 / len(results.sparsities)
    for row, setup in enumerate(results.setups):
        for column, sparsity in enumerate(results.sparsities):
            y = row + (column - (len(results.sparsities) - 1) / 2) * height
            group = results.cells.get((workload, setup, sparsity), [])
            if not group:
                _absent(ax, results, (workload, setup, sparsity), y)
                continue
            _bar(ax, group, metric, scale, y, height, colours[sparsity])
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def _limits(values: Sequence[float], log: bool) -> tuple[float, float]:
    """Ends of the axis: bars begin at 0 or at a power of ten, and the number after the longest fits."""
    low, high = min(values), max(values)
    if not log:
        return 0.0, high * 1.35
    start = 10.0 ** math.floor(math.log10(low) - 0.05)
    return start, high * (high / start) ** 0.35


def _bar(ax: Axes, group: Sequence[Point], metric: str, scale: Scale, y: float, height: float, colour: str) -> None:
    values = sorted(getattr(point, metric) / scale.factor for point in group)
    middle = values[(len(values) - 1) // 2]
    hatch = UNVALIDATED_HATCH if any(point.unvalidated for point in group) else None
    ax.barh(y, middle, height * 0.92, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
    if len(values) > 1:
        ax.plot([values[0], values[-1]], [y, y], color="black", linewidth=0.8, marker="|", markersize=4)
    unit = scale.unit[-1]
    ax.annotate(
        si(middle * scale.factor, unit), (values[-1], y), xytext=(3, 0), textcoords="offset points", va="center",
        fontsize=SMALL_PT,
    )  # fmt: skip


def _absent(ax: Axes, results: Results, cell: tuple[str, str, str], y: float) -> None:
    word = "failed" if any(point.cell == cell for point in results.failed) else "not run"
    ax.annotate(
        word, (0, y), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", va="center",
        fontsize=SMALL_PT, color=MUTED, style="italic",
    )  # fmt: skip


def _legend(results: Results) -> list[object]:
    from matplotlib.patches import Patch

    colours = sparsity_colours(results.sparsities)
    handles: list[object] = [Patch(color=colours[sparsity], label=sparsity) for sparsity in results.sparsities]
    if any(point.unvalidated for point in results.done):
        handles.append(Patch(facecolor=MUTED, hatch=UNVALIDATED_HATCH, label=UNVALIDATED_LABEL, edgecolor="white"))
    return handles


def _wrapped(setup: str) -> str:
    return setup.replace(" / ", "\n")


def _title(results: Results, metric: str) -> str:
    best = [
        min((p for p in results.done if p.workload == workload), key=lambda p: getattr(p, metric), default=None)
        for workload in results.workloads
    ]
    word = "fastest" if metric == "latency_s" else "most frugal"
    unit = METRICS[metric][1]
    said = [f"{p.workload}: {p.setup} with {p.sparsity} is {word}, {si(getattr(p, metric), unit)}" for p in best if p]
    return "; ".join(said)


def _caption(results: Results, name: str, log: bool) -> str:
    text = f"{name} of one pass of each workload, by setup and weight sparsity; shorter is better."
    if log:
        text += " The axis is logarithmic: bar lengths show ratios, not differences."
    if results.has_spread:
        text += " Bars are medians over the other axes, black lines reach from least to most."
    return text
