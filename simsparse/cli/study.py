# SPDX-License-Identifier: Apache-2.0
"""The command study: published systems beside what the models say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsparse.cli.console import Json, Out, emit_json, note, table
from simsparse.cli.progress import ProgressBar
from simsparse.errors import SpecError, nearest

if TYPE_CHECKING:
    from simsparse.studies import StudyOutcome

SHOWN_MOVES = 8
"""Moved values that a table shows for a claim, those of the largest effect first."""


def study(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Studies, YAML files of your own, or cases.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All studies and all cases.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the studies and cases; run nothing.")] = False,
    out: Out = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1024, help="Local processes.")] = 1,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when something is beyond its tolerance.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare published systems with what the models say, and show how the answer moves with each assumed value.

    With --out also write a page per system and an index; what OUT holds already is not run again.
    """
    if listed:
        _list(json)
        return
    studies, cases = _chosen(names or [], everything)
    outcomes, reports = _run(studies, cases, out, jobs)
    found = [outcome.to_dict() for outcome in outcomes]
    if out is not None:
        _write(found, reports, out)
    if json:
        emit_json({"studies": found, "cases": reports})
    else:
        _show(found, reports, everything)
    if strict and not (all(report["passed"] for report in reports) and _sound(outcomes)):
        raise typer.Exit(1)


def _chosen(names: Sequence[str], everything: bool) -> tuple[list[str], list[str]]:
    """The studies and the cases to run; a case that belongs to a study goes by the study's name too."""
    from simsparse.config.study import is_path, study_names
    from simsparse.validate import CASES

    known, cases = study_names(), list(CASES)
    if everything == bool(names):
        raise SpecError("name one study or more, or give --all or --list", key="study")
    if everything:
        return known, cases
    for name in names:
        if name not in known and name not in cases and not is_path(name):
            raise SpecError(f"{name!r} is no study and no case; {nearest(name, [*known, *cases])}", key="study")
    own = [name for name in names if name in known or is_path(name)]
    return own, [name for name in names if name not in own]


def _run(
    studies: list[str], cases: list[str], out: Path | None, jobs: int
) -> tuple[list[StudyOutcome], list[dict[str, Any]]]:
    from simsparse.studies import run_cases, run_studies

    bar = ProgressBar("runs")
    try:
        with bar as progress:
            outcomes = run_studies(studies, jobs, out, progress) if studies else []
            owned = {case for outcome in outcomes for case in outcome.cases}
            reports = run_cases(sorted({*cases, *owned}) if out else cases, out, progress)
    except KeyboardInterrupt:
        kept = f" are kept in {out}; the same command goes on" if out else ""
        note(f"interrupted: {bar.done} of {bar.total or 'all'} runs{kept}")
        raise
    return outcomes, reports


def _sound(outcomes: Sequence[StudyOutcome]) -> bool:
    from simsparse.studies import State

    return all(outcome.state not in (State.DEVIATES, State.FAILED) for outcome in outcomes)


def _write(found: Sequence[dict[str, Any]], reports: Sequence[dict[str, Any]], out: Path) -> None:
    from simsparse.report.studies import write_study_pages

    for page in write_study_pages(found, reports, out):
        note(f"written: {page}")


def _list(json: bool) -> None:
    from simsparse.config.study import load_study, study_names
    from simsparse.validate import CASES

    rows = []
    for name in study_names():
        study, _ = load_study(name)
        runs = sum(claim.run is not None for claim in study.claims)
        state = str(study.status.state) if study.status else f"{runs} of {len(study.claims)} claims run"
        rows.append((study.id, name, str(study.family), state))
    cases = list(CASES)
    if json:
        emit_json({"studies": [dict(zip(("id", "study", "family", "runs"), row, strict=True)) for row in rows],
                   "cases": cases})  # fmt: skip
        return
    table(f"{len(rows)} published systems", ("id", "study", "family", "what runs"), rows)
    note("cases: " + ", ".join(cases))


def _show(found: Sequence[dict[str, Any]], reports: Sequence[dict[str, Any]], everything: bool) -> None:
    if everything:
        _show_all(found)
    else:
        for each in found:
            _show_study(each)
    if reports:
        _show_cases(reports)


def _show_all(found: Sequence[dict[str, Any]]) -> None:
    from simsparse.report.study_text import compared, headline, moving, published, signed, simulated

    rows = [(each["id"], each["study"], each["state"], compared(each), published(claim), simulated(claim),
             signed(claim["deviation"]), moving(claim))
            for each in found for claim in [headline(each)]]  # fmt: skip
    columns = ("id", "study", "state", "claims run", "published", "simulated", "deviation", "range")
    table(f"{len(found)} published systems", columns, rows, columns[4:])


def _show_study(each: dict[str, Any]) -> None:
    from simsparse.report.study_text import moving, percent, published, reference, signed, simulated

    rows = [(claim["what"], published(claim), simulated(claim), signed(claim["deviation"]),
             percent(claim["tolerance"]), moving(claim), claim["outcome"]) for claim in each["claims"]]  # fmt: skip
    columns = ("claim", "published", "simulated", "deviation", "tolerance", "range", "outcome")
    table(f"{each['id']} {each['study']}: {each['state']}", columns, rows, columns[1:6])
    note(f"{each['title']}. {reference(each)}")
    for claim in each["claims"]:
        _show_moves(claim)
    for title, items in (("assumed", each["assumed"]), ("missing", each["missing"])):
        for item in items:
            note(f"{title}: {item}")
    if each["reason"]:
        note(f"nothing runs: {each['reason']}")


def _show_moves(claim: dict[str, Any]) -> None:
    from simsparse.report.study_text import NOTHING, figure

    moved = sorted((item for item in claim["moved"] if item["swing"] >= 1e-3), key=lambda item: -item["swing"])
    if not moved:
        return

    def end(value: float | None) -> str:
        return NOTHING if value is None else figure(value, claim["unit"])

    rows = [(f"{item['part']}: {item['path']}", item["value"], end(item["halved"]), end(item["doubled"]))
            for item in moved[:SHOWN_MOVES]]  # fmt: skip
    refused = sum(bool(item["refusals"]) for item in claim["moved"])
    counts = f"{len(moved)} of {len(claim['moved'])} assumed values move it, {refused} can't be moved both ways"
    columns = ("assumed value", "as it is", "halved", "doubled")
    table(f"{claim['what']}: {counts}", columns, rows, columns[2:])


def _show_cases(reports: Sequence[dict[str, Any]]) -> None:
    rows = []
    for report in reports:
        errors = [point["error"] for point in report["points"]]
        worst = max(report["points"], key=lambda point: abs(point["error"]))
        rows.append((report["case"], str(len(errors)), f"{100 * sum(map(abs, errors)) / len(errors):.1f} %",
                     f"{100 * worst['error']:+.1f} % {worst['label']}", report["verdict"]))  # fmt: skip
    table("cases", ("case", "points", "mean error", "worst", "verdict"), rows, right=("points",))
