# SPDX-License-Identifier: Apache-2.0
"""Gain of sparse kernels over the dense one: a panel per pattern, tokens by density, with the line of equal times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simsparse.report.plot import Plot, finish, panels
from simsparse.report.style import INK, SMALL_PT, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

    from simsparse.advice import SparseGains

LIMIT = 8.0
"""Gain, and its inverse, at which the colours end."""


def sparse_gain_plot(found: SparseGains) -> Plot:
    """Dense over sparse time of each pattern; blue where the sparse kernel is faster."""
    names = list(dict.fromkeys(gain.pattern for gain in found.gains))
    with figure_style():
        figure, axes = panels(len(names), 2.7)
        for ax, name in zip(axes, names, strict=True):
            mesh = _draw(ax, found, name)
        bar = figure.colorbar(mesh, ax=axes, shrink=0.9, ticks=[-3, -2, -1, 0, 1, 2, 3])
        bar.set_ticklabels(["1/8", "1/4", "1/2", "1", "2", "4", "8"])
        bar.set_label("Dense over sparse time (x)")
        title = f"{found.layer} on {found.part}: {breakeven_text(found)}"
        finish(figure, title)
    return Plot("sparse-gain", "Sparse over dense", title, _caption(found), figure)


def breakeven_text(found: SparseGains) -> str:
    """Up to which density each pattern wins at the fewest and the most tokens, in words."""
    names = list(dict.fromkeys(name for name, _ in found.breakeven))
    tokens = sorted({count for _, count in found.breakeven})
    return ", ".join(f"{name} {_words(found, name, tokens)}" for name in names)


def _words(found: SparseGains, name: str, tokens: Sequence[int]) -> str:
    if all(found.always(name, count) for count in tokens):
        return "wins at every density asked"
    if all(found.breakeven[name, count] is None for count in tokens):
        return "wins at none"
    ends = dict.fromkeys((tokens[0], tokens[-1]))
    return "wins " + " and ".join(f"{_end(found, name, count)} at {_count(count)}" for count in ends)


def _end(found: SparseGains, name: str, tokens: int) -> str:
    density = found.breakeven[name, tokens]
    if density is None:
        return "at no density"
    return "at every density" if found.always(name, tokens) else f"up to {density:.1%}"


def _count(tokens: int) -> str:
    return "1 token" if tokens == 1 else f"{tokens:,} tokens"


def _draw(ax: Axes, found: SparseGains, name: str) -> QuadMesh:
    own = [gain for gain in found.gains if gain.pattern == name]
    tokens, densities = sorted({gain.tokens for gain in own}), sorted({gain.density for gain in own})
    values = {(gain.density, gain.tokens): np.log2(gain.gain) for gain in own}
    shade = np.array([[values[density, count] for count in tokens] for density in densities])
    limit = np.log2(LIMIT)
    mesh = ax.pcolormesh(shade, cmap="RdBu", vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.5)
    ax.set_xticks(np.arange(len(tokens)) + 0.5, [f"{count:,}" for count in tokens], rotation=45)
    ax.set_yticks(np.arange(len(densities)) + 0.5, [f"{density:.3g}" for density in densities])
    ends = [np.nan if found.always(name, count) else _height(found.breakeven[name, count], densities)
            for count in tokens]  # fmt: skip
    ax.plot(np.arange(len(tokens)) + 0.5, ends, color=INK, marker="o", markersize=3, linewidth=1.2, alpha=0.6)
    for i, j in np.ndindex(shade.shape):
        if shade[i, j] > -limit:
            dark = abs(shade[i, j]) > 0.6 * limit
            ax.text(j + 0.5, i + 0.5, f"{2 ** shade[i, j]:.2g}", ha="center", va="center", fontsize=SMALL_PT - 2,
                    color="white" if dark else INK)  # fmt: skip
    ax.set_title(name, fontsize=SMALL_PT)
    ax.set_xlabel("Tokens")
    ax.set_ylabel("Density of the weights")
    return mesh


def _height(density: float | None, densities: list[float]) -> float:
    """Where a density stands between the rows of the panel: on a log scale between their middles."""
    if density is None:
        return 0.0
    if len(densities) == 1:
        return 0.5
    return float(np.interp(np.log(density), np.log(densities), np.arange(len(densities)) + 0.5))


def _caption(found: SparseGains) -> str:
    place = "Weights stay in the caches." if found.resident else "Weights come from memory at each call."
    numbers = "Numbers: dense over sparse time, where above an eighth"
    parts = [f"{numbers}; line: equal times, none where sparse wins at every density. {place}"]
    parts += [f"{name} is refused: {reason}." for name, reason in found.refused.items()]
    return " ".join(parts)
