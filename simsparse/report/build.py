"""From a result folder, or one Result, to a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simsparse.core import Result
from simsparse.errors import StoreError
from simsparse.report.results import Results, results_of

if TYPE_CHECKING:
    from simsparse.report.plot import Plot

FORMATS = ("png", "svg")


def build_report(out_dir: Path, formats: Sequence[str] = FORMATS) -> Path:
    """Write ``out_dir``/report from a sweep's results and return the path of its index.html.

    ``formats`` are the figure formats to write as files; the page embeds its own. Raises StoreError
    when ``out_dir`` holds no sweep result or ``formats`` names a format that is not known.
    """
    from simsparse.report.reader import read_results

    folder = Path(out_dir)
    return _write(read_results(folder), folder / "report", formats)


def report_result(result: Result, out_dir: Path, formats: Sequence[str] = FORMATS) -> Path:
    """Write a report of one simulation into ``out_dir`` and return the path of its index.html."""
    return _write(results_of(result), Path(out_dir), formats)


def _write(results: Results, folder: Path, formats: Sequence[str]) -> Path:
    from simsparse.report.page import write_page
    from simsparse.report.plot import save_plot
    from simsparse.report.tables import assumed_table, failed_table, points_table, unvalidated_table, write_tables

    if unknown := [format_ for format_ in formats if format_ not in ("png", "svg", "pdf")]:
        raise StoreError(f"{unknown[0]!r} is no figure format; allowed: png, svg, pdf", key="formats")
    folder.mkdir(parents=True, exist_ok=True)
    plots = draw(results)
    files = [path for plot in plots for path in save_plot(plot, folder, formats)]
    files += write_tables(results, folder)
    if results.resolved:
        files.append(folder / "resolved.yaml")
        files[-1].write_text(results.resolved, encoding="utf-8")
    tables = {
        "points": points_table(results), "failed": failed_table(results), "assumed": assumed_table(results),
        "unvalidated": unvalidated_table(results),
    }  # fmt: skip
    names = [path.name for path in files]
    return write_page(folder / "index.html", results.name, plots, tables, [], results.resolved, names)


def draw(results: Results) -> list[Plot]:
    """Every figure that ``results`` have data for, in the order of the page."""
    from simsparse.report.style import figure_style

    with figure_style():
        return [plot for plot in _figures(results) if plot is not None]


def _figures(results: Results) -> Iterator[Plot | None]:
    from simsparse.report.bars import bars
    from simsparse.report.breakdown import energy_breakdown, latency_breakdown
    from simsparse.report.front import front
    from simsparse.report.gantt import gantt
    from simsparse.report.metrics import AREA, ENERGY, LATENCY, gain_over_dense
    from simsparse.report.roofline import roofline
    from simsparse.report.sensitivity import sensitivities

    yield bars(results, LATENCY, "latency_bars")
    yield bars(results, ENERGY, "energy_bars")
    if len(results.sparsities) > 1 and "dense" in results.sparsities:
        yield bars(results, gain_over_dense(results, LATENCY, "Speed-up over dense"), "speedup_bars")
        yield bars(results, gain_over_dense(results, ENERGY, "Energy saving over dense"), "saving_bars")
    yield latency_breakdown(results)
    yield energy_breakdown(results)
    yield front(results, LATENCY, ENERGY, "pareto_energy")
    if len(set(AREA.values(results.done))) > 1:
        yield front(results, LATENCY, AREA, "pareto_area")
    yield from sensitivities(results, LATENCY)
    yield roofline(results)
    yield gantt(results)
