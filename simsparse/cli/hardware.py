# SPDX-License-Identifier: Apache-2.0
"""Commands on parts and systems: hw list, show, check, fit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from simsparse.cli.console import Json, emit_json, line, note, part_words, table

app = typer.Typer(help="Parts and systems: list, show, check, fit.", no_args_is_help=True, add_completion=False)
PartArgument = Annotated[
    str,
    typer.Argument(autocompletion=part_words, help="A part or system, such as gpu/h100-sxm5-80gb, or a YAML file."),
]


@app.command("list")
def list_parts(
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind: gpu, cpu, ..., systems.")] = None,
    json: Json = False,
) -> None:
    """All parts and systems, with what their numbers rest on."""
    from simsparse.config.catalogue import listing

    entries = listing(kind)
    if json:
        emit_json([asdict(entry) for entry in entries])
        return
    rows = [
        (entry.name, entry.description, ", ".join(f"{count} {basis}" for basis, count in entry.bases.items()))
        for entry in entries
    ]
    table("Parts and systems", ("name", "description", "numbers by basis"), rows)


@app.command()
def show(name: PartArgument, json: Json = False) -> None:
    """Every value of a part or system, with its source and basis."""
    from simsparse.config.catalogue import values
    from simsparse.config.hardware import load_system

    system, found = load_system(name), values(name)
    if json:
        devices = {device: part.name for device, part in system.devices.items()}
        links = [{"name": link.name, "part": link.part.name, "between": link.between} for link in system.links]
        emit_json({"name": system.name, "description": system.description, "fingerprint": system.fingerprint,
                   "devices": devices, "links": links, "values": [asdict(value) for value in found]})  # fmt: skip
        return
    cited = dict.fromkeys(value.source for value in found if value.source)
    number = {source: str(i) for i, source in enumerate(cited, start=1)}
    rows = [(value.path, value.text, value.basis, number.get(value.source or "", ""), value.note) for value in found]
    table(f"{system.name}: {system.description}", ("path", "value", "basis", "source", "note"), rows)
    table("Sources", ("source", "citation"), [(number[source], source) for source in cited])


@app.command()
def area(
    name: PartArgument,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A value in place of the file's; may repeat.")
    ] = None,
    json: Json = False,
) -> None:
    """Area, leakage and clocks of an accelerator's components, prices of its actions, cost and carbon of its die."""
    from simsparse.cli.simulation import pairs
    from simsparse.config.hardware import load_hardware
    from simsparse.errors import SpecError

    part = load_hardware(name, pairs(changes or []))
    plan = getattr(part, "floorplan", None)
    if plan is None:
        raise SpecError(f"{part.name} has no section silicon, from which its area would follow", key="silicon")
    found = plan.to_dict()
    if json:
        emit_json({"part": part.name, **found})
        return
    rows = [(each.name, f"{each.area_mm2:.3g}", f"{each.leakage_w:.3g}", f"{each.clock_w:.3g}")
            for each in plan.components]  # fmt: skip
    rows.append(("all", f"{plan.area_mm2:.3g}", f"{sum(each.leakage_w for each in plan.components):.3g}",
                 f"{sum(each.clock_w for each in plan.components):.3g}"))  # fmt: skip
    columns = ("component", "mm2", "leakage W", "clocks W")
    table(f"{part.name} in {plan.node_nm:g} nm", columns, rows, right=columns[1:])
    prices = [(f"MAC of {dtype}", f"{joules * 1e12:.3g} pJ") for dtype, joules in plan.mac_j.items()]
    prices += [("byte of on-chip memory", f"{plan.sram_byte_j * 1e12:.3g} pJ"), ("die", f"{found['die_usd']:.3g} USD")]
    if found["die_co2_kg"] is not None:
        prices.append(("die, embodied", f"{found['die_co2_kg']:.3g} kg CO2"))
    table("What follows", ("", "each"), prices, right=("each",))


def _without_model(names: list[str]) -> list[str]:
    """Faults that only the device models see, such as a dataflow that nobody registered."""
    from simsparse.config.hardware import LINK_PARTS, load_system
    from simsparse.devices.base import device_for
    from simsparse.errors import SpecError

    faults = []
    for name in names:
        try:
            for part in load_system(name).devices.values():
                if part.kind not in LINK_PARTS:
                    device_for(part)
        except SpecError as error:
            faults.append(f"{name}: {error}")
    return faults


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(autocompletion=part_words, help="Parts, systems or YAML files; all when none.")
    ] = None,
    json: Json = False,
) -> None:
    """Load parts and systems and list what is wrong; exit code 1 when something is."""
    from simsparse.config.catalogue import check as check_parts
    from simsparse.config.paths import own_part_names, part_names

    checked = names or [*part_names(), *own_part_names()]
    faults = [str(fault) for fault in check_parts(names or None)] or _without_model(checked)
    count = len(checked)
    if json:
        emit_json({"checked": count, "faults": faults})
    else:
        for fault in faults:
            note(fault)
        line(f"{count} checked, {len(faults)} at fault")
    if faults:
        raise typer.Exit(1)


@app.command()
def fit(
    data: Annotated[Path, typer.Option("--data", help="Rows that simsparse probe wrote.")],
    extends: Annotated[str, typer.Option("--extends", help="The part that the card is most like.")],
    out: Annotated[Path, typer.Option("--out", help="YAML file of the new part.")],
    stated: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A value of the card's data sheet; may repeat."),
    ] = None,
    page: Annotated[Path | None, typer.Option("--page", help="Also write the fit beside the measurements.")] = None,
    json: Json = False,
) -> None:
    """Write a part for your own card: what its measured rows say, over another part that it extends."""
    from simsparse.cli.simulation import pairs
    from simsparse.validate import validate_file
    from simsparse.validate.accuracy import accuracy_page
    from simsparse.validate.card import card_text, read_card
    from simsparse.validate.measurement import read_measurements

    rows = read_measurements(data)
    readings = read_card(rows, extends, pairs(stated or []))
    card = next((str(row.fields["name"]) for row in rows if row.section == "env" and "name" in row.fields), "a card")
    text = card_text(readings, extends, data.stem, f"{card}, from measured rows; the rest as {extends}")
    out.write_text(text, encoding="utf-8")
    report = validate_file(data, str(out))
    if page is not None:
        page.write_text(accuracy_page([report]), encoding="utf-8")
    if json:
        emit_json({"part": str(out), "readings": [each._asdict() for each in readings], "report": report.to_dict()})
        return
    table(f"{out}, over {extends}", ("path", "value", "how", "basis"), readings)
    table("The new part against the rows that it was made from", *report.table())
