# SPDX-License-Identifier: Apache-2.0
"""Area of the PE over N:M and width: a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simsparse.report.plot import Plot, finish, panels
from simsparse.report.style import figure_style

NM, DENSE = "#0072B2", "#3b3b3b"
BAR = 0.38

AreaRow = Mapping[str, Any]


def area_plot(rows: Sequence[AreaRow]) -> Plot:
    """A panel a width: area of a useful MAC a cycle, of the N:M PE and of a dense PE with as many multipliers.

    Rows hold ``pattern``, ``bits``, and um2 a useful MAC a cycle as ``nm`` and ``dense``.
    """
    widths = sorted({row["bits"] for row in rows})
    with figure_style():
        figure, axes = panels(len(widths), 2.6, columns=len(widths))
        for panel, bits in zip(axes, widths, strict=True):
            own = [row for row in rows if row["bits"] == bits]
            places = range(len(own))
            panel.bar([i - BAR / 2 for i in places], [row["nm"] / 1000 for row in own], BAR, color=NM, label="N:M PE")
            panel.bar([i + BAR / 2 for i in places], [row["dense"] / 1000 for row in own], BAR, color=DENSE,
                      label="dense PE, zeros multiplied too")  # fmt: skip
            panel.set_xticks(places, [row["pattern"] for row in own], rotation=60)
            panel.set_title(f"{bits} bits", loc="left", fontsize=9)
            panel.grid(axis="x", visible=False)
        axes[0].set_ylabel("area / useful MAC a cycle\n(1,000 um²)")
        title = _title(rows)
        finish(figure, title, axes[0].get_legend_handles_labels()[0])
    return Plot("area", "Area of a PE", title, CAPTION, figure)


CAPTION = "SkyWater 130 nm by area, before placement; sums of two operands' width and 16 bits."


def area_page(rows: Sequence[AreaRow], cells: Sequence[AreaRow], command: str) -> str:
    """The table as Markdown."""
    lines = ["# Cells and area of the PE", "", f"{CAPTION} Remade by `{command}`.", "", "![area](area.png)", "",
             "| PE | bits | cells | area, um2 | of it registers, um2 |", "| --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [f"| {c['pe']} | {c['bits']} | {c['cells']:,} | {c['area_um2']:,} | {c['registers_um2']:,} |"
              for c in cells]  # fmt: skip
    lines += ["", "Area of a useful MAC (its weight was kept) a cycle. The dense PE has as many multipliers as the",
              "N:M PE and multiplies the zeros too.", "",
              "| pattern | bits | N:M, um2 | dense, um2 | dense over N:M |",
              "| --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [f"| {r['pattern']} | {r['bits']} | {r['nm']:,.0f} | {r['dense']:,.0f} | {r['dense'] / r['nm']:.2f} |"
              for r in rows]  # fmt: skip
    return "\n".join([*lines, ""])


def _title(rows: Sequence[AreaRow]) -> str:
    row = next(row for row in rows if (row["pattern"], row["bits"]) == ("2:4", 8))
    return f"A useful int8 MAC at 2:4 takes {row['dense'] / row['nm']:.2f} times less area than in a dense PE"
