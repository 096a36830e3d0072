"""A figure with its words, and how it is laid out and written to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.report.style import WIDTH_IN, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plot:
    """A drawn figure: ``name`` is the file's stem, ``caption`` says what to see and how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure


def panels(count: int, height_in: float, columns: int = 2, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, ``height_in`` each, filled row by row; unused places stay blank."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH_IN, height_in * rows))
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def legend_below(figure: Figure, handles: Sequence[Any], columns: int = 5) -> None:
    """One legend for the whole figure, under the panels, outside the axes."""
    if handles:
        figure.legend(
            handles=list(handles), loc="outside lower center", ncols=min(columns, len(handles)), handlelength=1.4,
            columnspacing=1.4,
        )  # fmt: skip


def freeze_layout(figure: Figure) -> None:
    """Lay ``figure`` out once and keep that, which spares a layout on every save."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def save_plot(plot: Plot, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write ``plot`` once a format; files of the same plot are equal byte for byte on every run."""
    from matplotlib import rcParams

    written = []
    with figure_style():
        freeze_layout(plot.figure)
        for format_ in formats:
            path = folder / f"{plot.name}.{format_}"
            metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}.get(format_)
            plot.figure.savefig(path, format=format_, metadata=metadata, dpi=rcParams["savefig.dpi"])
            written.append(path)
    return written
