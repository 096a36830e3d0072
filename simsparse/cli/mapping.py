# SPDX-License-Identifier: Apache-2.0
"""The command that maps layers onto a hierarchy of memories: map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsparse.cli.console import Json, emit_json, part_words, si, table
from simsparse.errors import SpecError, nearest

if TYPE_CHECKING:
    from simsparse.core import Op
    from simsparse.devices.mapping import MappedOp


def map_layers(
    op: Annotated[
        list[str] | None,
        typer.Argument(metavar="OP KEY=VALUE...", help="linear m=512 n=4096 k=4096, or with --trace none."),
    ] = None,
    hw: Annotated[
        str,
        typer.Option("--hw", autocompletion=part_words, help="A part of kind spatial."),
    ] = "spatial/gemmini-16x16",
    trace: Annotated[Path | None, typer.Option("--trace", help="Map every product and convolution of a trace.")] = None,
    objective: Annotated[str, typer.Option("--objective", help="latency, energy or edp (their product).")] = "latency",
    dtype: Annotated[str | None, typer.Option("--dtype", help="Run all products in this element type.")] = None,
    json: Json = False,
) -> None:
    """Tiling, loop order, split over the array and bypass of layers on an accelerator's memories."""
    from simsparse.devices.mapping import map_ops
    from simsparse.mapper.search import MappingObjective

    if objective not in list(MappingObjective):
        raise SpecError(
            f"{objective!r} is not an objective; {nearest(objective, list(MappingObjective))}", key="--objective"
        )
    ops = _ops(op or [], trace)
    found = map_ops([each.with_(dtype=dtype) for each in ops] if dtype else ops, hw, objective)
    if json:
        emit_json({"part": hw, "objective": objective, "layers": [each.to_dict() for each in found]})
        return
    for each in found if trace is None else ():
        table(f"{each.name} on {hw}", ("level", "loops"), [line.split(": ", 1) for line in each.lines])
    columns = ("layer", "times", "cycles", "time", "energy", "array used", "mappings")
    table(f"Best mappings by {objective}", columns, [_row(each) for each in found], right=columns[1:])


def _row(each: MappedOp) -> tuple[str, ...]:
    how = f"{each.evaluated:,}" + ("" if each.all_of_them else " tried")
    return (each.name, str(each.times), f"{each.cycles:,.0f}", si(each.latency_s, "s"), si(each.energy_j, "J"),
            f"{each.utilization:.1%}", how)  # fmt: skip


def _ops(words: list[str], trace: Path | None) -> list[Op]:
    """The operator of the words, or the products of a trace."""
    from simsparse.cli.operator import operator

    if bool(words) == (trace is not None):
        raise SpecError("give an operator or --trace, one of the two")
    if trace is None:
        return [operator(words)]
    from simsparse.core import Unit
    from simsparse.trace.file import load_trace

    return [op for op in load_trace(trace).ops if op.unit is Unit.MATRIX]
