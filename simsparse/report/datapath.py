"""Area and energy of a useful MAC over N:M, the N:M PE beside dense ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simsparse.report.plot import Plot, finish, panels
from simsparse.report.style import figure_style

SERIES = (
    ("nm", "N:M PE", "#0072B2"), ("dense_on_nm", "dense PE, same pruned weights", "#3b3b3b"),
    ("dense", "dense PE, unpruned weights", "#b0b0b0"),
)  # fmt: skip
BAR = 0.27


def datapath_plot(study: Mapping[str, Any]) -> Plot:
    """Two panels: area of a useful MAC a cycle in um2, and energy of a useful MAC in pJ."""
    rows = study["rows"]
    labels = [f"{row['n']}:{row['m']}" for row in rows]
    with figure_style():
        figure, (area, energy) = panels(2, 2.9)
        for place, (key, name, colour) in enumerate(SERIES):
            across = [i + (place - 1) * BAR for i in range(len(rows))]
            cells = [row[key] for row in rows]
            area.bar(across, [cell["area_um2"] / cell["useful_per_cycle"] for cell in cells], BAR, color=colour)
            energy.bar(across, [cell["energy_pj"] for cell in cells], BAR, color=colour, label=name)
        _dress(area, labels, "area / useful MAC a cycle (um²)")
        _dress(energy, labels, "energy / useful MAC (pJ)")
        finish(figure, _title(rows), energy.get_legend_handles_labels()[0])
    return Plot("datapath", "N:M datapath", _title(rows), CAPTION, figure)


CAPTION = (
    "int8 with 32-bit sums, SkyWater 130 nm typical, before placement. A dense PE has as "
    "many multipliers as the N:M PE beside it and spends M / N beats on a pruned group."
)


def _dress(axes: Any, labels: Sequence[str], name: str) -> None:
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel("weights kept, N:M")
    axes.set_ylabel(name)
    axes.grid(axis="x", visible=False)


def _title(rows: Sequence[Mapping[str, Any]]) -> str:
    row = next(row for row in rows if (row["n"], row["m"], row["bits"]) == (2, 4, 8))
    ratio = row["dense_on_nm"]["energy_pj"] / row["nm"]["energy_pj"]
    return f"A useful MAC at 2:4 takes {ratio:.2f} times less energy than in a dense PE on the same weights"
