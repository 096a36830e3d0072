# SPDX-License-Identifier: Apache-2.0
"""Stacked shares: what bounds the latency and which components take the energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from simsparse.report.bars import unvalidated_legend
from simsparse.report.plot import Plot, finish
from simsparse.report.results import Results, StoredPoint
from simsparse.report.rows import Panel, bar_axes, name_rows, numbered, pages, panels_of, runs_note
from simsparse.report.si import si
from simsparse.report.slices import sliced
from simsparse.report.style import (
    SMALL_PT,
    UNVALIDATED_HATCH,
    UNVALIDATED_NOTE,
    bound_colours,
    component_colours,
    ink_on,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shares = Mapping[str, float]
MAX_PARTS = 9
SEEN_FROM = 0.01
"""Parts below this share in every bar are drawn as ``other`` and have no entry in the legend."""
SAID = {"waiting": "waiting for another device"}
LABEL_FROM_SHARE = 0.13


def latency_breakdown(results: Results) -> list[Plot]:
    """Shares of operator time by what bounds it; none without data."""
    return _breakdown(
        results, lambda point: point.seconds_by_bound, lambda point: si(point.latency_s, "s"), bound_colours,
        "latency_breakdown", "Latency by bound", "Share of time (%)",
        "Share of operator time by what sets each operator's latency",
        "Share of the time of all operators by what sets each one's latency, and of the time in which a device that "
        "takes part waits for another; the number to the right is the latency of the whole pass, which is shorter "
        "than the sum where devices work at the same time.",
    )  # fmt: skip


def energy_breakdown(results: Results) -> list[Plot]:
    """Shares of energy by component; none without data."""
    return _breakdown(
        results, lambda point: energy_by_unit(point.energy_by_component), lambda point: si(point.energy_j, "J"),
        component_colours, "energy_breakdown", "Energy by component", "Share of energy (%)",
        "Share of the energy of one pass by device and component",
        "Share of energy by device and component; the number to the right is the energy of the whole pass. Devices of "
        "one kind are summed.",
    )  # fmt: skip


def energy_by_unit(energy: Mapping[str, float]) -> dict[str, float]:
    """Energy by device kind and component: ``gpu0.hbm.read_byte`` counts for ``gpu hbm``.

    What a power limit saves is taken off the components that act, each in proportion.
    """
    sums: dict[str, float] = {}
    for path, joules in energy.items():
        device, _, rest = path.partition(".")
        name = f"{device.rstrip('0123456789')} {rest.split('.')[0]}".strip()
        sums[name] = sums.get(name, 0.0) + joules
    for saving in [name for name in sums if name.endswith(" limit")]:
        saved, kind = sums.pop(saving), saving.removesuffix("limit")
        acting = [name for name in sums if name.startswith(kind) and not name.endswith("static")]
        full = sum(sums[name] for name in acting)
        sums.update({name: sums[name] * (1 + saved / full) for name in acting if full})
    return sums


def _breakdown(
    results: Results, parts: Callable[[StoredPoint], Shares], total: Callable[[StoredPoint], str],
    palette: Callable[[list[str]], dict[str, str]], name: str, label: str, axis: str, title: str, caption: str,
) -> list[Plot]:  # fmt: skip
    results = sliced(results)
    panels = panels_of(results, lambda point: sum(parts(point).values()) > 0)
    drawn = [row.point for panel in panels for row in panel.rows if row.point]
    if not drawn:
        return []
    names = _largest([_normalised(parts(point)) for point in drawn])
    colours = palette(names)
    notes = UNVALIDATED_NOTE if any(point.is_unvalidated for point in drawn) else ""
    title = f"{title}{f', {results.at}' if results.at else ''}"
    packed, plots = pages(panels), []
    for i, own in enumerate(packed):
        figure, axes = bar_axes(own)
        shares = [_folded(_normalised(parts(row.point)), names) for panel in own for row in panel.rows if row.point]
        for ax, panel in zip(axes, own, strict=True):
            _panel(ax, panel, names, parts, colours, total)
            ax.set_xlabel(axis)
        seen = [each for each in names if any(share[each] >= SEEN_FROM for share in shares)]
        finish(figure, title, [*_legend(seen, colours), *unvalidated_legend(results)])
        plots.append(Plot(numbered(name, i, len(packed), "_"), numbered(label, i, len(packed), ", part "), title,
                          caption + notes + results.note + runs_note(results, own), figure))  # fmt: skip
    return plots


def _panel(
    ax: Axes, panel: Panel, names: list[str], parts: Callable[[StoredPoint], Shares], colours: Mapping[str, str],
    total: Callable[[StoredPoint], str],
) -> None:  # fmt: skip
    rows = []
    for y, row in panel.placed():
        if row.point is not None:
            rows.append((y, _folded(_normalised(parts(row.point)), names), row.point.is_unvalidated))
            _write_total(ax, total(row.point), y)
    _stack(ax, rows, colours)
    ax.set_xlim(0, 130)
    ax.set_xticks([0, 25, 50, 75, 100])
    name_rows(ax, panel)


def _normalised(parts: Shares) -> dict[str, float]:
    total = sum(parts.values())
    return {name: value / total for name, value in parts.items()}


def _largest(shares: list[dict[str, float]]) -> list[str]:
    """Names by their summed share; those beyond ``MAX_PARTS`` and below ``SEEN_FROM`` anywhere become ``other``."""
    sums: dict[str, float] = {}
    for share in shares:
        for name, value in share.items():
            sums[name] = sums.get(name, 0.0) + value
    ordered = sorted(sums, key=lambda name: -sums[name])
    kept = [name for name in ordered if max(share.get(name, 0.0) for share in shares) >= SEEN_FROM][:MAX_PARTS]
    return kept if len(kept) == len(ordered) else [*(name for name in kept if name != "other"), "other"]


def _folded(share: Shares, names: list[str]) -> dict[str, float]:
    named = {name: share.get(name, 0.0) for name in names}
    if "other" in named:
        named["other"] += sum(value for name, value in share.items() if name not in named)
    return named


def _stack(ax: Axes, rows: Sequence[tuple[float, Shares, bool]], colours: Mapping[str, str]) -> None:
    """Stacked bars at (y, shares, hatched), one call a part: that is ten times faster than one a bar."""
    lefts = dict.fromkeys((y for y, _, _ in rows), 0.0)
    for name in colours:
        for hatched in (False, True):
            bars = [(y, 100 * share[name]) for y, share, mark in rows if mark == hatched and share.get(name, 0.0) > 0]
            if not bars:
                continue
            ys, widths = [y for y, _ in bars], [width for _, width in bars]
            ax.barh(
                ys, widths, 0.86, left=[lefts[y] for y in ys], color=colours[name], edgecolor="white", linewidth=0.3,
                hatch=UNVALIDATED_HATCH if hatched else None,
            )  # fmt: skip
            for y, width in bars:
                if width >= 100 * LABEL_FROM_SHARE:
                    _write_share(ax, lefts[y] + width / 2, y, width, colours[name], hatched)
                lefts[y] += width


def _write_share(ax: Axes, x: float, y: float, percent: float, colour: str, hatched: bool) -> None:
    ax.text(
        x, y, f"{percent:.0f}", ha="center", va="center", fontsize=SMALL_PT, color=ink_on(colour), fontweight="bold",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.6} if hatched else None,
    ).set_in_layout(False)  # fmt: skip


def _write_total(ax: Axes, text: str, y: float) -> None:
    ax.annotate(
        text, (100, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=SMALL_PT
    ).set_in_layout(False)


def _legend(names: list[str], colours: Mapping[str, str]) -> list[object]:
    from matplotlib.patches import Patch

    return [Patch(color=colours[name], label=SAID.get(name, name)) for name in names]
