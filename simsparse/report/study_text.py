# SPDX-License-Identifier: Apache-2.0
"""How numbers and sources of studies read, alike in Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simsparse.report.si import digits

Data = Mapping[str, Any]
NOTHING = "–"
SEEN = {
    "document": "", "note": "as a third party's note gives it", "memory": "recalled, to be checked",
}  # fmt: skip
STATES: Mapping[str, str] = {
    "reproduced": "every claim is within its tolerance and nothing of the mechanism is missing",
    "within tolerance": "the first claim that is run, and every other one that is compared like with like, is within "
    "its tolerance; further ones are not run or are compared in part",
    "deviates": "a claim that is compared like with like is beyond its tolerance",
    "runs in part": "the system runs, but the first comparison leaves out something that the figure includes, "
    "or a figure of the baseline is beyond its tolerance",
    "failed": "a run ended with an error",
    "workload only": "what the system computes can be stated, its mechanism or machine can't",
    "not expressible": "the workload itself can't be stated",
}
"""Every state a system can have, best first, and what it means."""


def figure(value: float | None, unit: str) -> str:
    """``1.75 x``: three digits and the unit."""
    if value is None:
        return NOTHING
    if unit == "s":
        return f"{digits(1e3 * value)} ms" if value < 1 else f"{digits(value)} s"
    text = f"{value:,.0f}" if abs(value) >= 1000 else digits(value)
    return f"{text} {unit}".rstrip()


def published(claim: Data) -> str:
    """The published figure or range, with the digits it was published with; "no figure" where there is none."""
    if claim["published"] is None:
        return "no figure"
    ends = [claim["published"]] if claim["to"] is None else [claim["published"], claim["to"]]
    if claim["unit"] == "s" and ends[-1] < 1:
        return f"{' to '.join(f'{1e3 * end:g}' for end in ends)} ms"
    return f"{' to '.join(f'{end:,.10g}' for end in ends)} {claim['unit']}"


def simulated(claim: Data) -> str:
    """What the models say, in the claim's unit."""
    return figure(claim["simulated"], claim["unit"])


def signed(share: float | None) -> str:
    """``+5.1 %``."""
    if share is None:
        return NOTHING
    return f"{100 * share:+.1f} %" if abs(share) < 10 else f"{100 * share:+,.0f} %"


def percent(share: float | None) -> str:
    """``10 %``."""
    return NOTHING if share is None else f"{100 * share:g} %"


def moving(claim: Data) -> str:
    """The range of the simulated value when assumed values are halved and doubled one at a time."""
    if not claim["range"]:
        return NOTHING
    low, high = (figure(end, claim["unit"]) for end in claim["range"])
    number, _, unit = low.partition(" ")
    if low == high:
        return "does not move"
    return f"{number} to {high}" if high.endswith(f" {unit}") else f"{low} to {high}"


def reference(study: Data) -> str:
    """Who published the system, where and when, and how we know."""
    data = study["reference"]
    parts = [data["authors"], data["venue"], str(data["year"]) if data["year"] else None, data["cite"]]
    text = ", ".join(part for part in parts if part)
    note = SEEN[data["seen"]]
    return f"{text} ({note})" if note else text


def source(claim: Data) -> str:
    """Where a figure stands, and how we know it."""
    data = claim["source"]
    parts = [data["where"], data["at"], data["cite"], SEEN[data["seen"]]]
    return ", ".join(part for part in parts if part)


def run_text(claim: Data) -> str:
    """How a claim is run: a case's point, or the experiments of both sides."""
    run = claim["run"]
    if run is None:
        return NOTHING
    if "case" in run:
        return f"case {run['case']}, point {run['point']}"
    sides = {"system": _side(run["system"]), "baseline": _side(run["baseline"])}
    value = run["value"].replace("/", " / ")
    named = "; ".join(f"{name}: {text}" for name, text in sides.items() if text)
    return f"{run['metric']} of {value}; {named}"


def _side(side: Data | None) -> str:
    if side is None:
        return ""
    passes = " + ".join(name if times == 1 else f"{times:g} x {name}" for name, times in side["passes"])
    return passes if side["items"] == 1 else f"({passes}) / {side['items']:g} items"


def headline(study: Data) -> Data:
    """The claim that stands for the study in a table."""
    return next(claim for claim in study["claims"] if claim["claim"] == study["headline"])


def compared(study: Data) -> str:
    """``2 of 4``: claims that are run, of all."""
    runs = sum(claim["run"] is not None for claim in study["claims"])
    return f"{runs} of {len(study['claims'])}"
