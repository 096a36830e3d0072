# SPDX-License-Identifier: Apache-2.0
"""From a result folder, or one Result, to a report."""

from __future__ import annotations

import tempfile
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
    """Write everything beside ``folder``'s files first and move it in place when it is whole."""
    if unknown := [format_ for format_ in formats if format_ not in ("png", "svg", "pdf")]:
        raise StoreError(f"{unknown[0]!r} is no figure format; allowed: png, svg, pdf", key="formats")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as part:
            for path in _files(results, Path(part), formats):
                path.replace(folder / path.name)
    except OSError as error:
        raise StoreError(f"can't be written: {error.strerror or error}", file=str(folder)) from error
    return folder / "index.html"


def _files(results: Results, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write all files of a report into ``folder``; the page is the last."""
    from simsparse.report.page import write_page
    from simsparse.report.plot import save_plot
    from simsparse.report.tables import page_tables, write_tables

    plots = draw(results)
    files = [path for plot in plots for path in save_plot(plot, folder, formats)]
    files += write_tables(results, folder)
    if results.resolved:
        files.append(folder / "resolved.yaml")
        files[-1].write_text(results.resolved, encoding="utf-8")
    return [*files, write_page(folder / "index.html", results, plots, page_tables(results), files)]


def draw(results: Results) -> list[Plot]:
    """Every figure that ``results`` have data for, in the order of the page."""
    from simsparse.report.style import figure_style

    with figure_style():
        return [plot for plot in _figures(results) if plot is not None]


def _figures(results: Results) -> Iterator[Plot | None]:
    from simsparse.report.bars import bars
    from simsparse.report.breakdown import energy_breakdown, latency_breakdown
    from simsparse.report.condense import condense
    from simsparse.report.front import front
    from simsparse.report.gantt import gantt
    from simsparse.report.metrics import AREA, ENERGY, LATENCY, PER_AREA, PER_JOULE, speed_up_over_dense
    from simsparse.report.roofline import roofline
    from simsparse.report.sensitivity import sensitivities

    shown = condense(results)
    yield from bars(shown, LATENCY, "latency_bars")
    yield from bars(shown, ENERGY, "energy_bars")
    if len(shown.sparsities) > 1 and "dense" in shown.sparsities:
        yield from bars(shown, speed_up_over_dense(shown), "speedup_bars")
    yield from latency_breakdown(shown)
    yield from energy_breakdown(shown)
    yield from front(results, shown, LATENCY, ENERGY, "pareto_energy")
    if len(set(AREA.values(results.done))) > 1:
        yield from front(results, shown, LATENCY, AREA, "pareto_area")
        yield from front(results, shown, PER_JOULE, PER_AREA, "pareto_efficiency")
    yield from sensitivities(shown, LATENCY)
    yield roofline(shown)
    yield gantt(shown)
