"""Commands on the RTL: rtl verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from simsparse.cli.console import Json, ProgressBar, emit_json, note, table

if TYPE_CHECKING:
    from simsparse.rtl.verify import Verification

app = typer.Typer(help="The SystemVerilog blocks: verify.", no_args_is_help=True)


@app.callback()
def rtl() -> None:
    """The SystemVerilog blocks: verify."""


@app.command()
def verify(
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="[MODULE]...", help="Such as nm_dot_pe; all when none is given.")
    ] = None,
    tiles: Annotated[int, typer.Option("--tiles", min=1, help="Random tiles a parameter set.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Builds and simulations at a time.")] = 1,
    json: Json = False,
) -> None:
    """Random tiles with random stalls through each block: values bit-exact and cycles exact, or exit code 1."""
    from simsparse.rtl.verify import blocks
    from simsparse.rtl.verify import verify as verify_blocks

    with ProgressBar("parameter sets") as progress:
        results = verify_blocks(blocks(modules or ()), tiles, seed, jobs, progress)
    if json:
        emit_json([_record(result) for result in results])
    else:
        _show(results)
    if not all(result.verdict.passed for result in results):
        raise typer.Exit(1)


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
