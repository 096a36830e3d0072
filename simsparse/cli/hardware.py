"""Commands on parts and systems: hw list, show, check."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from simsparse.cli.console import Json, emit_json, note, table
from simsparse.errors import SimsparseError

app = typer.Typer(help="Parts and systems: list, show, check.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A part or system, such as gpu/h100-sxm5-80gb, or a YAML file.")]


@app.command("list")
def list_parts(
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind: gpu, cpu, ..., systems.")] = None,
    json: Json = False,
) -> None:
    """All parts and systems."""
    from simsparse.config.hardware import load_system
    from simsparse.config.paths import part_names
    from simsparse.errors import SpecError, nearest

    names = part_names()
    kinds = {name.split("/")[0] for name in names}
    if kind is not None and kind not in kinds:
        raise SpecError(f"{kind!r} is not a kind of part; {nearest(kind, kinds)}", key="--kind")
    chosen = [name for name in names if kind is None or name.startswith(f"{kind}/")]
    rows = [(name, load_system(name).description) for name in chosen]
    if json:
        emit_json([{"name": name, "description": text} for name, text in rows])
    else:
        table("Parts and systems", ("name", "description"), rows)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Every value of a part or system, with its source and basis."""
    from simsparse.config.hardware import load_system

    system = load_system(name)
    values = [
        {"path": f"{part_name}.{path}", "value": quantity.text, "basis": str(quantity.basis),
         "source": quantity.source, "note": quantity.note}
        for part_name, part in system.parts().items()
        for path, quantity in part.quantities()
    ]  # fmt: skip
    if json:
        links = [{"name": link.name, "part": link.part.name, "between": link.between} for link in system.links]
        parts: dict[str, Any] = {device: part.name for device, part in system.devices.items()}
        emit_json({"name": system.name, "description": system.description, "fingerprint": system.fingerprint,
                   "devices": parts, "links": links, "values": values})  # fmt: skip
        return
    columns = ("path", "value", "basis", "source", "note")
    table(f"{system.name}: {system.description}", columns, [[row[column] for column in columns] for row in values])


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Parts, systems or YAML files; all when none.")] = None,
    json: Json = False,
) -> None:
    """Load parts and systems and list what is wrong; exit code 1 when something is."""
    from simsparse.config.paths import part_names

    checked = names or part_names()
    faults = [fault for name in checked if (fault := _fault(name)) is not None]
    if json:
        emit_json({"checked": len(checked), "faults": faults})
    else:
        for fault in faults:
            note(fault)
        typer.echo(f"{len(checked)} checked, {len(faults)} at fault")
    if faults:
        raise typer.Exit(1)


def _fault(name: str) -> str | None:
    from simsparse.config.hardware import load_system

    try:
        load_system(name)
    except SimsparseError as error:
        return str(error)
    return None
