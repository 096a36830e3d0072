# SPDX-License-Identifier: Apache-2.0
"""Sparsity in a trace: density and N:M conformity of weights, zeros at the consumers' inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from simsparse.core import Trace
from simsparse.report.plot import Plot, finish, panels
from simsparse.report.style import INK, MUTED, SMALL_PT
from simsparse.trace.statistics.totals import PATTERNS, WeightStatistics, inputs, weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_ROLES = 12
_MOST_NAMES = 48
_MOST_NUMBERS = 16
_ABSENT = "#dcdcdc"
_COMPUTED, _PADDED = "#0077BB", "#c8c8c8"


class LayerPattern(Protocol):
    """An op with a place in a model."""

    @property
    def name(self) -> str: ...
    @property
    def layer(self) -> int | None: ...
    @property
    def role(self) -> str: ...


def density_plot(trace: Trace) -> Plot | None:
    """Density of every weight by layer; None when all are dense."""
    found = weights(trace)
    if not any(weight.density < 1 for weight in found):
        return None
    draw = _by_layer if _layered(found) else _by_place
    figure = draw(found)
    mean = sum(weight.density for weight in found) / len(found)
    basis = _basis(found)
    title = f"{trace.name}: {100 * mean:.3g} % of weights are non-zero, mean of {len(found)} operators ({basis})"
    finish(figure, title)
    caption = "Share of each operator's weights that are not zero, by its place in the model."
    outside = sum(weight.layer is None for weight in found) if draw is _by_layer else 0
    if outside:
        caption += f" {outside} operators outside the layers are not drawn."
    return Plot("weight-density", "Weight density", title, caption, figure)


def _basis(found: Sequence[WeightStatistics]) -> str:
    measured = sum(weight.measured for weight in found)
    if not measured:
        return "declared patterns"
    return "measured" if measured == len(found) else f"{measured} measured, the others declared"


def _layered(found: Sequence[LayerPattern]) -> bool:
    """Whether layers repeat the same few operators, so that each can be a line over the layers."""
    roles = {each.role for each in found if each.layer is not None}
    layers = {each.layer for each in found if each.layer is not None}
    return len(layers) > 2 and 0 < len(roles) <= _MOST_ROLES


def _by_layer(found: Sequence[WeightStatistics]) -> Figure:
    """A heat map, operators of a layer by layers, with numbers where they find room."""
    import numpy as np

    placed = [weight for weight in found if weight.layer is not None]
    roles = list(dict.fromkeys(weight.role for weight in placed))
    layers = sorted({weight.layer for weight in placed if weight.layer is not None})
    shares = np.full((len(roles), len(layers)), np.nan)
    for weight in placed:
        shares[roles.index(weight.role), layers.index(weight.layer or 0)] = 100 * weight.density
    figure, (ax,) = panels(1, 0.8 + 0.24 * len(roles))
    ax.set_facecolor(_ABSENT)
    mesh = ax.pcolormesh(shares, cmap="Blues", vmin=0, vmax=100, edgecolors="white", linewidth=0.5)
    figure.colorbar(mesh, ax=ax, label="Non-zeros (%)", pad=0.01, fraction=0.04)
    ax.set_yticks([i + 0.5 for i in range(len(roles))], [_short(role) for role in roles])
    step = -(-len(layers) // 20)
    ax.set_xticks([i + 0.5 for i in range(0, len(layers), step)], [str(layer) for layer in layers[::step]])
    ax.set_xlabel("Layer")
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)
    for (i, j), share in np.ndenumerate(shares) if len(layers) <= _MOST_NUMBERS else ():
        if not np.isnan(share):
            colour = "white" if share > 60 else INK
            ax.text(j + 0.5, i + 0.5, f"{share:.3g}", ha="center", va="center", fontsize=SMALL_PT, color=colour)
    return figure


def _by_place(found: Sequence[WeightStatistics]) -> Figure:
    figure, (ax,) = panels(1, 3.3)
    ax.bar(range(len(found)), [100 * weight.density for weight in found], color=_COMPUTED, width=0.8)
    ax.set_ylabel("Non-zero weights (%)")
    ax.set_ylim(0, 104)
    _name_places(ax, found)
    return figure


def _name_places(ax: Axes, found: Sequence[LayerPattern]) -> None:
    """Ticks along x: each op's name where there is room, else their number; a first tick a layer where they repeat."""
    ax.set_xlim(-0.6, len(found) - 0.4)
    ax.grid(axis="x", visible=False)
    if _layered(found):
        firsts = [i for i, each in enumerate(found) if each.layer is not None
                  and (not i or found[i - 1].layer != each.layer)]  # fmt: skip
        step = -(-len(firsts) // 16)
        ax.set_xticks(firsts[::step], [str(found[i].layer) for i in firsts[::step]])
        ax.set_xlabel("Operators in order; numbers are layers")
    elif len(found) <= _MOST_NAMES:
        ax.set_xticks(range(len(found)), [_short(each.name) for each in found], rotation=90, fontsize=SMALL_PT)
        ax.set_xlabel("Operators in order")
    else:
        ax.set_xlabel("Operators in order")


def _short(name: str, longest: int = 26) -> str:
    """The end of a long name."""
    return name if len(name) <= longest else "…" + name[-longest:]


def conformity_plot(trace: Trace) -> Plot | None:
    """How far each weight conforms to N:M; None when none was measured or all are dense."""
    import numpy as np

    found = [weight for weight in weights(trace) if weight.conforming]
    if not any(any(weight.conforming.values()) for weight in found):
        return None
    patterns = [pattern for pattern in PATTERNS if any(pattern in weight.conforming for weight in found)]
    shares = np.array([[100 * weight.conforming.get(pattern, np.nan) for weight in found] for pattern in patterns])
    figure, (ax,) = panels(1, 0.6 + 0.2 * len(patterns) + (0 if _layered(found) else 0.9))
    ax.set_facecolor(_ABSENT)
    mesh = ax.pcolormesh(shares, cmap="Blues", vmin=0, vmax=100, edgecolors="none", rasterized=True)
    _grid_axes(ax, patterns, found)
    figure.colorbar(mesh, ax=ax, label="Groups that conform (%)", pad=0.01, fraction=0.04)
    whole = [pattern for pattern, row in zip(patterns, shares, strict=True) if np.nanmin(row) >= 100]
    said = f"all {len(found)} weights conform to {', '.join(whole)}" if whole else "no pattern holds in every weight"
    title = f"{trace.name}: {said}"
    finish(figure, title)
    caption = (
        "Share of the groups of M weights along the reduction with at most N non-zeros, by pattern N:M (rows). "
        "Zeros fill a row's last group where M does not divide the reduction; grey where M exceeds it."
    )
    return Plot("nm-conformity", "N:M conformity", title, caption, figure)


def _grid_axes(ax: Axes, patterns: Sequence[str], found: Sequence[LayerPattern]) -> None:
    _name_places(ax, found)
    ax.set_xticks([tick + 0.5 for tick in ax.get_xticks()], [label.get_text() for label in ax.get_xticklabels()])
    ax.set_xlim(0, len(found))
    ax.set_yticks([i + 0.5 for i in range(len(patterns))], patterns)
    ax.set_ylabel("Pattern N:M")
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)


