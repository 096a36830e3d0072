# SPDX-License-Identifier: Apache-2.0
"""The HTML page: everything inside one file, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from simsparse.report.findings import Finding, findings
from simsparse.report.pairs import baselines_of
from simsparse.report.plot import Plot, svg_bytes
from simsparse.report.results import Results
from simsparse.report.tables import HtmlTable
from simsparse.text import printable


class Heading(Protocol):
    """What a page says of itself: ``resolved`` are inputs to show in full, or none."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def resolved(self) -> str | None: ...


def write_page(
    path: Path, results: Results, plots: Sequence[Plot], tables: Mapping[str, HtmlTable], files: Sequence[Path]
) -> Path:
    """Write the page of a report to ``path``; figures are embedded as SVG, texts are escaped."""
    return write_document(path, results, _counts(results), plots, tables, files, findings(results))


def write_document(
    path: Path, head: Heading, counts: str, plots: Sequence[Plot], tables: Mapping[str, HtmlTable],
    files: Sequence[Path], found: Sequence[Finding] = (),
) -> Path:  # fmt: skip
    """Write a page of figures and tables; ``counts`` stands under the heading, ``found`` before the figures."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("simsparse.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    html = environment.get_template("page.html.j2").render(
        results=head, counts=counts, findings=found, plots=plots, tables=tables,
        images={plot.name: _data_uri(plot, files) for plot in plots}, files=[file.name for file in files],
    )  # fmt: skip
    path.write_text(printable(html), encoding="utf-8")
    return path


def _counts(results: Results) -> str:
    counted = [_plural(len(results.points), "point"), f"{len(results.done)} done", f"{len(results.failed)} failed"]
    if results.not_run:
        counted.append(f"{len(results.not_run)} not run yet")
    shape = (
        _plural(len(results.workloads), "workload"), _plural(len(results.configurations), "configuration"),
        f"{len(results.sparsities)} weight sparsit{'y' if len(results.sparsities) == 1 else 'ies'}",
    )  # fmt: skip
    ratios = [baseline.text for baseline in baselines_of(results, results.baseline)]
    against = f"of pairs of points that differ in one axis alone, against {' and '.join(ratios)}"
    said = f" Ratios are {against if ratios else 'not made: no axis has a baseline'}."
    other = f" Other axes: {', '.join(results.axes)}." if results.axes else ""
    kept = f" They are what the search kept of {len(results.drawn):,} points, at its last level."
    return f"{', '.join(counted)}.{kept if results.drawn else ''} {', '.join(shape)}.{other}{said}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _data_uri(plot: Plot, files: Sequence[Path]) -> str:
    """The plot as SVG in a data URI, from its file when that was just written."""
    file = next((path for path in files if path.name == f"{plot.name}.svg"), None)
    data = file.read_bytes() if file else svg_bytes(plot)
    return "data:image/svg+xml;base64," + base64.b64encode(data).decode("ascii")
