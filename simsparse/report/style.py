# SPDX-License-Identifier: Apache-2.0
"""How figures look: sizes for print, colours that colour-blind readers tell apart, one meaning each.

Palettes: Okabe and Ito's eight colours for sparsity, Paul Tol's vibrant and light schemes for what
bounds and consumes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

WIDTH_IN = 7.1
"""Width of a figure in inches: the text width of A4 and Letter pages at 18 mm margins."""

DPI = 150
"""Pixels an inch of PNG files."""

FONT_PT = 8.5
"""Size of all text in figures but titles; nothing is smaller than 8 pt at print size."""

SMALL_PT = 8.0
UNVALIDATED_HATCH = "////"
UNVALIDATED_LABEL = "unvalidated model"
UNVALIDATED_NOTE = " Hatched: unvalidated, more than 5 % of operator time from models that no reference checks."
HOLLOW_LABEL = "hollow: unvalidated model"
HOLLOW_NOTE = " Hollow: unvalidated, more than 5 % of operator time from models that no reference checks."
INK, MUTED, GRID = "#222222", "#6b6b6b", "#d9d9d9"

_SPARSITY = ("#3b3b3b", "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#8f7700")
_BOUND = {
    "memory": "#0077BB", "compute": "#EE7733", "launch": "#9a9a9a", "overhead": "#9a9a9a", "link": "#CC3311",
    "transfer": "#CC3311", "copy": "#CC3311", "host": "#AA4499", "storage": "#882255", "waiting": "#e4e4e4",
}  # fmt: skip
_KIND = {
    "linear": "#0077BB", "attention": "#EE7733", "moe_ffn": "#009988", "elementwise": "#9a9a9a", "conv2d": "#33BBEE",
    "matmul": "#EE3377", "transfer": "#CC3311", "copy": "#CC3311", "collective": "#AA4499", "wait": "#dddddd",
    "other": "#bbbb88",
}  # fmt: skip
_SPARE = ("#009988", "#33BBEE", "#EE3377", "#DDAA33", "#AA4499", "#66AA55", "#774411", "#88CCEE", "#bbbb88", "#555555")
_COMPONENT = (
    "#0077BB", "#EE7733", "#009988", "#CC3311", "#33BBEE", "#EE3377", "#DDAA33", "#774411", "#AA4499", "#88CCAA",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P")
OTHER = "#c8c8c8"


def sparsity_colours(sparsities: Sequence[str]) -> dict[str, str]:
    """A colour a sparsity; dense is always the dark grey."""
    rest = [text for text in sparsities if text != "dense"]
    colours = {text: _SPARSITY[1 + i % (len(_SPARSITY) - 1)] for i, text in enumerate(rest)}
    return {"dense": _SPARSITY[0], **colours}


def bound_colours(bounds: Sequence[str]) -> dict[str, str]:
    """A colour for each bound, the same for the same name in every report."""
    return _named(bounds, _BOUND)


def kind_colours(kinds: Sequence[str]) -> dict[str, str]:
    """A colour for each op kind, the same for the same name in every report."""
    return _named(kinds, _KIND)


def component_colours(components: Sequence[str]) -> dict[str, str]:
    """A colour for each energy component in the order given; ``other`` is light grey."""
    named = [name for name in components if name != "other"]
    return {name: _COMPONENT[i % len(_COMPONENT)] for i, name in enumerate(named)} | {"other": OTHER}


def ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on ``colour`` (``#rrggbb``)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else "white"


def wrapped(name: str, width: int = 24) -> str:
    """``name`` on as few lines of at most ``width`` characters as it needs, of about equal length."""
    lines = len(_lines(name, width))
    narrower = next((n for n in range(8, width) if len(_lines(name, n)) <= lines), width)
    return "\n".join(_lines(name, narrower)) or name


def _lines(name: str, width: int) -> list[str]:
    return textwrap.wrap(name, width, break_on_hyphens=max(map(len, name.split()), default=0) > width)


def _named(names: Sequence[str], known: dict[str, str]) -> dict[str, str]:
    spare = [colour for colour in _SPARE if colour not in {known.get(name) for name in names}]
    unknown = sorted(name for name in names if name not in known)
    return {name: known[name] if name in known else spare[unknown.index(name) % len(spare)] for name in names}


@contextmanager
def figure_style() -> Iterator[None]:
    """matplotlib's settings inside the block, with the Agg backend's figures only."""
    import matplotlib as mpl

    settings: dict[str, Any] = {
        "font.family": "DejaVu Sans", "font.size": FONT_PT, "axes.titlesize": FONT_PT + 0.5,
        "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": FONT_PT, "axes.edgecolor": MUTED,
        "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.linewidth": 0.7,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
        "grid.color": GRID, "grid.linewidth": 0.6, "xtick.labelsize": SMALL_PT, "ytick.labelsize": SMALL_PT,
        "legend.fontsize": SMALL_PT, "legend.frameon": False, "hatch.linewidth": 0.6, "hatch.color": "white",
        "text.parse_math": False, "svg.fonttype": "path",
        "svg.hashsalt": "simsparse", "figure.facecolor": "white",
        "figure.constrained_layout.use": True, "lines.linewidth": 1.4, "lines.markersize": 5,
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield
