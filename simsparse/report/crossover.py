# SPDX-License-Identifier: Apache-2.0
"""Times of one layer over tokens, a line per way to hold its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsparse.report.plot import Plot, finish, panels, plain_log
from simsparse.report.si import scale_for
from simsparse.report.style import INK, MARKERS, MUTED, SMALL_PT, figure_style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsparse.advice import ChoiceTime, Crossover

COLOURS = ("#3b3b3b", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8f7700", "#56B4E9", "#E69F00")
STYLES = ("-", "--", ":", "-.")


def crossover_plot(found: Crossover) -> Plot:
    """Time per token over tokens, both axes logarithmic; choices of equal times share one line."""
    with figure_style():
        figure, (ax,) = panels(1, 3.6)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        lines = _lines(found)
        scale = scale_for([time.latency_s for own in lines.values() for time in own], "s")
        for i, (names, own) in enumerate(lines.items()):
            _draw(ax, i, names, own, scale.factor)
        _mark_changes(ax, found)
        tokens = sorted({time.tokens for time in found.times})
        ax.set_xticks(tokens[:: -(-len(tokens) // 16)], [f"{t:,}" for t in tokens[:: -(-len(tokens) // 16)]])
        values = [time.latency_s for time in found.times]
        plain_log(ax.yaxis, max(values) / min(values))
        ax.set_xlabel("\n".join(["Tokens, log scale", wrapped(pays_text(found), 100)]).strip())
        ax.set_ylabel(f"Time of the layer ({scale.unit}), log scale")
        title = f"{found.layer} on {found.part}: {winners_text(found)}"
        finish(figure, title, ax.get_legend_handles_labels()[0])
    return Plot("crossover", "Time over tokens", title, _caption(found), figure)


def winners_text(found: Crossover) -> str:
    """The fastest choice of each stretch of tokens, in words."""
    (_, first), *later = found.winners
    return ", ".join([f"{first} is fastest", *(f"{choice} from {tokens:,} tokens" for tokens, choice in later)])


def pays_text(found: Crossover) -> str:
    """Where each choice is faster than the first one, in words; empty where there is no other."""
    if not found.pays:
        return ""
    first, last = found.times[0].tokens, found.times[-1].tokens
    return f"Faster than {found.times[0].choice}: " + ", ".join(
        f"{choice} {' and '.join(_stretch(*own, first, last) for own in stretches) or 'nowhere'}"
        for choice, stretches in found.pays.items()
    )


def _stretch(start: int, end: int, first: int, last: int) -> str:
    """A stretch of tokens among those from ``first`` to ``last``."""
    if end == last:
        return "everywhere" if start == first else f"from {start:,} tokens"
    return f"up to {end:,} tokens" if start == first else f"from {start:,} to {end:,} tokens"


def _lines(found: Crossover) -> dict[str, list[ChoiceTime]]:
    """Times by the names of the choices that share them."""
    own: dict[str, list[ChoiceTime]] = {}
    for time in found.times:
        own.setdefault(time.choice, []).append(time)
    groups: dict[tuple[float, ...], list[str]] = {}
    for name, times in own.items():
        groups.setdefault(tuple(time.latency_s for time in times), []).append(name)
    return {_together(names): own[names[0]] for names in groups.values()}


def _together(names: Sequence[str]) -> str:
    """The first of choices with equal times, and the others."""
    if len(names) == 1:
        return names[0]
    return f"{names[0]} (and {', '.join(names[1:])}, which run alike)"


def _draw(ax: Axes, place: int, names: str, times: Sequence[ChoiceTime], factor: float) -> None:
    checked = all(time.validated for time in times)
    ax.plot(
        [time.tokens for time in times], [time.latency_s / factor for time in times],
        STYLES[place // len(COLOURS) % len(STYLES)], color=COLOURS[place % len(COLOURS)],
        marker=MARKERS[place % 6], markersize=4, markerfacecolor=None if checked else "white",
        label=wrapped(names if checked else f"{names}: unvalidated (hollow)", 70),
    )  # fmt: skip


def _mark_changes(ax: Axes, found: Crossover) -> None:
    for tokens, choice in found.winners[1:]:
        ax.axvline(tokens, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        ax.annotate(
            f"{choice} from {tokens:,}", (tokens, 1), xycoords=("data", "axes fraction"), xytext=(2, -3),
            textcoords="offset points", rotation=90, va="top", fontsize=SMALL_PT, color=INK,
        )  # fmt: skip


def _caption(found: Crossover) -> str:
    parts = ["Time of the layer alone, weights read from the card's memory."]
    parts += [f"{name}: {'; '.join(notes)}." for name, notes in found.notes.items()]
    parts += [f"{name} is refused: {reason}." for name, reason in found.refused.items()]
    return " ".join(parts)
