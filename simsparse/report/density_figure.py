# SPDX-License-Identifier: Apache-2.0
"""Figures of engines over density: one a family, every line named at its sparse end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import TYPE_CHECKING

from simsparse.report.density import ARRANGEMENT, BOTH, FAMILIES, STRAY, WEIGHTS, Curve
from simsparse.report.plot import Plot
from simsparse.report.style import DPI, FONT_PT, INK, MARKERS, MUTED, SMALL_PT, WIDTH_IN, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8f7700", "#3b3b3b", "#56B4E9", "#E69F00")
STYLES = ("-", "--", ":", "-.")
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN = 0.78, 1.75, 0.54, 0.48
"""Round a panel; the right has the names."""
LINE_IN = 0.15
"""From the name of one line to the next."""
HIGHEST = 30.0
"""Multiplier cycles at the top of a panel; what is above is said in the name."""
STEMS = {WEIGHTS: "density", BOTH: "density-both", ARRANGEMENT: "density-arranged"}
CAPTIONS = {
    WEIGHTS: "Engines for random zeros: sparse weights, dense inputs",
    BOTH: "Engines for random zeros: weights and inputs of the same density",
    ARRANGEMENT: "Engines for one arrangement of zeros, each on weights of that arrangement, dense inputs",
}
GROUPS = "N:M groups"
OTHERS = "Blocks, banks, constant fan-in"


def density_plots(curves: Sequence[Curve], dense: Curve) -> list[Plot]:
    """A figure for each family that has a curve; ``dense`` is the array whose level is drawn for comparison.

    A part looks the same in both figures of random zeros.
    """
    zeros = sorted({curve.part for curve in curves if curve.family in (WEIGHTS, BOTH)})
    places = {part: i for i, part in enumerate(zeros)}
    return [_plot(family, panels, dense, places) for family in FAMILIES if (panels := _panels(curves, family))]


def _panels(curves: Sequence[Curve], family: str) -> Mapping[str, list[Curve]]:
    """Lines by panel title: arrangements in two panels, all others in one without a title."""
    here = [curve for curve in curves if curve.family == family]
    if family != ARRANGEMENT:
        return {"": here} if here else {}
    split = {GROUPS: [curve for curve in here if _grouped(curve)], OTHERS: [c for c in here if not _grouped(c)]}
    stray = {curve.part: curve for curve in curves if curve.family == STRAY}
    return {title: lines + [stray[c.part] for c in lines if c.part in stray] for title, lines in split.items() if lines}


def _grouped(curve: Curve) -> bool:
    return any(":" in label for label in curve.labels)


def _plot(family: str, panels: Mapping[str, list[Curve]], dense: Curve, places: Mapping[str, int]) -> Plot:
    named = [sum(curve.family != STRAY for curve in lines) + 2 for lines in panels.values()]
    heights = [max(2.6, LINE_IN * count * 1.6) for count in named]
    with figure_style():
        figure, axes = _frame(heights)
        for panel, (title, lines) in zip(axes, panels.items(), strict=True):
            own = (
                {curve.part: i for i, curve in enumerate(line for line in lines if line.family != STRAY)}
                if family == ARRANGEMENT
                else places
            )
            _draw(panel, lines, dense, own)
            panel.set_title(title)
        figure.text(0.012, 1 - 0.1 / figure.get_figheight(), CAPTIONS[family], va="top", fontweight="bold")
    return Plot(STEMS[family], family, CAPTIONS[family], "", figure)


def _frame(heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Panels of these heights, in inches, one under another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    total = sum(heights) + (TOP_IN + BOTTOM_IN) * len(heights)
    figure = Figure(figsize=(WIDTH_IN, total), dpi=DPI)
    figure.set_layout_engine("none")
    FigureCanvasAgg(figure)
    axes, at, width = [], total, WIDTH_IN - LEFT_IN - RIGHT_IN
    for height in heights:
        at -= TOP_IN + height
        axes.append(figure.add_axes((LEFT_IN / WIDTH_IN, at / total, width / WIDTH_IN, height / total)))
        at -= BOTTOM_IN
    return figure, axes


def _draw(axes: Axes, curves: Sequence[Curve], dense: Curve, place: Mapping[str, int]) -> None:
    own = [curve for curve in curves if curve.family != STRAY]
    least, most = _limits(curves)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1.06, min(curve.densities[0] for curve in curves) / 1.06)
    axes.set_ylim(least, most)
    axes.axhline(1, color=INK, linewidth=0.8)
    axes.axhline(dense.slots[-1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    for curve in curves:
        _line(axes, curve, place[curve.part])
    sparse = axes.get_xlim()[1] * 1.06
    ends = [
        (_name(curve, most), _colour(place[curve.part]), curve.at(max(sparse, curve.densities[0]))) for curve in own
    ]
    ends += [("perfect dense array", INK, 1.0), (f"dense {dense.name}", MUTED, dense.slots[-1])]
    _name_ends(axes, ends)
    if len(own) < len(curves):
        axes.text(0.01, 0.02, "thin, dashed: random zeros", transform=axes.transAxes, color=MUTED, fontsize=SMALL_PT)
    _plain_ticks(axes)
    axes.set_xlabel("density: share of elements kept, sparser to the right")
    axes.set_ylabel("multiplier cycles per dense MAC")


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Lowest and highest value drawn."""
    slots = [value for curve in curves for value in curve.slots]
    return min(slots) / 1.25, min(HIGHEST, max(2.0, *slots) * 1.25)


