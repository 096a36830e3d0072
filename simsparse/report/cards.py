# SPDX-License-Identifier: Apache-2.0
"""Times of one trace on cards under stacks: a group of bars per card, a bar per stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsparse.report.plot import Plot, finish, panels
from simsparse.report.results import MARKED_SHARE, unique
from simsparse.report.si import scale_for
from simsparse.report.style import MUTED, SMALL_PT, UNVALIDATED_HATCH, UNVALIDATED_LABEL, UNVALIDATED_NOTE, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simsparse.advice import CardTime

COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#8f7700", "#E69F00", "#D55E00")
BAR_IN = 0.17


def cards_plot(trace: str, times: Sequence[CardTime]) -> Plot:
    """Horizontal bars from zero; a hatched bar rests in part on models that nothing checks."""
    cards, stacks = unique(time.card for time in times), unique(time.stack for time in times)
    done = [time for time in times if time.latency_s is not None]
    with figure_style():
        figure, (ax,) = panels(1, 0.9 + BAR_IN * len(cards) * (len(stacks) + 1))
        scale = scale_for([time.latency_s for time in done if time.latency_s], "s")
        most = max((time.latency_s or 0.0 for time in done), default=0.0) / scale.factor
        for time in times:
            row = cards.index(time.card) * (len(stacks) + 1) + stacks.index(time.stack)
            _bar(ax, row, time, COLOURS[stacks.index(time.stack) % len(COLOURS)], scale.factor)
        centres = [i * (len(stacks) + 1) + (len(stacks) - 1) / 2 for i in range(len(cards))]
        ax.set_yticks(centres, cards)
        ax.set_ylim(len(cards) * (len(stacks) + 1) - 1.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.set_xlim(0, (most or 1) * 1.2)
        ax.set_xlabel(f"Time of one pass ({scale.unit})")
        title = _title(trace, done)
        finish(figure, title, _legend(stacks, times))
    return Plot("cards", "Cards and stacks", title, f"Bars begin at zero.{UNVALIDATED_NOTE}", figure)


def _bar(ax: Axes, row: int, time: CardTime, colour: str, factor: float) -> None:
    if time.latency_s is None:
        ax.annotate("refused", (0, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=SMALL_PT,
                    color=MUTED)  # fmt: skip
        return
    value = time.latency_s / factor
    ax.barh(row, value, 0.85, color=colour, hatch=UNVALIDATED_HATCH if time.unvalidated_share > MARKED_SHARE else None)
    ax.annotate(f"{value:.3g}", (value, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=SMALL_PT)


def _title(trace: str, done: Sequence[CardTime]) -> str:
    if not done:
        return f"{trace}: no card runs it"
    best = min(done, key=lambda time: time.latency_s or 0.0)
    return f"{trace}: {best.card} under {best.stack} is fastest of {len(done)} combinations"


def _legend(stacks: Sequence[str], times: Sequence[CardTime]) -> list[object]:
    from matplotlib.patches import Patch

    handles: list[object] = [Patch(color=COLOURS[i % len(COLOURS)], label=stack) for i, stack in enumerate(stacks)]
    if any(time.unvalidated_share > MARKED_SHARE for time in times):
        handles.append(Patch(facecolor=MUTED, hatch=UNVALIDATED_HATCH, label=UNVALIDATED_LABEL))
    return handles
