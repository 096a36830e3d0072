# SPDX-License-Identifier: Apache-2.0
"""All commands under one name."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from simsparse import __version__
from simsparse.cli import (
    advice,
    checks,
    density,
    design,
    dram,
    hardware,
    mapping,
    pruning,
    rtl,
    serving,
    simulation,
    study,
    workloads,
)

app = typer.Typer(
    name="simsparse",
    help="How long a sparse model takes on a machine, what energy it costs, and why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _module in (workloads, simulation, serving, advice, study, pruning, density, design, dram, mapping, checks):
    for _command in _module.COMMANDS:
        app.command("map" if _command is mapping.map_layers else None)(_command)
app.add_typer(hardware.app, name="hw")
app.add_typer(rtl.app, name="rtl")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
) -> None:
    """How long a sparse model takes on a machine, what energy it costs, and why."""
    del version


def command() -> Any:
    """The command tree, ready to run."""
    return typer.main.get_command(app)