def input_plot(trace: Trace) -> Plot | None:
    """Zeros at each consumer's input, padding apart; None when no input was measured."""
    from matplotlib.patches import Patch

    found = inputs(trace)
    if not found:
        return None
    figure, (ax,) = panels(1, 2.6 if _layered(found) else 3.3)
    computed = [100 * (1 - each.density) * (1 - each.padding) for each in found]
    padded = [100 * each.padding for each in found]
    ax.bar(range(len(found)), computed, color=_COMPUTED, width=0.85)
    ax.bar(range(len(found)), padded, bottom=computed, color=_PADDED, width=0.85)
    ax.set_ylim(0, max(1.0, 1.08 * max(a + b for a, b in zip(computed, padded, strict=True))))
    ax.set_ylabel("Zeros in what is read (%)")
    _name_places(ax, found)
    mean = sum(computed) / len(found)
    title = f"{trace.name}: {mean:.2g} % of inputs are zeros that the model computed, mean of {len(found)} operators"
    if not any(computed):
        title = f"{trace.name}: no input of {len(found)} operators holds a zero that the model computed"
    if not any(computed) and not any(padded):
        ax.text(0.5, 0.5, "no zeros", transform=ax.transAxes, ha="center", va="center", color=MUTED)
    finish(figure, title, [Patch(color=_COMPUTED, label="computed"), Patch(color=_PADDED, label="padding")])
    caption = "Exact zeros in the input of each operator, where it is consumed; zeros of padding apart."
    return Plot("input-zeros", "Zeros at the input", title, caption, figure)
