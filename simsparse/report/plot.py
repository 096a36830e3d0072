# SPDX-License-Identifier: Apache-2.0
"""A figure with its words, and how it is laid out and written to files."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.report.style import DPI, WIDTH_IN, figure_style
from simsparse.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

TITLE_CHARACTERS = 80


@dataclass(frozen=True)
class Plot:
    """A drawn figure.

    ``name`` is the file's stem, ``label`` the short heading, ``title`` says what the data show and
    stands in the figure, ``caption`` how to read it.
    """

    name: str
    label: str
    title: str
    caption: str
    figure: Figure


def panels(count: int, height_in: float, columns: int = 2, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, ``height_in`` each, filled row by row; unused places stay blank."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH_IN, height_in * rows), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def finish(figure: Figure, title: str, handles: Sequence[Any] = ()) -> None:
    """Put the title over and one legend under all panels, and make the figure taller by their lines."""
    text = textwrap.fill(title, TITLE_CHARACTERS)
    figure.suptitle(text, x=0.008, ha="left", fontsize=9.5, fontweight="bold")
    rows = 0
    if handles:
        columns = _legend_columns([handle.get_label() for handle in handles])
        rows = -(-len(handles) // columns)
        figure.legend(
            handles=list(handles), loc="outside lower center", ncols=columns, handlelength=1.4, columnspacing=1.4
        )
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.17 * (text.count("\n") + 1) + 0.17 * rows)


def _legend_columns(labels: Sequence[str]) -> int:
    """Most columns in which the labels fit the width of a figure, at 8 pt and with a handle each."""
    for columns in range(len(labels), 1, -1):
        rows, longer = divmod(len(labels), columns)
        starts = [i * rows + min(i, longer) for i in range(columns + 1)]
        widths = [max(map(len, labels[a:b])) for a, b in itertools.pairwise(starts)]
        if sum(0.068 * width + 0.42 for width in widths) < WIDTH_IN - 0.3:
            return columns
    return 1


def plain_log(axis: Axis, ratio: float, ticks: int = 8) -> None:
    """Ticks of a log axis over values of largest-to-smallest ``ratio``, as plain numbers: 0.1, 1, 10.

    ``ticks`` is the most that find room.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0,) if ratio > 50 else (1.0, 2.0, 5.0), numticks=ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}" if value >= 1e-4 else f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def freeze_layout(figure: Figure) -> None:
    """Lay ``figure`` out once and keep that, which spares a layout on every save."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")


def save_plot(plot: Plot, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write ``plot`` once a format; files of the same plot are equal byte for byte on every run."""
    written = []
    with figure_style():
        freeze_layout(plot.figure)
        for format_ in formats:
            written.append(folder / f"{plot.name}.{format_}")
            _print(plot.figure, written[-1], format_)
    return written


def svg_bytes(plot: Plot) -> bytes:
    """``plot`` as an SVG file."""
    buffer = io.BytesIO()
    with figure_style():
        freeze_layout(plot.figure)
        _print(plot.figure, buffer, "svg")
    return buffer.getvalue()


def _print(figure: Figure, target: Path | io.BytesIO, format_: str) -> None:
    """Draw once: savefig would draw a second time to find a layout that is settled already."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    if format_ == "png":
        FigureCanvasAgg(figure).print_png(target, metadata={"Software": None})
    elif format_ == "svg":
        dpi = figure.dpi
        drawn = io.StringIO()
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None, "Creator": None})
        figure.dpi = dpi
        _write(printable(drawn.getvalue()).encode(), target)
    else:
        figure.savefig(target, format=format_)


def _write(data: bytes, target: Path | io.BytesIO) -> None:
    if isinstance(target, Path):
        target.write_bytes(data)
    else:
        target.write(data)
