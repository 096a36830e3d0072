# SPDX-License-Identifier: Apache-2.0
"""Area and energy of a useful MAC over N:M, the N:M PE beside dense ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simsparse.report.plot import Plot, finish, panels
from simsparse.report.style import figure_style

SERIES = (
    ("dense_on_nm", "dense PE, same pruned weights", "#3b3b3b", "s"),
    ("dense", "dense PE, unpruned weights", "#a0a0a0", "_"), ("nm", "N:M PE", "#0072B2", "o"),
)  # fmt: skip


def datapath_plot(study: Mapping[str, Any]) -> Plot:
    """A column a width: area of a useful MAC a cycle in um2, and below it energy of a useful MAC in pJ."""
    from matplotlib.ticker import LogLocator, NullFormatter

    widths = sorted({row["bits"] for row in study["rows"]})
    with figure_style():
        figure, axes = panels(2 * len(widths), 2.3, columns=len(widths))
        for bits, area, energy in zip(widths, axes, axes[len(widths) :], strict=False):
            rows = [row for row in study["rows"] if row["bits"] == bits]
            for key, name, colour, marker in SERIES:
                cells = [row[key] for row in rows]
                areas = [cell["area_um2"] / cell["useful_per_cycle"] / 1000 for cell in cells]
                size = 11 if marker == "_" else 4.5
                area.plot(areas, marker, color=colour, markersize=size, label=name)
                energy.plot([cell["energy_pj"] for cell in cells], marker, color=colour, markersize=size)
            for panel in (area, energy):
                panel.set_xticks(range(len(rows)), [f"{row['n']}:{row['m']}" for row in rows], rotation=60)
                panel.set_yscale("log")
                panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.yaxis.set_major_formatter("{x:g}")
                panel.yaxis.set_minor_formatter(NullFormatter())
                panel.margins(x=0.08, y=0.12)
            area.set_title(f"{bits} bits", loc="left", fontsize=9)
        axes[0].set_ylabel("area / useful MAC a cycle\n(1,000 um²)")
        axes[len(widths)].set_ylabel("energy / useful MAC (pJ)")
        title = _title(study["rows"])
        finish(figure, title, axes[0].get_legend_handles_labels()[0])
    return Plot("datapath", "N:M datapath", title, CAPTION, figure)


CAPTION = (
    "SkyWater 130 nm typical, before placement, logarithmic; sums of two operands' width and 16 bits. A dense PE has "
    "as many multipliers as the N:M PE beside it and spends M / N beats on a pruned group."
)


def _title(rows: Sequence[Mapping[str, Any]]) -> str:
    row = next(row for row in rows if (row["n"], row["m"], row["bits"]) == (2, 4, 8))
    ratio = row["dense_on_nm"]["energy_pj"] / row["nm"]["energy_pj"]
    return f"A useful int8 MAC at 2:4 takes {ratio:.2f} times less energy than in a dense PE on the same weights"
