# SPDX-License-Identifier: Apache-2.0
"""Pages of cases: published figures beside simulated ones, as a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.report.plot import Plot, finish, panels, plain_log, save_plot
from simsparse.report.style import GRID, INK, MUTED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Case = Mapping[str, Any]
PUBLISHED, SIMULATED = "#D55E00", "#0072B2"
ROW_IN = 0.19
"""Height of one point in the plot, inches."""


def write_case_pages(cases: Sequence[Case], folder: Path) -> list[Path]:
    """One page and one plot per case; returns the pages. Cases are CaseReport.to_dict()."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = []
    for case in cases:
        save_plot(case_plot(case), folder, ("png",))
        pages.append(folder / f"{case['case']}.md")
        pages[-1].write_text(case_page(case), encoding="utf-8")
    return pages


def case_row(case: Case, folder: str = "") -> list[str]:
    """A case as a row of a table: link, points, mean and worst deviation, verdict."""
    return [f"[{case['title']}]({folder}{case['case']}.md)", str(len(case["points"])), _percent(_mean(case)),
            _percent(_worst(case)), case["verdict"]]  # fmt: skip


def case_page(case: Case) -> str:
    """One case as Markdown."""
    points = [[p["label"], _number(p["published"]), _number(p["simulated"]), p["unit"], _signed(p["error"])]
              for p in case["points"]]  # fmt: skip
    lines = [f"# {case['title']}", "", f"**{case['verdict']}**: mean deviation {_percent(_mean(case))}, "
             f"worst {_percent(_worst(case))}.", "", f"Published: {case['source']}", "",
             f"Simulated: {case['method']}", ""]  # fmt: skip
    if case["deviation"]:
        lines += [f"Deviation: {case['deviation']}", ""]
    lines += [f"![published and simulated]({case['case']}.png)", ""]
    lines += [*_table(["point", "published", "simulated", "unit", "deviation"], points), ""]
    for table in case["tables"]:
        lines += [f"## {table['title']}", "", *_table(table["columns"], table["rows"]), ""]
    if case["sensitivity"]:
        moved = [[s["point"], s["assumption"], s["value"], _number(s["simulated"])] for s in case["sensitivity"]]
        lines += ["## How it moves with what was assumed", "",
                  *_table(["point", "assumption", "value", "simulated"], moved), ""]  # fmt: skip
    if case["assumed"]:
        lines += ["## Assumed", "", *(f"- {item}" for item in case["assumed"]), ""]
    lines += [f"Remade by `simsparse study {case['case']} --out FOLDER`.", ""]
    return "\n".join(lines)


def case_plot(case: Case) -> Plot:
    """Left, both figures of each point; right, their relative deviation and the tolerance."""
    points = case["points"]
    title = f"{case['title']}: {case['verdict']}, mean deviation {_percent(_mean(case))}"
    with figure_style():
        figure, (values, errors) = panels(2, 1.1 + ROW_IN * len(points), sharey=True)
        places = list(range(len(points), 0, -1))
        _draw_values(values, points, places)
        _draw_errors(errors, case, places)
        values.set_yticks(places, [p["label"] for p in points])
        values.set_ylim(0.3, len(points) + 0.7)
        finish(figure, title, values.get_legend_handles_labels()[0])
    return Plot(case["case"], case["title"], title, "", figure)


def _draw_values(axes: Axes, points: Sequence[Case], places: Sequence[int]) -> None:
    published, simulated = [p["published"] for p in points], [p["simulated"] for p in points]
    axes.hlines(places, published, simulated, color=MUTED, linewidth=1, zorder=1)
    axes.plot(published, places, "D", color=PUBLISHED, markersize=5, label="published", linestyle="none")
    axes.plot(simulated, places, "o", color=SIMULATED, markersize=4, label="simulated", linestyle="none")
    least, most = min(*published, *simulated), max(*published, *simulated)
    if least > 0 and most / least > 20:
        axes.set_xscale("log")
        plain_log(axes.xaxis, most / least, ticks=4)
    else:
        axes.set_xlim(left=0)
    units = sorted({p["unit"] for p in points})
    axes.set_xlabel(" and ".join("ratio (x)" if unit == "x" else unit for unit in units if unit) or "value")
    axes.grid(axis="x", color=GRID)


def _draw_errors(axes: Axes, case: Case, places: Sequence[int]) -> None:
    errors = [100 * p["error"] for p in case["points"]]
    if case["tolerance"]:
        axes.axvspan(-100 * case["tolerance"], 100 * case["tolerance"], color=GRID, alpha=0.5, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.barh(places, errors, height=0.6, color=SIMULATED)
    widest = max(1.0, 100 * (case["tolerance"] or 0), *(abs(error) for error in errors))
    axes.set_xlim(-1.15 * widest, 1.15 * widest)
    axes.set_xlabel("deviation (%)" + ("; grey: tolerance" if case["tolerance"] else ""))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID)


def _mean(case: Case) -> float:
    return sum(abs(float(p["error"])) for p in case["points"]) / len(case["points"])


def _worst(case: Case) -> float:
    return max(abs(float(p["error"])) for p in case["points"])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}", *(f"| {' | '.join(row)} |" for row in rows)]
