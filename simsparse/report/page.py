"""The HTML page: everything inside one file, nothing fetched."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from simsparse.report.plot import Plot
from simsparse.report.style import figure_style
from simsparse.report.tables import HtmlTable


def write_page(
    path: Path, title: str, plots: Sequence[Plot], tables: Mapping[str, HtmlTable], findings: Sequence[object],
    resolved: str, files: Sequence[str],
) -> Path:  # fmt: skip
    """Write the page of a report to ``path``; figures are embedded as SVG, escaped text only."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("simsparse.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    images = {plot.name: _data_uri(plot, path.parent) for plot in plots}
    html = environment.get_template("page.html.j2").render(
        title=title, plots=plots, images=images, tables=tables, findings=findings, resolved=resolved, files=files
    )
    path.write_text(html, encoding="utf-8")
    return path


def _data_uri(plot: Plot, folder: Path) -> str:
    """The plot as SVG in a data URI; taken from the file next to the page when that was written."""
    file = folder / f"{plot.name}.svg"
    data = file.read_bytes() if file.is_file() else _svg(plot)
    return "data:image/svg+xml;base64," + base64.b64encode(data).decode("ascii")


def _svg(plot: Plot) -> bytes:
    buffer = io.BytesIO()
    with figure_style():
        plot.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
