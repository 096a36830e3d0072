# SPDX-License-Identifier: Apache-2.0
"""The index of all studies as one HTML file: a table to search, filter and sort, with nothing fetched."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsparse.report import study_text
from simsparse.report.cases import case_row
from simsparse.report.study_text import STATES, Data, headline
from simsparse.text import printable

WIDTH, HEIGHT = 140, 22
"""Size of the small plot of a row, pixels."""
OCTAVES = 2.2
"""The plot's axis goes from 2 to the power of minus this to that, simulated over published."""
TICKS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Strip:
    """What the small plot of a claim shows, in pixels from its left edge; None where there is nothing to show.

    ``band`` is the tolerance, ``bar`` the range under moved values, ``dot`` the simulated value; ``beyond`` says at
    which end the dot is off the axis.
    """

    dot: float
    band: tuple[float, float] | None
    bar: tuple[float, float] | None
    beyond: str


def strip_of(claim: Data) -> Strip | None:
    """The plot of a claim; None where there is no deviation."""
    if claim["deviation"] is None:
        return None
    base = claim["simulated"] / (1 + claim["deviation"])
    ratio = 1 + claim["deviation"]
    tolerance = claim["tolerance"]
    ends = [end / base for end in claim["range"]] if claim["range"] else []
    return Strip(
        place(ratio),
        (place(1 - tolerance), place(1 + tolerance)) if tolerance else None,
        (place(ends[0]), place(ends[1])) if ends and place(ends[1]) > place(ends[0]) else None,
        "left" if math.log2(ratio) < -OCTAVES else "right" if math.log2(ratio) > OCTAVES else "",
    )


def place(ratio: float) -> float:
    """Where a ratio of simulated to published stands, cut at the ends of the axis."""
    octaves = max(-OCTAVES, min(OCTAVES, math.log2(ratio))) if ratio > 0 else -OCTAVES
    return round((0.5 + 0.5 * octaves / OCTAVES) * (WIDTH - 16) + 8, 1)


def write_study_index(studies: Sequence[Data], references: Sequence[Data], path: Path) -> Path:
    """Write the page to ``path``; all texts are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("simsparse.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["tight"] = tight
    counts = Counter(study["state"] for study in studies)
    html = environment.get_template("studies.html.j2").render(
        rows=[_row(index, study) for index, study in enumerate(studies)],
        families=sorted({study["family"] for study in studies}),
        states=[(state, counts[state], meaning) for state, meaning in STATES.items() if counts[state]],
        runs=sum(any(claim["run"] for claim in study["claims"]) for study in studies), total=len(studies),
        references=[_reference(case) for case in references], text=study_text, width=WIDTH, height=HEIGHT,
        ticks=[(tick, place(tick)) for tick in TICKS],
    )  # fmt: skip
    path.write_text(printable(html), encoding="utf-8")
    return path


def tight(text: str) -> str:
    """``text`` with short units kept beside their numbers."""
    number, space, unit = text.rpartition(" ")
    return f"{number}\u00a0{unit}" if space and len(unit) <= 3 else text


def _row(index: int, study: Data) -> dict[str, Any]:
    """What the template needs of a study beside its plain data."""
    claim = headline(study)
    return {
        "study": study, "claim": claim, "strip": strip_of(claim), "state_order": list(STATES).index(study["state"]),
        "number": index, "strips": {item["claim"]: strip_of(item) for item in study["claims"]},
        "search": " ".join([study["id"], study["study"], study["title"], study["family"], study["state"],
                            study["mechanism"], *study["missing"]]).lower(),
    }  # fmt: skip


def _reference(case: Data) -> dict[str, Any]:
    _, points, mean, worst, verdict = case_row(case)
    return {"case": case["case"], "title": case["title"], "points": points, "mean": mean, "worst": worst,
            "verdict": verdict}  # fmt: skip
