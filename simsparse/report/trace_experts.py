# SPDX-License-Identifier: Apache-2.0
"""Experts in a trace: how tokens spread over them, and how soon a token's experts are used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simsparse.core import Trace
from simsparse.report.plot import Plot, finish, panels
from simsparse.trace.statistics.totals import expert_load, expert_reuse, reuse_by_chance, routed, sequences

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_SEEN, _CHANCE = "#0072B2", "#D55E00"


def expert_load_plot(trace: Trace) -> Plot | None:
    """Heat map of tokens by layer and expert; None without routing."""
    import numpy as np
    from matplotlib.colors import TwoSlopeNorm

    load = expert_load(trace)
    if not load.size:
        return None
    layers, experts = load.shape
    figure, (ax,) = panels(1, min(4.6, 1.0 + 0.09 * max(layers, 18)))
    norm = TwoSlopeNorm(1.0, 0.0, max(1.5, float(np.nanmax(load))))
    mesh = ax.pcolormesh(load, cmap="PuOr_r", norm=norm, edgecolors="none", rasterized=True)
    figure.colorbar(mesh, ax=ax, label="Tokens, over the layer's mean", pad=0.01, fraction=0.04)
    _count_axis(ax, "x", experts, "Expert")
    _count_axis(ax, "y", layers, "MoE layer")
    ax.invert_yaxis()
    ax.grid(visible=False)
    busiest = np.unravel_index(np.nanargmax(load), load.shape)
    idle = float(np.mean(load[~np.isnan(load)] == 0))
    without = f", {100 * idle:.2g} % get no token" if idle else ""
    title = (
        f"{trace.name}: the busiest expert takes {np.nanmax(load):.2g} times the mean "
        f"(MoE layer {busiest[0]}){without}; {_origin(trace)}"
    )
    finish(figure, title)
    caption = f"Tokens each expert gets, over the mean of its layer. {_origin(trace).capitalize()}."
    return Plot("expert-load", "Expert load", title, caption, figure)


def _count_axis(ax: Axes, axis: str, count: int, label: str) -> None:
    """Ticks in the middle of cells, numbered from 0."""
    step = max(1, -(-count // 16))
    ticks = range(0, count, step)
    getattr(ax, f"set_{axis}ticks")([tick + 0.5 for tick in ticks], [str(tick) for tick in ticks])
    getattr(ax, f"set_{axis}label")(label)


def _origin(trace: Trace) -> str:
    """Where the routing comes from, in words: real routing and generated routing are never confused."""
    origins = sorted({op.routing.origin for op in routed(trace) if op.routing is not None})
    if origins == ["recorded"]:
        return "routing recorded from a trained router"
    return f"routing {', '.join(origins)}, not recorded"


def expert_reuse_plot(trace: Trace) -> Plot | None:
    """Reuse of experts from token to token, by layer and by distance; None without ids of a sequence."""
    import numpy as np

    reuse = expert_reuse(trace, DISTANCES)
    if not reuse.size or np.isnan(reuse[:, 0]).any():
        return None
    longest = max(1, min(len(op.routing.ids) for op in routed(trace) if op.routing) // sequences(trace) // 2)
    seen = [i for i, distance in enumerate(DISTANCES) if distance <= longest]
    chance = reuse_by_chance(trace)
    figure, axes = panels(2, 2.6)
    handles = _over_layers(axes[0], 100 * reuse[:, 0], 100 * chance)
    _over_distance(axes[1], [DISTANCES[i] for i in seen], 100 * reuse[:, seen], 100 * float(chance.mean()))
    top = 1.12 * 100 * max(float(np.nanmax(reuse[:, seen])), float(chance.max()))
    for ax in axes:
        ax.set_ylim(0, min(104.0, top))
        ax.set_ylabel("Experts used before (%)")
    title = (
        f"{trace.name}: {100 * float(reuse[:, 0].mean()):.3g} % of a token's experts served the token before, "
        f"{100 * float(chance.mean()):.3g} % by chance; {_origin(trace)}"
    )
    finish(figure, title, handles)
    caption = (
        "Share of a token's experts that a token before it in its sequence had too: by layer for the token right "
        "before (left), by distance over all layers, the band from the 10th to the 90th percentile of layers (right). "
        f"Chance is that of independent tokens with the same shares of experts. {_origin(trace).capitalize()}."
    )
    return Plot("expert-reuse", "Expert reuse", title, caption, figure)


def _over_layers(ax: Axes, seen: Any, chance: Any) -> list[Any]:
    from matplotlib.ticker import MaxNLocator

    (line,) = ax.plot(range(len(seen)), seen, "o-", color=_SEEN, markersize=3.5, label="in the trace")
    (reference,) = ax.plot(range(len(chance)), chance, "--", color=_CHANCE, label="independent tokens")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    ax.set_xlabel("MoE layer")
    ax.set_title("the token before, by layer")
    return [line, reference]


def _over_distance(ax: Axes, distances: list[int], reuse: Any, chance: float) -> None:
    import numpy as np
    from matplotlib.ticker import FuncFormatter, NullLocator

    ax.fill_between(distances, *np.percentile(reuse, (10, 90), axis=0), color=_SEEN, alpha=0.18, linewidth=0)
    ax.plot(distances, reuse.mean(axis=0), "o-", color=_SEEN, markersize=3.5)
    ax.axhline(chance, linestyle="--", color=_CHANCE, linewidth=1.2)
    ax.set_xscale("log", base=2)
    ax.set_xticks([d for d in distances if d & (d - 1) == 0])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("Distance (tokens)")
    ax.set_title("tokens further back, all layers")
