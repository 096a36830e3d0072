# SPDX-License-Identifier: Apache-2.0
"""Where a stack loses time: a bar per kind of op, the part at the card's bound and the part above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsparse.report.plot import Plot, finish, panels
from simsparse.report.si import scale_for, si
from simsparse.report.style import SMALL_PT, UNVALIDATED_HATCH, figure_style, wrapped

if TYPE_CHECKING:
    from simsparse.advice import Headroom, KernelLoss

AT_BOUND, LOST = "#0077BB", "#EE7733"
BAR_IN = 0.34
DRAWN_FROM = 0.0005
"""Share of the latency from which on a loss is drawn."""


def headroom_plot(found: Headroom, most: int = 12) -> Plot:
    """Stacked horizontal bars of the ``most`` ops that lose most, on a linear axis from zero.

    Those that lose less than ``DRAWN_FROM`` of the latency are left out, and counted below the axis.
    """
    losing = [loss for loss in found.losses if loss.lost_s > 0]
    shown = [loss for loss in losing if loss.lost_s >= DRAWN_FROM * found.latency_s][:most]
    with figure_style():
        figure, (ax,) = panels(1, 0.8 + BAR_IN * len(shown))
        scale = scale_for([loss.seconds for loss in shown if loss.seconds] or [1.0], "s")
        for row, loss in enumerate(shown):
            bound, lost = loss.bound_s / scale.factor, loss.lost_s / scale.factor
            ax.barh(row, bound, 0.7, color=AT_BOUND)
            ax.barh(row, lost, 0.7, left=bound, color=LOST, hatch=None if loss.validated else UNVALIDATED_HATCH)
            share = loss.lost_s / found.latency_s if found.latency_s else 0.0
            ax.annotate(f"{share:.1%} lost", (bound + lost, row), xytext=(3, 0), textcoords="offset points",
                        va="center", fontsize=SMALL_PT)  # fmt: skip
        ax.set_yticks(range(len(shown)), [wrapped(_name(loss), 40) for loss in shown])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.margins(x=0.15)
        ax.set_xlim(left=0)
        ax.set_xlabel(f"Time of all ops of a kind ({scale.unit}){_left_out(found, losing[len(shown) :])}")
        title = _title(found)
        finish(figure, title, _legend(found, shown))
    caption = (
        f"Ops that {found.against} runs faster."
        if found.against
        else "The bound is the larger of FLOPs over peak and bytes over bandwidth, both of the data sheet."
    )
    return Plot("headroom", "Headroom", title, caption, figure)


def _left_out(found: Headroom, losses: Sequence[KernelLoss]) -> str:
    if not losses:
        return ""
    share = sum(loss.lost_s for loss in losses) / found.latency_s
    kinds = "1 kind of op, which loses" if len(losses) == 1 else f"{len(losses)} kinds of op, which together lose"
    return f"\nnot drawn: {kinds} {share:.2%}"


def _name(loss: KernelLoss) -> str:
    kind = loss.shape.partition(":")[0]
    first, *more = loss.name.split(", ")
    name = f"{first} and {len(more)} more" if len(more) > 1 else loss.name
    name = name if kind in ("", "linear", loss.name) else f"{name}: {kind}"
    return f"{name} ×{loss.ops}" if loss.ops > 1 else name


def _title(found: Headroom) -> str:
    other = f"under {found.against}" if found.against else "with every op at its bound"
    return (f"{found.trace} on {found.part} under {found.stack}: {si(found.latency_s, 's')}, "
            f"{si(found.bound_s, 's')} {other}")  # fmt: skip


def _legend(found: Headroom, shown: Sequence[KernelLoss]) -> list[object]:
    from matplotlib.patches import Patch

    least = f"as {found.against} takes" if found.against else "at the bound"
    handles: list[object] = [Patch(color=AT_BOUND, label=least), Patch(color=LOST, label="above it: lost")]
    if not all(loss.validated for loss in shown):
        handles.append(Patch(facecolor=LOST, hatch=UNVALIDATED_HATCH, label="kernel's model unvalidated"))
    return handles
