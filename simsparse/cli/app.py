# SPDX-License-Identifier: Apache-2.0
"""All commands under one name. A command's module is imported when the command is used."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from simsparse import __version__


class Subcommand(NamedTuple):
    """A command: the module of this package that has it, its function or group of commands there, and its help."""

    module: str
    name: str
    help: str


SUBCOMMANDS: Mapping[str, Subcommand] = {
    "trace": Subcommand(
        "workloads", "trace", "Extract a trace from a torch model, show one, or bring one from and to other tools."
    ),
    "models": Subcommand("workloads", "models", "The models that trace can extract, from their published shapes."),
    "estimate": Subcommand("simulation", "estimate", "Latency and energy of one operator on one part."),
    "cycles": Subcommand(
        "simulation", "cycles",
        "Cycles of every product with weights of a trace on an accelerator's cycle core, each alone (level 2).",
    ),
    "run": Subcommand(
        "simulation", "run",
        "Simulate one experiment; with --out also write its tables, timeline and resolved numbers.",
    ),
    "sweep": Subcommand("simulation", "sweep", "Run a sweep; what OUT holds already is not run again."),
    "report": Subcommand(
        "simulation", "report", "Draw the figures and the page of a sweep or of one run, into OUT/report."
    ),
    "compare": Subcommand(
        "simulation", "compare",
        "What tells two results or sweeps apart: inputs, by how much, what moved. Exit code 1 when they differ.",
    ),
    "serve": Subcommand(
        "serving", "serve",
        "Serve requests over time; with --out also write tables and figures. A file with axes is a sweep.",
    ),
    "crossover": Subcommand(
        "advice", "crossover",
        "Where does 2:4, or another way to hold weights, pay on this part for this layer, over tokens?",
    ),
    "cards": Subcommand("advice", "cards", "What would this model take on these cards under these software stacks?"),
    "headroom": Subcommand(
        "advice", "headroom",
        "Which kernel should I write? Ops ranked by the seconds between this stack and the card's bound.",
    ),
    "layouts": Subcommand(
        "advice", "layouts",
        "How should this model be laid out on these GPUs? Layouts that fit, ranked, and what bounds each.",
    ),
    "study": Subcommand(
        "study", "study",
        "Compare published systems with what the models say, and show how the answer moves with each assumed value.",
    ),
    "pruning": Subcommand(
        "pruning", "pruning",
        "Compare pruning patterns on trained models: bytes, speed-up, and the accuracy that they cost.",
    ),
    "density": Subcommand(
        "density", "density", "Draw all sparse engines over density, cycles of a multiplier each, with the crossovers."
    ),
    "design": Subcommand(
        "design", "design",
        "Which N:M pattern, array and buffers give these models the least energy-delay-area product, within limits?",
    ),
    "gain": Subcommand(
        "design", "gain",
        "What does an accelerator gain from N:M weights, with as many PEs and at the area of the dense one?",
    ),
    "dram": Subcommand(
        "dram", "dram", "Run a stream of accesses on a DRAM, command by command: time, row hits, commands and energy."
    ),
    "map": Subcommand(
        "mapping", "map_layers",
        "Tiling, loop order, split over the array and bypass of layers on an accelerator's memories.",
    ),
    "validate": Subcommand(
        "checks", "validate",
        "Compare the models with measured data by section: a file, or without --data the bundled references.",
    ),
    "schema": Subcommand("checks", "schema", "The JSON Schema of a YAML file, for editors; always JSON."),
    "doctor": Subcommand(
        "checks", "doctor", "What this machine has and lacks; exit code 1 when something needed is missing."
    ),
    "probe": Subcommand(
        "checks", "probe",
        "Measure this machine's GPU in the form that validate reads, which needs torch and CUDA; "
        "or with --cpu its CPU.",
    ),
    "hw": Subcommand("hardware", "app", "Parts and systems: list, show, check, fit."),
    "rtl": Subcommand("rtl", "app", "The SystemVerilog blocks: verify, export, synth, fmax, area, datapath."),
}  # fmt: skip


class Commands(TyperGroup):
    """Commands of ``SUBCOMMANDS``, each imported when it is asked for. Lists of them need no import."""

    _listing = False

    @property
    def commands(self) -> MutableMapping[str, Any]:
        """All commands by name."""
        return {name: _load(name) for name in SUBCOMMANDS}

    @commands.setter
    def commands(self, given: MutableMapping[str, Any]) -> None:
        """There are no others than those of ``SUBCOMMANDS``."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name not in SUBCOMMANDS:
            return None
        return TyperCommand(cmd_name, short_help=SUBCOMMANDS[cmd_name].help) if self._listing else _load(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_help(ctx, formatter)
        self._listing = False


def _load(name: str) -> Any:
    """The command or group called ``name``."""
    place = SUBCOMMANDS[name]
    found = getattr(import_module(f"simsparse.cli.{place.module}"), place.name)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name)(found)
        return typer.main.get_command(alone)
    group = typer.main.get_command(found)
    group.name = name
    return group


app = typer.Typer(
    name="simsparse",
    cls=Commands,
    help="How long a sparse model takes on a machine, what energy it costs, and why.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: to import rich takes longer than all else of this list
    pretty_exceptions_enable=False,
)


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
