# SPDX-License-Identifier: Apache-2.0
"""Stacked shares: what bounds the latency and which components take the energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from simsparse.report.bars import unvalidated_legend
from simsparse.report.plot import Plot, finish
from simsparse.report.results import PointKey, Results, StoredPoint
from simsparse.report.rows import Place, asked_for, bar_panels, mark_absent, numbered, pages, write_absent
from simsparse.report.si import si
from simsparse.report.style import (
    SMALL_PT,
    UNVALIDATED_HATCH,
    UNVALIDATED_NOTE,
    bound_colours,
    component_colours,
    ink_on,
    wrapped,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shares = Mapping[str, float]
ROW_IN = 0.165
MAX_PARTS = 9
LABEL_FROM_SHARE = 0.13


def latency_breakdown(results: Results) -> list[Plot]:
    """Shares of operator time by what bounds it; none without data."""
    return _breakdown(
        results, lambda point: point.seconds_by_bound, lambda point: si(point.latency_s, "s"), bound_colours,
        "latency_breakdown", "Latency by bound", "Share of operator time (%)", "operator time",
        "Share of the time of all operators by what sets each one's latency; the number to the right is the latency "
        "of the whole pass, which is shorter than the sum where operators overlap.",
    )  # fmt: skip


def energy_breakdown(results: Results) -> list[Plot]:
    """Shares of energy by component; none without data."""
    return _breakdown(
        results, lambda point: energy_by_unit(point.energy_by_component), lambda point: si(point.energy_j, "J"),
        component_colours, "energy_breakdown", "Energy by component", "Share of energy (%)", "energy",
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
    palette: Callable[[list[str]], dict[str, str]], name: str, label: str, axis: str, whole: str, caption: str,
) -> list[Plot]:  # fmt: skip
    shares = {
        cell: (point, _normalised(parts(point)))
        for cell in results.cells
        if (point := results.typical(*cell)) and sum(parts(point).values()) > 0
    }
    if not shares:
        return []
    names = _largest([share for _, share in shares.values()])
    colours = palette(names)
    notes = " Cells of several points show the one of median latency." if results.has_spread else ""
    notes += UNVALIDATED_NOTE if any(point.is_unvalidated for point in results.done) else ""

    def height_in(setups: int) -> float:
        return 0.75 + ROW_IN * max(setups * (len(results.sparsities) + 0.6), 5)

    plots, packed = [], pages(results, height_in)
    for i, rows in enumerate(packed):
        figure, places = bar_panels(rows, height_in)
        for place in places:
            _panel(place, results, shares, names, colours, total)
            _decorate(place, results, axis)
        owners = {(place.workload, setup) for place in places for setup in place.setups}
        title = _title({cell: share for cell, (_, share) in shares.items() if cell[:2] in owners}, whole)
        finish(figure, title, [*_legend(names, colours), *unvalidated_legend(results)])
        heading = numbered(label, i, len(packed), ", part ")
        plots.append(
            Plot(numbered(name, i, len(packed), "_"), heading, title, caption + notes + results.note, figure)
        )  # fmt: skip
    return plots


def _panel(
    place: Place, results: Results, shares: Mapping[PointKey, tuple[StoredPoint, Shares]], names: list[str],
    colours: Mapping[str, str], total: Callable[[StoredPoint], str],
) -> None:  # fmt: skip
    rows = []
    for setup in place.setups:
        for y, sparsity in _rows(place, results, setup):
            cell = (place.workload, setup, sparsity)
            if cell in shares:
                point, share = shares[cell]
                rows.append((y, _folded(share, names), point.is_unvalidated))
                _write_total(place.ax, total(point), y)
            elif asked_for(results, place.workload, setup):
                mark_absent(place.ax, results, cell, y)
    _stack(place.ax, rows, colours)


def _normalised(parts: Shares) -> dict[str, float]:
    total = sum(parts.values())
    return {name: value / total for name, value in parts.items()}


def _largest(shares: list[dict[str, float]]) -> list[str]:
    """Names by their summed share; those beyond ``MAX_PARTS`` and below 1 % anywhere become ``other``."""
    sums: dict[str, float] = {}
    for share in shares:
        for name, value in share.items():
            sums[name] = sums.get(name, 0.0) + value
    ordered = sorted(sums, key=lambda name: -sums[name])
    kept = [name for name in ordered if max(share.get(name, 0.0) for share in shares) >= 0.01][:MAX_PARTS]
    return kept if len(kept) == len(ordered) else [*(name for name in kept if name != "other"), "other"]


def _folded(share: Shares, names: list[str]) -> dict[str, float]:
    named = {name: share.get(name, 0.0) for name in names}
    if "other" in named:
        named["other"] += sum(value for name, value in share.items() if name not in named)
    return named


def _rows(place: Place, results: Results, setup: str) -> list[tuple[float, str]]:
    """Place on the y axis and sparsity of every bar of ``setup``."""
    top = place.setups.index(setup) * (len(results.sparsities) + 0.6)
    return [(top + i, sparsity) for i, sparsity in enumerate(results.sparsities)]


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


def _decorate(place: Place, results: Results, axis: str) -> None:
    ax, groups = place.ax, {setup: _rows(place, results, setup) for setup in place.setups}
    ax.set_xlim(0, 128)
    ax.set_xticks([0, 25, 50, 75, 100])
    ax.set_xlabel(axis)
    ax.set_title(place.workload)
    ax.grid(visible=False)
    rows = [row for group in groups.values() for row in group]
    ax.set_ylim(rows[-1][0] + 0.7, -0.7)
    ax.set_yticks([y for y, _ in rows], [sparsity for _, sparsity in rows])
    ax.tick_params(axis="y", length=0, labelleft=place.labelled)
    inset = 6.5 * max(len(text) for text in results.sparsities) + 10
    for setup, group in groups.items():
        middle = (group[0][0] + group[-1][0]) / 2
        if place.labelled:
            ax.annotate(
                wrapped(setup), (0, middle), xycoords=("axes fraction", "data"), xytext=(-inset, 0),
                textcoords="offset points", ha="right", va="center", fontsize=SMALL_PT,
            )  # fmt: skip
        if not asked_for(results, place.workload, setup):
            write_absent(ax, "not run", middle)


def _title(shares: Mapping[PointKey, Shares], whole: str) -> str:
    """How many setups each part is the largest of, in most of their cells."""
    votes: dict[str, list[str]] = {}
    for cell, share in shares.items():
        votes.setdefault(cell[1], []).append(max(share, key=lambda name: share[name]))
    winners = [max(sorted(set(names)), key=names.count) for names in votes.values()]
    ranked = sorted(set(winners), key=lambda name: (-winners.count(name), name))
    said = ", ".join(f"{part} on {winners.count(part)} of {len(winners)} setups" for part in ranked)
    return f"Largest part of the {whole}: {said}"


def _legend(names: list[str], colours: Mapping[str, str]) -> list[object]:
    from matplotlib.patches import Patch

    return [Patch(color=colours[name], label=name) for name in names]
