# SPDX-License-Identifier: Apache-2.0
"""Pages of studies: one in Markdown per published system, and an index of all in Markdown and HTML."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from simsparse.report.cases import case_row, write_case_pages
from simsparse.report.study_cause import carried
from simsparse.report.study_index import write_study_index
from simsparse.report.study_text import (
    NOTHING,
    STATES,
    Data,
    compared,
    figure,
    headline,
    moving,
    percent,
    published,
    reference,
    run_text,
    signed,
    simulated,
    source,
)  # fmt: skip

SHOWN_MOVES = 12
"""Moves that a page lists for a claim, those of the largest effect first."""
SMALL = 1e-3
"""Effects below this share are counted and not listed."""
CASES_FOLDER = "cases"
ENDS = ("halved", "doubled")
COLUMNS = ("id", "system", "family", "state", "claims run")


def write_study_pages(studies: Sequence[Data], cases: Sequence[Data], folder: Path) -> list[Path]:
    """One page per study, pages of cases under cases/, and index.md and index.html; returns all pages.

    ``studies`` are StudyOutcome.to_dict(), ``cases`` CaseReport.to_dict() of every case, those of studies too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = []
    for study in studies:
        pages.append(folder / f"{study['study']}.md")
        pages[-1].write_text(study_page(study), encoding="utf-8")
    pages += write_case_pages(cases, folder / CASES_FOLDER)
    owned = {case for study in studies for case in study["cases"]}
    references = [case for case in cases if case["case"] not in owned]
    pages.append(folder / "index.md")
    pages[-1].write_text(index_markdown(studies, references), encoding="utf-8")
    pages.append(write_study_index(studies, references, folder / "index.html"))
    return pages


def index_markdown(studies: Sequence[Data], references: Sequence[Data]) -> str:
    """All systems in one table, and the simulators and accelerators that are compared beside them."""
    rows = [[study["id"], f"[{_cell(study['title'])}]({study['study']}.md)", study["family"], study["state"],
             compared(study), *_figures(headline(study))] for study in studies]  # fmt: skip
    counts = Counter(study["state"] for study in studies)
    states = [[state, str(counts[state]), meaning] for state, meaning in STATES.items() if counts[state]]
    lines = [
        "# Published systems and what the models say", "",
        "Made by `simsparse study --all --out reports/studies`; `index.html` is the same table to search and sort. "
        "Each row shows the first claim that is run; deviation is simulated over published, less one. The range is "
        "what the simulated value becomes when each value that a part's file marks as assumed is halved and doubled, "
        "one at a time, as far as the runs read it; where it is –, no value was moved.", "",
        "Tolerances follow the rules in docs/howto/study.md, by source and machine. Most were written down when first "
        "results were known: they are no blind predictions.", "",
        *_table(["state", "systems", "meaning"], states), "",
        *_table([*COLUMNS, "published", "simulated", "deviation", "range"], rows),
    ]  # fmt: skip
    if references:
        lines += ["", "## Reference simulators and accelerators", "",
                  "Peers that are compared point by point and are none of the systems above.", "",
                  *_table(["case", "points", "mean deviation", "worst", "verdict"],
                          [case_row(case, f"{CASES_FOLDER}/") for case in references])]  # fmt: skip
    return "\n".join([*lines, ""])


def _figures(claim: Data) -> list[str]:
    return [published(claim), simulated(claim), signed(claim["deviation"]), moving(claim)]


def study_page(study: Data) -> str:
    """One study as Markdown."""
    lines = [f"# {study['id']}: {study['title']}", "", f"**{study['state']}** · {study['family']} · {reference(study)}",
             "", study["mechanism"].strip(), ""]  # fmt: skip
    if study["reason"]:
        lines += [f"Nothing runs: {study['reason']}", ""]
    rows = [[_what(claim), source(claim), published(claim), simulated(claim), signed(claim["deviation"]),
             percent(claim["tolerance"]), claim["outcome"]] for claim in study["claims"]]  # fmt: skip
    lines += _table(["claim", "source", "published", "simulated", "deviation", "tolerance", "outcome"], rows)
    for claim in study["claims"]:
        lines += ["", *_claim(claim)] if claim["run"] is not None else []
    for title, items in (("What the runs assume", study["assumed"]), ("What is missing", study["missing"])):
        if items:
            lines += ["", f"## {title}", "", *(f"- {item}" for item in items)]
    if study["cases"]:
        links = ", ".join(f"[{case}]({CASES_FOLDER}/{case}.md)" for case in study["cases"])
        lines += ["", f"The case in detail: {links}."]
    return "\n".join([*lines, "", f"Made by `simsparse study {study['study']} --out FOLDER`.", ""])


def _what(claim: Data) -> str:
    """The claim with its condition, and whether the figure is the baseline's."""
    notes = [claim["condition"]] if claim["condition"] else []
    notes += ["of the baseline"] if claim["about"] == "baseline" else []
    return _cell(f"{claim['what']} ({'; '.join(notes)})" if notes else claim["what"])


def _claim(claim: Data) -> Iterator[str]:
    yield from (f"## {claim['what']}", "")
    deviation = f", {signed(claim['deviation'])}" if claim["deviation"] is not None else ""
    yield f"{claim['error'] or simulated(claim)}{deviation}, against {published(claim)}. Run: {run_text(claim)}."
    stated = percent(claim["tolerance"]) if claim["tolerance"] is not None else "none"
    yield from ("", f"Tolerance: {stated}. {claim['why'].strip()}")
    if claim["lacks"]:
        yield from ("", "The run leaves out:", "", *(f"- {item}" for item in claim["lacks"]))
    yield from carried(claim)
    yield from _moves(claim)


def _moves(claim: Data) -> Iterator[str]:
    moved = sorted(claim["moved"], key=lambda item: -item["swing"])
    if not moved:
        return
    telling = [item for item in moved if item["swing"] >= SMALL]
    rows = [[item["part"], f"`{item['path']}`", item["value"], *(_end(claim, item, end) for end in ENDS)]
            for item in telling[:SHOWN_MOVES]]  # fmt: skip
    yield from ("", f"Assumed values that the runs read, halved and doubled one at a time ({moving(claim)}):")
    if rows:
        yield from ("", *_table(["part", "value", "assumed", *ENDS], rows))
    rest = len(telling) - len(rows)
    still = [item for item in moved if item["swing"] < SMALL and not item["refusals"]]
    notes = [f"{rest} more move it less than the last row"] if rest else []
    notes += [f"{len(still)} move it by less than {percent(SMALL)}"] if still else []
    if notes:
        yield from ("", f"Of the other values {' and '.join(notes)}.")
    if refused := _refused(moved):
        yield from ("", "Not moved both ways:", "", *refused)


def _refused(moved: Sequence[Data]) -> list[str]:
    """A line per reason why values can't be halved or doubled, with the values that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for item in moved:
        reason = "; ".join(re.sub(r"'[^']*' ", "", refusal) for refusal in item["refusals"])
        if reason:
            by_reason.setdefault(reason, []).append(f"`{item['path']}` of {item['part']} ({item['value']})")
    return [f"- {reason}: {', '.join(values)}" for reason, values in by_reason.items()]


def _end(claim: Data, item: Data, end: str) -> str:
    return figure(item[end], claim["unit"]) if item[end] is not None else NOTHING


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}", *(f"| {' | '.join(row)} |" for row in rows)]
