# SPDX-License-Identifier: Apache-2.0
"""Arithmetic intensity of a trace's operators: where its bytes are and where its FLOPs are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsparse.core import Trace
from simsparse.report.plot import Plot, finish, panels, plain_log
from simsparse.report.results import unique
from simsparse.report.si import si
from simsparse.report.style import kind_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PER_DECADE = 4
IntensityShare = tuple[float, float, str]
"""Intensity in FLOP/B, what of the whole it holds, kind."""


def intensity_plot(trace: Trace) -> Plot | None:
    """Shares of the least bytes and of the FLOPs by intensity; None when the trace moves nothing."""
    from matplotlib.patches import Patch

    moving = [op for op in trace.ops if op.min_bytes and op.flops]
    if not moving:
        return None
    figure, axes = panels(2, 2.6)
    kinds = unique(str(op.kind) for op in moving)
    edges = _edges([op.flops / op.min_bytes for op in moving])
    moved, work = sum(op.min_bytes for op in trace.ops), sum(op.flops for op in moving)
    for ax, key, whole, word in ((axes[0], "min_bytes", moved, "least bytes"), (axes[1], "flops", work, "FLOPs")):
        shares = [(op.flops / op.min_bytes, getattr(op, key) / whole, str(op.kind)) for op in moving]
        _draw(ax, shares, edges, kinds)
        ax.set_ylabel(f"Share of all {word} (%)")
    without = 1 - sum(op.min_bytes for op in moving) / moved
    title = f"{trace.name}: {si(work, 'FLOP')} on {si(moved, 'B')}, {work / moved:.3g} FLOP/B in all"
    colours = kind_colours(kinds)
    finish(figure, title, [Patch(color=colours[kind], label=kind) for kind in kinds])
    caption = (
        "Where bytes (left) and FLOPs (right) stand by the FLOPs an operator does on each byte that a good kernel "
        f"must move. Copies and gathers, without FLOPs, hold {100 * without:.2g} % of the bytes and are not drawn."
    )
    return Plot("intensity", "Arithmetic intensity", title, caption, figure)


def _edges(values: Sequence[float]) -> list[float]:
    """Bins of a quarter decade over all values."""
    low = math.floor(math.log10(min(values)) * _PER_DECADE)
    high = math.floor(math.log10(max(values)) * _PER_DECADE) + 1
    return [10 ** (i / _PER_DECADE) for i in range(low, high + 1)]


def _draw(ax: Axes, shares: Sequence[IntensityShare], edges: Sequence[float], kinds: Sequence[str]) -> None:
    colours = kind_colours(kinds)
    values = [[value for value, _, kind in shares if kind == each] for each in kinds]
    sizes = [[100 * share for _, share, kind in shares if kind == each] for each in kinds]
    ax.hist(values, bins=list(edges), weights=sizes, stacked=True, color=[colours[kind] for kind in kinds])
    ax.set_xscale("log")
    plain_log(ax.xaxis, 1e9, ticks=9)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel("Arithmetic intensity (FLOP/B)")
    ax.grid(axis="x", visible=False)
