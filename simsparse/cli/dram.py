# SPDX-License-Identifier: Apache-2.0
"""The command that runs a DRAM at command level."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simsparse.cli.console import Json, emit_json, table
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.dram import DramRun

MAX_BYTES = 2**62


def dram(
    part: Annotated[str, typer.Argument(help="A memory part, or a configuration file of Ramulator 2.")],
    pattern: Annotated[str, typer.Option("--pattern", help="seq, stride or random.")] = "seq",
    size: Annotated[str, typer.Option("--bytes", help="Bytes in all, such as 65536 or 1 MiB.")] = "1 MiB",
    stride: Annotated[str, typer.Option("--stride", help="Bytes from one access to the next.")] = "0",
    rw: Annotated[str, typer.Option("--rw", help="r, w, or mix (every third access writes).")] = "r",
    mapping: Annotated[
        str, typer.Option("--mapping", help="bgil, robaraco, or levels from the lowest bits on.")
    ] = "bgil",
    refresh: Annotated[str, typer.Option("--refresh", help="on, off, all-bank, per-bank or same-bank.")] = "on",
    channels: Annotated[str, typer.Option("--channels", help="A number, or all of the part.")] = "1",
    region: Annotated[str | None, typer.Option("--region", help="Bytes over which accesses spread.")] = None,
    trace: Annotated[Path | None, typer.Option("--trace", help="A file of addresses instead of a pattern.")] = None,
    hit_cap: Annotated[int | None, typer.Option("--hit-cap", help="Hits of a row before older requests go.")] = None,
    close_after: Annotated[int | None, typer.Option("--close-after", help="Accesses before a row is closed.")] = None,
    commands: Annotated[Path | None, typer.Option("--commands", help="Write every command to this CSV file.")] = None,
    json: Json = False,
) -> None:
    """Run a stream of accesses on a DRAM, command by command: time, row hits, commands and energy."""
    from simsparse.dram import ControllerPolicy, dram_stream

    run = dram_stream(
        part, pattern, _bytes(size, "--bytes"), stride=_bytes(stride, "--stride"), rw=rw, mapping=mapping,
        refresh={"on": True, "off": False}.get(refresh, refresh), channels=_channels(channels),
        region=None if region is None else _bytes(region, "--region"), trace=trace, log=commands is not None,
        policy=None if hit_cap is None is close_after else ControllerPolicy(hit_cap=hit_cap, close_after=close_after),
    )  # fmt: skip
    if commands is not None:
        _write(commands, run)
    if json:
        emit_json(run.to_dict())
    else:
        table(f"{run.device}, {run.channels} of its channels", ("", "value"), _rows(run))


def _bytes(text: str, option: str) -> int:
    """A number of bytes, plain or with a unit. Raises SpecError."""
    from simsparse.units import parse_quantity

    try:
        size = parse_quantity(f"{text} byte" if text.strip().isdecimal() else text, "byte")
    except ValueError as error:
        raise SpecError(str(error), key=option) from None
    if not 0 <= size < MAX_BYTES:
        raise SpecError(f"{text!r:.60} is not from 0 to {MAX_BYTES} bytes", key=option)
    return round(size)


def _channels(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if not (text.isdecimal() and len(text) < 10):
        raise SpecError(f"{text!r:.60} is not a number, or all", key="--channels")
    return int(text)


def _rows(run: DramRun) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [
        ("ticks", run.ticks), ("time", f"{run.ns:.1f} ns"), ("bytes", run.bytes),
        ("bandwidth", f"{run.bytes_per_s / 1e9:.3f} GB/s"), ("share of peak", f"{run.share_of_peak:.4f}"),
        ("row hits", run.row_hits), ("row misses", run.row_misses), ("row conflicts", run.row_conflicts),
        ("mean read latency", f"{run.read_latency_ticks:.1f} ticks"),
    ]  # fmt: skip
    rows += [(name, count) for name, count in run.commands.items()]
    return rows + [(f"energy: {name}", f"{joules * 1e9:.2f} nJ") for name, joules in run.energy_j.items()]


def _write(path: Path, run: DramRun) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("tick", "channel", "command", "bank", "row", "column"))
        writer.writerows(run.log)
