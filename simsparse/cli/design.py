# SPDX-License-Identifier: Apache-2.0
"""Commands that ask about designs of accelerators: design, gain."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simsparse.cli.console import Json, emit_json, note, part_words, si, table
from simsparse.cli.progress import ProgressBar
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.advice.designs import DesignPoint
    from simsparse.core import Trace

Design = Annotated[str, typer.Option("--hw", autocompletion=part_words, help="An accelerator with a section silicon.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Run all products in this element type.")]
PART = "accel/nm-array-16nm"


def design(
    traces: Annotated[list[Path], typer.Argument(help="Trace files: the models that the design is for.")],
    hw: Design = PART,
    patterns: Annotated[str, typer.Option("--patterns", help="Comma-separated: dense, N:M.")] = "dense,2:4,1:4,2:8",
    sides: Annotated[str, typer.Option("--sides", help="Comma-separated rows and columns of the array.")] = (
        "16,32,64,128"
    ),
    buffers: Annotated[str, typer.Option("--buffers", help="Comma-separated KiB of each buffer.")] = "64,256,512,1024",
    area: Annotated[float | None, typer.Option("--area", min=0.0, help="mm2 at most.")] = None,
    power: Annotated[float | None, typer.Option("--power", min=0.0, help="W at most, DRAM accesses included.")] = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Which N:M pattern, array and buffers give these models the least energy-delay-area product, within limits?

    Exit code 1 when no design is within them.
    """
    from simsparse.advice.designs import best_design

    limits = math.inf if area is None else area, math.inf if power is None else power
    with ProgressBar("designs") as progress:
        found = best_design(_traces(traces, dtype), hw, patterns.split(","), _wholes(sides, "--sides"),
                            _wholes(buffers, "--buffers"), *limits, progress)  # fmt: skip
    if json:
        emit_json({"points": [each.to_dict() for each in found.points], "best": found.best and found.best.to_dict(),
                   "front": [each.to_dict() for each in found.front], "sensitivity": found.sensitivity,
                   "given_up": found.given_up})  # fmt: skip
    elif found.best is not None:
        columns = ("", "pattern", "array", "buffers", "mm2", "W", "EDP", "EDP x area")
        rows = [_row("best" if each is found.best else "", each) for each in found.front]
        rows += [] if found.best in found.front else [_row("best", found.best)]
        table(f"Front of {len(found.points)} designs on {hw}", columns, rows, right=columns[4:])
        steps = [(name, value, f"{ratio:.2f}", f"{mm2:.3g}", f"{watts:.3g}")
                 for name, value, ratio, mm2, watts in found.sensitivity]  # fmt: skip
        table("One step away from the best", ("choice", "value", "EDP x area", "mm2", "W"), steps)
        for name, ratio in found.given_up.items():
            said = "both limits cost" if name == "both" else f"the limit of {name} costs"
            note(f"{said} {ratio:.2f} times the energy x delay x area of the best design without")
    if found.best is None:
        note("no design is within the limits")
        raise typer.Exit(1)


def _row(mark: str, each: DesignPoint) -> tuple[str, ...]:
    return (mark, each.pattern, f"{each.side} x {each.side}", f"{each.buffer_kib} KiB", f"{each.area_mm2:.3g}",
            f"{each.power_w:.3g}", si(each.edp, "Js"), f"{each.score:.3g}")  # fmt: skip


def gain(
    trace: Annotated[Path, typer.Argument(help="A trace file.")],
    sparsity: Annotated[str, typer.Option("--sparsity", help="N:M patterns, comma-separated.")] = "2:4",
    hw: Design = PART,
    side: Annotated[int, typer.Option("--side", min=1, max=1024, help="Rows and columns of the dense array.")] = 32,
    buffer: Annotated[int, typer.Option("--buffer", min=1, help="KiB of each buffer.")] = 512,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """What does an accelerator gain from N:M weights, with as many PEs and at the area of the dense one?"""
    from simsparse.advice.designs import gain_at_equal_area

    (loaded,) = _traces([trace], dtype)
    found = [gain_at_equal_area(loaded, hw, each, side, buffer) for each in sparsity.split(",")]
    if json:
        emit_json([each.__dict__ for each in found])
        return
    rows = [
        (each.pattern, f"{each.dense_area_mm2:.3g}", f"{each.sparse_area_mm2:.3g}", f"{each.speed_same_array:.2f}x",
         f"{each.energy_same_array:.2f}x", f"{each.rows} x {side}", f"{each.speed_same_area:.2f}x",
         f"{each.energy_same_area:.2f}x")
        for each in found
    ]  # fmt: skip
    columns = ("pattern", "dense mm2", "mm2", "speed", "energy", "array of equal area", "speed there", "energy there")
    table(f"{loaded.name} on {hw}: dense over sparse", columns, rows, right=columns[1:])


def _traces(paths: list[Path], dtype: str | None) -> list[Trace]:
    from simsparse.advice.designs import renamed
    from simsparse.trace.file import load_trace

    loaded = [load_trace(path) for path in paths]
    return renamed([each.with_dtype(dtype) for each in loaded] if dtype else loaded)


def _wholes(text: str, key: str) -> list[int]:
    words = text.split(",")
    if not all(word.strip().isdecimal() and 0 < int(word) <= 65536 for word in words):
        raise SpecError(f"{text!r} is not a list of whole numbers from 1 to 65536", key=key)
    return sorted({int(word) for word in words})
