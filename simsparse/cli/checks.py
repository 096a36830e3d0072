# SPDX-License-Identifier: Apache-2.0
"""Commands that check: validate, schema, doctor, probe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, emit_json, line, note, part_words, table
from simsparse.cli.progress import ProgressBar
from simsparse.errors import SpecError, nearest

if TYPE_CHECKING:
    from simsparse.validate import ValidationReport


def validate(
    data: Annotated[Path | None, typer.Option("--data", help="Measured rows, JSON lines.")] = None,
    hw: Annotated[
        str | None, typer.Option("--hw", autocompletion=part_words, help="The part that was measured.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Also write errors by class and size, and the worst rows (Markdown).")
    ] = None,
    accuracy: Annotated[
        Path | None,
        typer.Option("--accuracy", help="Also put the part's errors in this file (hw_models/accuracy.yaml)."),
    ] = None,
    in_sample: Annotated[bool, typer.Option("--in-sample", help="Rows of the file were fitted; noted there.")] = False,
    json: Json = False,
) -> None:
    """Compare the models with measured data by section: a file, or without --data the bundled references.

    Tables of DRAM runs (columns simulator, config, ticks, ...) and of mapped layers (mapping, gemmini_cycle, ...) need
    no --hw: their rows name the part.
    Exit code 1 when a section is beyond its tolerance. ``simsparse study`` compares with published results.
    """
    reports = _validations(data, hw)
    if page is not None:
        from simsparse.validate.accuracy import accuracy_page

        page.write_text(accuracy_page(reports), encoding="utf-8")
    if accuracy is not None:
        _write_accuracy(accuracy, reports, in_sample)
    if json:
        emit_json(reports[0].to_dict() if data is not None else [report.to_dict() for report in reports])
    else:
        for report in reports:
            table(f"{report.hardware} against {report.file}", *report.table())
            for section in report.sections:
                for fact, share in section.facts.items():
                    note(f"{section.name}: {fact}: {share:.1%}")
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def _write_accuracy(path: Path, reports: Sequence[ValidationReport], in_sample: bool) -> None:
    from simsparse.config.accuracy import merged_text, read_accuracies
    from simsparse.validate.accuracy import class_accuracies

    for report in reports:
        before = read_accuracies(path) if path.exists() else {}
        path.write_text(merged_text(before, report.hardware, class_accuracies(report, in_sample)), encoding="utf-8")


def _validations(data: Path | None, hw: str | None) -> list[ValidationReport]:
    from simsparse.validate import validate_file, validate_references
    from simsparse.validate.cent import is_cent_table, validate_cent
    from simsparse.validate.dram import is_dram_table, validate_dram
    from simsparse.validate.gemmini import is_gemmini_table, validate_gemmini
    from simsparse.validate.pim import is_pim_table, validate_pim

    if data is not None and hw is None and is_pim_table(data):
        return [validate_pim(data)]
    if data is not None and hw is None and is_cent_table(data):
        return [validate_cent(data)]
    if data is not None and hw is None and is_dram_table(data):
        return [validate_dram(data)]
    if data is not None and hw is None and is_gemmini_table(data):
        with ProgressBar("layers") as progress:
            return [validate_gemmini(data, progress)]
    if (data is None) != (hw is None):
        raise SpecError("--data and --hw belong together; give both, or neither for the bundled references")
    with ProgressBar("rows") as progress:
        if data is not None and hw is not None:
            return [validate_file(data, hw, progress)]
        return validate_references(progress)


def schema(
    name: Annotated[str, typer.Argument(metavar="experiment|sweep|study|hardware")],
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
            line(f"{finding.mark:8} {finding.name}: {finding.detail}")
    if any(finding.mark == "MISSING" for finding in found):
        raise typer.Exit(1)


def probe(
    out: Annotated[Path, typer.Option("--out", help="File to write, JSON lines.")],
    sections: Annotated[str, typer.Option("--sections", help="Comma-separated; all when empty.")] = "",
    limit_s: Annotated[float, typer.Option("--limit-s", min=1.0, help="Stop after this many seconds.")] = 3600.0,
    cpu: Annotated[bool, typer.Option("--cpu", help="Measure the processor, and write its part beside FILE.")] = False,
    extends: Annotated[
        str, typer.Option("--extends", help="With --cpu: the part that gives what is not measured.")
    ] = "cpu/epyc-7763",
    json: Json = False,
) -> None:
    """Measure this machine's GPU in the form that validate reads, which needs torch and CUDA; or with --cpu its CPU."""
    from simsparse.probe import SECTIONS, measure

    if cpu:
        _probe_cpu(out, limit_s, extends, json)
        return
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


def _probe_cpu(out: Path, limit_s: float, extends: str, json: bool) -> None:
    """Rows of this machine's CPU, a part made from them, and the part against the products among them."""
    from simsparse.probe.cpu import measure_cpu
    from simsparse.validate import validate_file
    from simsparse.validate.card import card_text
    from simsparse.validate.host_card import read_host
    from simsparse.validate.measurement import read_measurements

    count = measure_cpu(out, limit_s, note)
    rows = read_measurements(out)
    readings = read_host(rows)
    name = next(row.text("name") for row in rows if row.section == "env")
    part = out.with_suffix(".yaml")
    text = card_text(readings, extends, out.stem, f"{name}, from measured rows; the rest as {extends}", kind="cpu")
    part.write_text(text, encoding="utf-8")
    report = validate_file(out, str(part))
    if json:
        emit_json({"out": str(out), "rows": count, "part": str(part),
                   "readings": [each._asdict() for each in readings], "report": report.to_dict()})  # fmt: skip
        return
    table(f"{part}, over {extends}", ("path", "value", "how", "basis"), readings)
    table("The part against products that no value was read off", *report.table())


def _need_gpu() -> None:
    try:
        import torch
    except ImportError:
        raise SpecError("probe needs torch; install simsparse[torch]") from None
    if not torch.cuda.is_available():
        raise SpecError("probe needs a CUDA GPU; torch sees none")
