# SPDX-License-Identifier: Apache-2.0
"""From a result folder, or one Result, to a report."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from simsparse.core import Result
from simsparse.errors import SpecError, StoreError, nearest
from simsparse.paths import temporary_prefix
from simsparse.report.pairs import NORMALISATIONS, Baseline, baselines_of
from simsparse.report.results import Results, results_of

if TYPE_CHECKING:
    from simsparse.report.plot import Plot

FORMATS = ("png", "svg")
OnProgress = Callable[[int, int, int], None]
"""Called with steps done, steps in all, and 0."""


def build_report(
    out_dir: Path, formats: Sequence[str] = FORMATS, baseline: Mapping[str, str] | None = None,
    normalise: Sequence[str] = (), progress: OnProgress | None = None,
) -> Path:  # fmt: skip
    """Write ``out_dir``/report from the results of a sweep or a run and return the path of its index.html.

    ``formats`` are the figure formats to write as files; the page embeds its own. ``baseline`` maps axes to the value
    that ratios are taken against, in place of the sweep's own; ``normalise`` is any of area and power. ``progress`` is
    called with the steps done and in all. Raises StoreError when ``out_dir`` holds no sweep result or ``formats`` names
    a format that is not known, SpecError on a baseline that is no axis and value of the sweep.
    """
    from simsparse.report.reader import read_any

    results = read_any(Path(out_dir))
    folder = Path(out_dir) if Path(out_dir).is_dir() else Path(out_dir).parent
    for per in normalise:
        if per not in NORMALISATIONS:
            raise SpecError(f"{per!r} is not known; {nearest(per, NORMALISATIONS)}", key="normalise")
    results = replace(
        results, baseline=dict(baseline or results.baseline), normalise=tuple(normalise) or results.normalise
    )
    baselines_of(results, results.baseline)
    return _write(results, folder / "report", formats, progress)


def report_result(result: Result, out_dir: Path, formats: Sequence[str] = FORMATS) -> Path:
    """Write a report of one simulation into ``out_dir`` and return the path of its index.html."""
    return _write(results_of(result), Path(out_dir), formats)


def _write(results: Results, folder: Path, formats: Sequence[str], progress: OnProgress | None = None) -> Path:
    """Write everything beside ``folder``'s files first and move it in place when it is whole."""
    if unknown := [format_ for format_ in formats if format_ not in ("png", "svg", "pdf")]:
        raise StoreError(f"{unknown[0]!r} is no figure format; allowed: png, svg, pdf", key="formats")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=temporary_prefix(folder / "index.html")) as part:
            for path in _files(results, Path(part), formats, progress):
                path.replace(folder / path.name)
    except OSError as error:
        raise StoreError(f"can't be written: {error.strerror or error}", file=str(folder)) from error
    return folder / "index.html"


def _files(results: Results, folder: Path, formats: Sequence[str], progress: OnProgress | None) -> list[Path]:
    """Write all files of a report into ``folder``; the page is the last."""
    from simsparse.report.explore import write_explorer
    from simsparse.report.page import write_page
    from simsparse.report.plot import save_plot
    from simsparse.report.tables import page_tables, write_tables

    plots = draw(results)
    files: list[Path] = []
    for i, plot in enumerate(plots):
        if progress:
            progress(i, len(plots) + 1, 0)
        files += save_plot(plot, folder, formats)
    files += write_tables(results, folder)
    if results.resolved_file:
        files.append(folder / "resolved.yaml")
        shutil.copyfile(results.resolved_file, files[-1])
    files.append(write_explorer(folder / "explore.html", results))
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
    from simsparse.report.metrics import AREA, ENERGY, LATENCY, PER_AREA, PER_JOULE, speed_up_over
    from simsparse.report.roofline import roofline
    from simsparse.report.search_plots import convergence, three_objectives
    from simsparse.report.sensitivity import sensitivities
    from simsparse.report.slices import sliced

    shown = condense(sliced(results))
    yield from bars(shown, LATENCY, "latency_bars")
    yield from bars(shown, ENERGY, "energy_bars")
    for i, (baseline, per) in enumerate(_ratios(results)):
        yield from bars(shown, speed_up_over(results, baseline, per), f"speedup_bars{f'_{i + 1}' if i else ''}")
    yield from latency_breakdown(shown)
    yield from energy_breakdown(shown)
    yield from front(results, LATENCY, ENERGY, "pareto_energy")
    if len(set(AREA.values(results.done))) > 1:
        yield from front(results, LATENCY, AREA, "pareto_area")
        yield from front(results, PER_JOULE, PER_AREA, "pareto_efficiency")
    yield three_objectives(results)
    yield convergence(results)
    yield from sensitivities(results, LATENCY)
    yield roofline(shown)
    yield gantt(shown)


def _ratios(results: Results) -> Iterator[tuple[Baseline, str]]:
    """Every baseline with every normalisation that is asked for."""
    for baseline in baselines_of(results, results.baseline):
        for per in ("", *results.normalise):
            yield baseline, per