def _line(axes: Axes, curve: Curve, place: int) -> None:
    colour, style = _colour(place), STYLES[place // len(COLOURS) % len(STYLES)]
    if curve.family == STRAY:
        axes.plot(curve.densities, curve.slots, color=colour, linewidth=0.8, linestyle=(0, (3, 2)))
        return
    marker = MARKERS[place % len(MARKERS)]
    axes.plot(curve.densities, curve.slots, color=colour, linestyle=style, linewidth=1.5, marker=marker, markersize=4)
    if curve.labels:
        axes.plot((axes.get_xlim()[1], curve.densities[0]), (curve.slots[0],) * 2, color=colour, linewidth=0.5)


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _name(curve: Curve, most: float) -> str:
    return curve.name if curve.slots[0] <= most else f"{curve.name} ({curve.slots[0]:.3g})"


def _name_ends(axes: Axes, ends: Sequence[tuple[str, str, float]]) -> None:
    """Names right of the panel, at the height of their line's end as far as there is room."""
    low, high = axes.get_ylim()
    height = axes.bbox.height / axes.figure.dpi
    ends = sorted(ends, key=lambda end: end[2])
    wanted = [min(1.0, log(value / low) / log(high / low)) for _, _, value in ends]
    for (name, colour, _), at, text_at in zip(ends, wanted, spread(wanted, LINE_IN / height), strict=True):
        axes.annotate(
            name, (1.0, at), xytext=(1.06, text_at), xycoords="axes fraction", textcoords="axes fraction", color=colour,
            fontsize=SMALL_PT, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0},
        )  # fmt: skip


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Ascending places in 0 to 1 at least ``gap`` apart and near the ascending ``wanted``."""
    groups: list[list[float]] = []
    for value in wanted:
        groups.append([value])
        while len(groups) > 1 and _low(groups[-1], gap) < _low(groups[-2], gap) + gap * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_low(group, gap) + gap * i for group in groups for i in range(len(group))]


def _low(group: Sequence[float], gap: float) -> float:
    """Where the lowest of a group of neighbours stands when their mean is kept, inside 0 to 1."""
    span = gap * (len(group) - 1)
    return max(0.0, min(1.0 - span, sum(group) / len(group) - span / 2))


def _plain_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_ylim()
    steps = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axes.xaxis.set_major_locator(FixedLocator([1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]))
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=30))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4f}".rstrip("0").rstrip(".")))
        axis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=FONT_PT)
