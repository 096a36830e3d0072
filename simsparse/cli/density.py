# SPDX-License-Identifier: Apache-2.0
"""The command that compares all sparse engines over density: density."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simsparse.cli.console import Json, emit_json, note, table
from simsparse.cli.progress import ProgressBar


def density(
    out: Annotated[Path, typer.Option("--out", help="Folder of the page and its plots.")],
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="The product is SIZE cubed; else as large as each part needs.")
    ] = None,
    part: Annotated[list[str] | None, typer.Option("--part", help="A part, such as accel/gamma; may repeat.")] = None,
    json: Json = False,
) -> None:
    """Draw all sparse engines over density, cycles of a multiplier each, with the crossovers."""
    from simsparse.report.density import DENSITIES, FAMILIES, crossovers, dense_arrays, density_curves
    from simsparse.report.density_page import write_density_report

    with ProgressBar("parts") as progress:
        curves, absent = density_curves(size, DENSITIES, part or (), progress)
    page = write_density_report(curves, dense_arrays(size), absent, size, out)
    best = {family: rows for family in FAMILIES if (rows := crossovers(curves, family))}
    if json:
        emit_json({"page": str(page), "least": best, "absent": absent})
        return
    for family, rows in best.items():
        table(family, ("density", "least", "multiplier cycles per dense MAC"),
              [(f"{at:g}", name, f"{slots:.3g}") for at, name, slots in rows])  # fmt: skip
    for name, reason in absent.items():
        note(f"not drawn: {name}: {reason}")
    note(f"written to {page}")
