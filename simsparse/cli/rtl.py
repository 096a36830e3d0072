# SPDX-License-Identifier: Apache-2.0
"""Commands on the RTL: rtl verify, export, synth, fmax, area, datapath."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsparse.cli.console import Json, emit_json, note, table
from simsparse.cli.progress import ProgressBar

if TYPE_CHECKING:
    from simsparse.rtl.verify import Verification

app = typer.Typer(
    help="The SystemVerilog blocks: verify, export, synth, fmax, area, datapath.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def rtl() -> None:
    """The SystemVerilog blocks: verify, export, synth, fmax, area, datapath."""


@app.command()
def verify(
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="[MODULE]...", help="Such as nm_dot_pe; all when none is given.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="NAME=NUMBER", help="Of one module, instead of its parameter sets; may repeat."
        ),
    ] = None,
    tiles: Annotated[int, typer.Option("--tiles", min=1, help="Random tiles a parameter set.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Builds and simulations at a time.")] = 1,
    json: Json = False,
) -> None:
    """Random tiles with random stalls through each block: values bit-exact and cycles exact, or exit code 1.

    Coverage is apart: more tiles are drawn until every bin is met; one that is not is listed."""
    from simsparse.rtl.verify import blocks
    from simsparse.rtl.verify import verify as verify_blocks

    chosen = blocks(modules or ())
    if param:
        from simsparse.errors import SpecError
        from simsparse.rtl.varied import setting, varied

        if len(modules or ()) != 1:
            raise SpecError("--param needs one module, such as: rtl verify nm_dot_pe --param N=3", key="--param")
        chosen = [varied(chosen[0].module, dict(setting(text) for text in param))]
    with ProgressBar("parameter sets") as progress:
        results = verify_blocks(chosen, tiles, seed, jobs, progress)
    if json:
        emit_json([_record(result) for result in results])
    else:
        _show(results)
    if not all(result.verdict.passed for result in results):
        raise typer.Exit(1)


@app.command()
def synth(
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="[MODULE]...", help="Such as nm_dot_pe, at all its parameter sets.")
    ] = None,
    liberty: Annotated[
        Path | None, typer.Option("--liberty", exists=True, help="Other cells; SkyWater 130 nm by area when not given.")
    ] = None,
    json: Json = False,
) -> None:
    """Standard cells and their area, before placement: of named blocks at all their parameter sets, else of every
    block at its narrowest."""
    from simsparse.rtl.library import area_library
    from simsparse.rtl.synth import synthesise
    from simsparse.rtl.toolchain import build_root
    from simsparse.rtl.verify import blocks, narrowest

    root, chosen, rows = build_root() / "synth", blocks(modules) if modules else narrowest(), []
    library = liberty or area_library(root)
    with ProgressBar("parameter sets") as progress:
        for block in chosen:
            made = synthesise(block.module, block.parameters, library, root / block.name)
            rows.append((block.module, dict(block.parameters), made.cells, made.area, made.register_area))
            progress(len(rows), len(chosen), 0)
    columns = ("block", "parameters", "cells", "area_um2", "registers_um2")
    if json:
        emit_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    shown = [
        (name, " ".join(f"{key}={value}" for key, value in settings.items()), cells, f"{area:.0f}", f"{registers:.0f}")
        for name, settings, cells, area, registers in rows
    ]
    table(f"Cells of {library.stem}", ("block", "parameters", "cells", "area um2", "registers um2"), shown,
          right=("cells", "area um2", "registers um2"))  # fmt: skip


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="Folder of the sources and the manifests.")],
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="[MODULE]...", help="With what is inside; all when none is given.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Put before every module's name, such as acme_.")] = "",
    json: Json = False,
) -> None:
    """Sources for another project, with a FuseSoC core, a Bender manifest and a list of files."""
    from simsparse.rtl.package import export as export_rtl

    written = export_rtl(out, modules or (), prefix)
    if json:
        emit_json([str(path) for path in written])
    else:
        note(f"{len(written)} files written to {out}")


@app.command()
def fmax(
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="[MODULE]...", help="Of the table's blocks; all when none is given.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the table fmax.md.")] = Path("reports/out/rtl"),
    json: Json = False,
) -> None:
    """Clock of the blocks on an ECP5 FPGA, placed and routed: fmax.md. Needs the extra fpga."""
    from simsparse.errors import SpecError
    from simsparse.rtl.fmax import chosen, clocks, page
    from simsparse.rtl.toolchain import build_root

    picked = [block for block in chosen() if not modules or block.module in modules]
    if not picked:
        known = sorted({block.module for block in chosen()})
        raise SpecError(
            f"{' '.join(modules or ())}: not in the table; expected some of {', '.join(known)}", key="module"
        )
    with ProgressBar("blocks") as progress:
        found = clocks(picked, build_root() / "fmax", progress)
    out.mkdir(parents=True, exist_ok=True)
    (out / "fmax.md").write_text(page(found), encoding="utf-8")
    rows = [each.row() for each in found]
    if json:
        emit_json(rows)
        return
    table("Clocks on an ECP5", tuple(rows[0]), [tuple(str(value) for value in row.values()) for row in rows],
          right=tuple(rows[0])[2:])  # fmt: skip
    note(f"written to {out}")


@app.command()
def area(
    out: Annotated[Path, typer.Option("--out", help="Folder of the table and the plot.")] = Path("reports/out/rtl"),
    json: Json = False,
) -> None:
    """Cells and area of the PE over N:M and width, beside dense PEs: area.md and area.png."""
    from simsparse.report.pe_area import area_page, area_plot
    from simsparse.report.plot import save_plot
    from simsparse.rtl.area import COMMAND, pe_areas
    from simsparse.rtl.toolchain import build_root

    with ProgressBar("PEs") as progress:
        found = pe_areas(build_root() / "area", progress)
    dense = {(pe.n, pe.bits): pe for pe in found if not pe.m}
    rows = [{"pattern": f"{pe.n}:{pe.m}", "bits": pe.bits, "nm": pe.useful(pe.n / pe.m),
             "dense": dense[pe.n, pe.bits].useful(pe.n / pe.m)} for pe in found if pe.m]  # fmt: skip
    cells = [pe.row() for pe in found]
    out.mkdir(parents=True, exist_ok=True)
    save_plot(area_plot(rows), out, ("png",))
    (out / "area.md").write_text(area_page(rows, cells, COMMAND), encoding="utf-8")
    if json:
        emit_json({"cells": cells, "useful": rows})
        return
    table("Cells of SkyWater 130 nm", ("PE", "bits", "cells", "area um2", "registers um2"),
          [tuple(str(value) for value in row.values()) for row in cells], right=("cells", "area um2"))  # fmt: skip
    note(f"written to {out}")


@app.command()
def datapath(
    liberty: Annotated[Path, typer.Option("--liberty", exists=True, help="SkyWater 130 nm cells, timing and power.")],
    sta: Annotated[Path, typer.Option("--sta", help="OpenSTA's command; on Debian: the package opensta.")] = Path(
        "sta"
    ),
    out: Annotated[Path, typer.Option("--out", help="Folder of the figures, the plot and the parts.")] = Path(
        "reports/out/datapath"
    ),
    json: Json = False,
) -> None:
    """Area and energy of a useful MAC over N:M beside dense PEs: datapath.json, a plot, and parts for sweeps."""
    import shutil

    from simsparse.errors import SpecError
    from simsparse.report.datapath import datapath_plot
    from simsparse.report.plot import save_plot
    from simsparse.rtl.array_parts import array_parts
    from simsparse.rtl.datapath import Tools, study
    from simsparse.rtl.toolchain import build_root

    found = shutil.which(sta)
    if found is None:
        raise SpecError(f"{str(sta)!r} is no command; on Debian OpenSTA is the package opensta", key="--sta")
    with ProgressBar("patterns") as progress:
        figures = study(Tools(liberty, Path(found).resolve()), build_root() / "datapath", progress)
    out.mkdir(parents=True, exist_ok=True)
    (out / "datapath.json").write_text(dumps(figures, indent=1) + "\n", encoding="utf-8")
    for name, text in array_parts(figures).items():
        (out / name).write_text(text, encoding="utf-8")
    save_plot(datapath_plot(figures), out, ("png",))
    if json:
        emit_json(figures)
    else:
        note(f"written to {out}")


def _record(result: Verification) -> dict[str, object]:
    verdict = result.verdict
    return {
        "module": result.block.module, "parameters": dict(result.block.parameters), "passed": verdict.passed,
        "tiles": result.tiles, "beats": verdict.beats, "outputs": verdict.outputs, "cycles": verdict.cycles,
        "bins": verdict.bins, "missed": sorted(verdict.missed), "differences": list(verdict.differences),
    }  # fmt: skip


def _show(results: list[Verification]) -> None:
    columns = ("block", "parameters", "tiles", "beats", "outputs", "cycles", "coverage", "values and cycles")
    rows = []
    for result in results:
        verdict = result.verdict
        parameters = " ".join(f"{name}={value}" for name, value in result.block.parameters.items())
        rows.append((
            result.block.module, parameters, result.tiles, verdict.beats, verdict.outputs, verdict.cycles,
            f"{verdict.bins - len(verdict.missed)}/{verdict.bins}", "DIFFER" if verdict.differences else "equal",
        ))  # fmt: skip
    table("RTL against model and cycle core", columns, rows, right=columns[2:7])
    for result in results:
        for line in (*result.verdict.differences, *(f"not covered: {name}" for name in sorted(result.verdict.missed))):
            note(f"{result.block.name}: {line}")
