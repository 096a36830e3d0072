# SPDX-License-Identifier: Apache-2.0
"""The page that compares pruning patterns: what each buys on a machine, and what it costs in accuracy.

A speed-up never stands without the accuracy that was measured at the same pattern.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.errors import StoreError
from simsparse.report.si import digits, si
from simsparse.report.style import INK, MUTED, sparsity_colours
from simsparse.report.tables import HtmlTable, TableCell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsparse.report.plot import Plot

KEPT = 0.95
"""A pruned model counts as kept where its proxy is at least this share of the dense model's."""

_DENSE = ("D", 6)
_MARKERS = {"magnitude": ("o", 7), "wanda": ("s", 5)}
_PROXIES = {"rpa50": "Pitch found (RPA50)", "spearman": "Spearman with dense", "agreement": "Agreement with dense"}
_FIGURE_CAPTION = (
    "Every point is one pattern on one machine: right is faster than the dense model on the same machine, up is closer "
    "to the dense model. The short stroke is the ideal speed-up, all products over those whose weight is kept. The "
    "dashed line is 95 % of the dense model's value. One-shot pruning, without retraining. A GPU is taken to run its "
    "2:4 kernel on every layer that conforms, also where its dense kernel would be faster."
)


@dataclass(frozen=True, slots=True)
class PruningPoint:
    """One model, pruned to one pattern by one method, on one system.

    ``accuracy`` is the proxy ``judged``, measured ``on`` what it says; ``dense_accuracy`` the same of
    the dense model. Bytes are those of the weights of all products, ``ideal`` all products over those
    whose weight is kept. ``unvalidated`` names the models of the simulation that nothing checks.
    """

    model: str
    pattern: str
    method: str
    batch: int
    accuracy: float
    dense_accuracy: float
    judged: str
    on: str
    weight_bytes: int
    dense_weight_bytes: int
    ideal: float
    system: str
    latency_s: float
    dense_latency_s: float
    energy_j: float
    dense_energy_j: float
    unvalidated: str

    @property
    def speedup(self) -> float:
        """Simulated, over dense on the same system."""
        return self.dense_latency_s / self.latency_s

    @property
    def is_kept(self) -> bool:
        """Whether the proxy keeps KEPT of the dense model's value."""
        return self.accuracy >= KEPT * self.dense_accuracy

    @property
    def is_dense(self) -> bool:
        return self.pattern == "dense"


@dataclass(frozen=True)
class _Heading:
    name: str
    description: str
    resolved: str = ""


def write_pruning_report(points: Sequence[PruningPoint], folder: Path) -> list[Path]:
    """Write points.csv, the figure and index.html into ``folder``; the page is the last.

    Raises StoreError when there is no point.
    """
    from simsparse.report.page import write_document
    from simsparse.report.plot import save_plot

    if not points:
        raise StoreError("no point to compare", key="pruning")
    plot = draw(points)
    files = [_write_points(points, folder / "points.csv"), *save_plot(plot, folder, ("png",))]
    head = _Heading("Pruning patterns on trained models", " ".join(findings(points)))
    page = write_document(
        folder / "index.html", head, _counts(points), [plot], {"patterns": _table(points), "proxies": _proxies(points)},
        files,
    )  # fmt: skip
    return [*files, page]


def read_points(path: Path) -> list[PruningPoint]:
    """The points of a points.csv. Raises StoreError naming file and line."""
    types = {field.name: {"int": int, "float": float}.get(str(field.type), str) for field in fields(PruningPoint)}
    points = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line, row in enumerate(csv.DictReader(file), 2):
                try:
                    values: dict[str, Any] = {name: kind(row[name]) for name, kind in types.items()}
                    points.append(PruningPoint(**values))
                except (KeyError, TypeError, ValueError) as error:
                    raise StoreError(f"is not a point: {error}", file=str(path), line=line) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"can't be read: {error}", file=str(path)) from error
    return points


def findings(points: Sequence[PruningPoint]) -> list[str]:
    """A sentence a model and system: the fastest pattern that keeps the accuracy, and the fastest of all."""
    return [_finding(group) for group in _groups(points)]


def draw(points: Sequence[PruningPoint]) -> Plot:
    """The figure: a panel a model and system, speed-up against accuracy."""
    from simsparse.report.plot import Plot, finish, panels
    from simsparse.report.style import figure_style

    groups = list(_groups(points))
    columns = len({point.system for point in points})
    colours = sparsity_colours(list(dict.fromkeys(point.pattern for point in points)))
    with figure_style():
        figure, axes = panels(len(groups), 2.3, columns)
        for ax, group in zip(axes, groups, strict=True):
            _panel(ax, group, colours)
        title = _title(points)
        finish(figure, title, _legend(points, colours))
    return Plot("speedup_and_accuracy", "Speed-up and its price", title, _FIGURE_CAPTION, figure)


def _groups(points: Sequence[PruningPoint]) -> Iterator[list[PruningPoint]]:
    for model in dict.fromkeys(point.model for point in points):
        for system in dict.fromkeys(point.system for point in points):
            if group := [point for point in points if (point.model, point.system) == (model, system)]:
                yield group


