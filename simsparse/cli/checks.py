"""Commands that check: validate, schema, doctor, probe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, emit_json, note, table
from simsparse.errors import SpecError, nearest

if TYPE_CHECKING:
    from simsparse.validate import ValidationReport


def validate(
    data: Annotated[Path | None, typer.Option("--data", help="Measured rows, JSON lines.")] = None,
    hw: Annotated[str | None, typer.Option("--hw", help="The part that was measured.")] = None,
    case: Annotated[
        list[str] | None, typer.Option("--case", help="A published result; may repeat; all: every one.")
    ] = None,
    pages: Annotated[Path | None, typer.Option("--pages", help="Folder for a page and a plot a case.")] = None,
    json: Json = False,
) -> None:
    """Compare the models with measured data by section (a file, or without --data the bundled references), or with
    published results (--case, --pages).

    Exit code 1 when a section or a case is beyond its tolerance.
    """
    if case or pages is not None:
        if data is not None or hw is not None:
            raise SpecError("--data belongs to measured rows; leave out --case and --pages")
        _validate_cases(() if not case or "all" in case else tuple(case), pages, json)
        return
    reports = _validations(data, hw)
    if json:
        emit_json(reports[0].to_dict() if data is not None else [report.to_dict() for report in reports])
    else:
        for report in reports:
            table(f"{report.hardware} against {report.file}", *report.table())
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def _validate_cases(names: tuple[str, ...], pages: Path | None, json: bool) -> None:
    from simsparse.validate import run_cases

    reports = run_cases(names)
    found = [report.to_dict() for report in reports]
    if pages is not None:
        from simsparse.report.cases import write_case_pages

        for page in write_case_pages(found, pages):
            note(f"written: {page}")
    if json:
        emit_json(found)
    else:
        rows = [(report.name, str(len(report.points)), f"{100 * report.mean_error:.1f} %",
                 f"{100 * report.worst.error:+.1f} % {report.worst.label}", report.verdict)
                for report in reports]  # fmt: skip
        table("published results", ("case", "points", "mean error", "worst", "verdict"), rows, right=("points",))
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def _validations(data: Path | None, hw: str | None) -> list[ValidationReport]:
    from simsparse.validate import validate_file, validate_references

    if (data is None) != (hw is None):
        raise SpecError("--data and --hw belong together; give both, or neither for the bundled references")
    return [validate_file(data, hw)] if data is not None and hw is not None else validate_references()


def schema(
    name: Annotated[str, typer.Argument(metavar="experiment|sweep|hardware")],
    kind: Annotated[str | None, typer.Option("--kind", help="Of hardware: only this part kind.")] = None,
    json: Json = True,
) -> None:
    """The JSON Schema of a YAML file, for editors; always JSON."""
    del json
    emit_json(_schema(name, kind))


def _schema(name: str, kind: str | None) -> Any:
    from simsparse.config.schema import SCHEMAS

    if name not in SCHEMAS:
        raise SpecError(f"{name!r} has no schema; {nearest(name, SCHEMAS)}")
    if kind is not None and name != "hardware":
        raise SpecError(f"a schema of {name} has no kinds; expected hardware", key="--kind")
    return SCHEMAS[name]() if kind is None else SCHEMAS[name](kind)


def doctor(json: Json = False) -> None:
    """What this machine has and lacks; exit code 1 when something needed is missing."""
    from simsparse.cli.doctor import findings

    found = findings()
    if json:
        emit_json([finding.__dict__ for finding in found])
    else:
        for finding in found:
            typer.echo(f"{finding.mark:8} {finding.name}: {finding.detail}")
    if any(finding.mark == "MISSING" for finding in found):
        raise typer.Exit(1)


def probe(
    out: Annotated[Path, typer.Option("--out", help="File to write, JSON lines.")],
    sections: Annotated[str, typer.Option("--sections", help="Comma-separated; all when empty.")] = "",
    limit_s: Annotated[float, typer.Option("--limit-s", min=1.0, help="Stop after this many seconds.")] = 3600.0,
    json: Json = False,
) -> None:
    """Measure this machine's GPU in the form that validate reads; needs torch and CUDA."""
    from simsparse.probe import SECTIONS, measure

    chosen = sections.split(",") if sections else list(SECTIONS)
    for section in chosen:
        if section not in SECTIONS:
            raise SpecError(f"{section!r} is not a section; {nearest(section, SECTIONS)}", key="--sections")
    _need_gpu()
    rows = measure(out, chosen, limit_s, note)
    if json:
        emit_json({"out": str(out), "rows": rows})
    else:
        note(f"{rows} rows written to {out}")


def _need_gpu() -> None:
    try:
        import torch
    except ImportError:
        raise SpecError("probe needs torch; install simsparse[torch]") from None
    if not torch.cuda.is_available():
        raise SpecError("probe needs a CUDA GPU; torch sees none")


COMMANDS = (validate, schema, doctor, probe)