def _panel(ax: Axes, group: Sequence[PruningPoint], colours: dict[str, str]) -> None:
    first = group[0]
    ax.axhline(KEPT * first.dense_accuracy, color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
    ax.axvline(1.0, color=MUTED, linewidth=0.8, zorder=1)
    for point in group:
        colour, (marker, size) = colours[point.pattern], _DENSE if point.is_dense else _MARKERS[point.method]
        level = [point.accuracy, point.accuracy]
        ax.plot([point.speedup, point.ideal], level, color=colour, linewidth=0.6, alpha=0.5, zorder=2)
        ax.plot([point.ideal], level[:1], color=colour, marker="|", markersize=8, linestyle="none", zorder=2)
        ax.plot(
            [point.speedup], level[:1], color=colour, marker=marker, markersize=size, linestyle="none",
            markeredgecolor="white", markeredgewidth=0.5, zorder=3,
        )  # fmt: skip
    ax.set_title(f"{first.model} on {_short(first.system)}", fontsize=8.5)
    ax.set_xlabel("Speed-up over dense (×)")
    ax.set_ylabel(_PROXIES.get(first.judged, first.judged))
    ax.set_ylim(min(-0.05, min(point.accuracy for point in group) - 0.05), 1.08)
    reached = [value for point in group for value in (point.ideal, point.speedup)]
    ax.set_xlim(min(0.7, min(reached) - 0.1), 1.05 * max(2.0, *reached))


def _legend(points: Sequence[PruningPoint], colours: dict[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker="D" if name == "dense" else "o", linestyle="none", label=name)
        for name, colour in colours.items()
        if any(point.pattern == name for point in points)
    ]
    methods = [name for name in _MARKERS if any(point.method == name and not point.is_dense for point in points)]
    handles += [Line2D([], [], color=INK, marker=_MARKERS[name][0], linestyle="none", label=name) for name in methods]
    return [*handles, Line2D([], [], color=INK, marker="|", linestyle="none", markersize=8, label="ideal")]


def _finding(group: Sequence[PruningPoint]) -> str:
    fastest = max(group, key=lambda point: point.speedup)
    best = _best_kept(group)
    place = f"{group[0].model} on {_short(group[0].system)}"
    kept = f"{_named(best)} at {best.judged} {best.accuracy:.2f}" if best else "no pattern that is faster than dense"
    text = f"{place}: {kept} keeps {100 * KEPT:.0f} % of the dense value"
    if fastest is best or fastest.is_dense or fastest.speedup < 1.005:
        return f"{text}."
    return f"{text}; the fastest, {_named(fastest)}, falls to {fastest.accuracy:.2f}."


def _title(points: Sequence[PruningPoint]) -> str:
    """The best pattern of each model that keeps the accuracy, on the system where it gains most."""
    said = []
    for model in dict.fromkeys(point.model for point in points):
        best = _best_kept([point for point in points if point.model == model])
        said.append(f"{model} {_named(best)}" if best else f"{model} none")
    return f"Most speed-up at {100 * KEPT:.0f} % of the dense value, one-shot: {'; '.join(said)}"


def _best_kept(group: Sequence[PruningPoint]) -> PruningPoint | None:
    """The fastest point that is faster than dense and keeps the accuracy."""
    kept = [point for point in group if point.is_kept and not point.is_dense and point.speedup >= 1.005]
    return max(kept, key=lambda point: (point.speedup, point.accuracy), default=None)


def _named(point: PruningPoint) -> str:
    return f"{point.pattern} {point.method} ({digits(point.speedup)}×)"


def _short(system: str) -> str:
    return system.removeprefix("systems/")


def _counts(points: Sequence[PruningPoint]) -> str:
    models, systems = ({getattr(point, name) for point in points} for name in ("model", "system"))
    return f"{len(models)} models with trained weights, {len(systems)} systems, {len(points)} points, weights in fp16."


def _table(points: Sequence[PruningPoint]) -> HtmlTable:
    columns = (
        "Model", "Pattern", "Method", "Accuracy proxy", "Of dense", "Weight bytes", "Of dense bytes", "Ideal speed-up",
        "System", "Latency", "Speed-up", "Energy", "Checked",
    )  # fmt: skip
    intro = (
        "Bytes are those of the weights of all products, metadata included, as the measured pattern of each layer is "
        "stored. A pattern that a machine has no hardware for runs dense there."
    )
    return HtmlTable("Patterns", columns, tuple(_row(point) for point in points), intro=intro)


def _row(point: PruningPoint) -> tuple[TableCell, ...]:
    share, of_dense = point.weight_bytes / point.dense_weight_bytes, point.accuracy / point.dense_accuracy
    return (
        TableCell(point.model), TableCell(point.pattern), TableCell("–" if point.is_dense else point.method),
        TableCell(f"{point.judged} {point.accuracy:.3f}", point.accuracy),
        TableCell(f"{100 * of_dense:.0f} %", of_dense),
        TableCell(si(point.weight_bytes, "B"), point.weight_bytes), TableCell(f"{100 * share:.0f} %", share),
        TableCell(f"{digits(point.ideal)}×", point.ideal), TableCell(_short(point.system)),
        TableCell(si(point.latency_s, "s"), point.latency_s), TableCell(f"{digits(point.speedup)}×", point.speedup),
        TableCell(si(point.energy_j, "J"), point.energy_j),
        TableCell("unvalidated", warn=True) if point.unvalidated else TableCell("validated"),
    )  # fmt: skip


def _proxies(points: Sequence[PruningPoint]) -> HtmlTable:
    seen = {point.model: point for point in points}
    rows = tuple(
        (TableCell(model), TableCell(point.judged), TableCell(point.on), TableCell(str(point.batch)))
        for model, point in seen.items()
    )
    intro = (
        "What stands for accuracy. These are proxies on little data, fit to tell a pattern that harms from one that "
        "does not, and no benchmark scores; Wanda is calibrated on other data."
    )
    return HtmlTable("Accuracy proxies", ("Model", "Proxy", "Measured as", "Batch that is timed"), rows, intro=intro)


def _write_points(points: Sequence[PruningPoint], path: Path) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(PruningPoint)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(point) for point in points)
    return path
