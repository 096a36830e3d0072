# SPDX-License-Identifier: Apache-2.0
"""The page to explore points: a table, a plot and parallel coordinates that show the same selection.

Everything is inside one file. Columns travel as numbers, words as places in a list of their own, so that 10,000 points
stay below a megabyte or two.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from simsparse.config.keys import label_of
from simsparse.report.results import Results, StoredPoint
from simsparse.text import printable

DIGITS = 6
"""Significant digits of a number on the page; points.csv has all of them."""
Word = Callable[[StoredPoint], str]
Number = Callable[[StoredPoint], float | None]
NUMBERS: Mapping[str, tuple[str, Number]] = {
    "Latency": ("s", lambda point: point.latency_s),
    "Energy": ("J", lambda point: point.energy_j),
    "Area": ("mm²", lambda point: point.area_mm2),
    "Power stated": ("W", lambda point: point.power_w),
}
"""Label, unit and value of what a point came to; less is better."""


def write_explorer(path: Path, results: Results) -> Path:
    """Write the page to ``path``; texts of a sweep can't end its script."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("simsparse.report"), autoescape=True, undefined=StrictUndefined)
    data = json.dumps(explorer_data(results), allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    html = environment.get_template("explore.html.j2").render(
        name=results.name, description=results.description, data=data.replace("<", "\\u003c"), script=script()
    )
    path.write_text(printable(html), encoding="utf-8")
    return path


def script() -> str:
    """The page's own code."""
    return (resources.files("simsparse.report") / "templates" / "explore.js").read_text(encoding="utf-8")


def explorer_data(results: Results) -> dict[str, Any]:
    """Columns and what each point resolves to, as JSON-able values.

    A column has ``label``, and either ``values`` (numbers, null where unknown) with ``unit``, or ``words`` and
    ``codes``, for each point a place in them. ``inputs`` are columns of words that a point's YAML consists of, by key.
    """
    points = results.points
    words: dict[str, Word] = {
        "Workload": lambda point: point.workload,
        "Configuration": lambda point: point.configuration,
        "Sparsity": lambda point: point.sparsity,
    }
    columns = [_words(label, points, of) for label, of in words.items()]
    columns += [_axis(label_of(name), [point.axes.get(name, "") for point in points]) for name in results.axes]
    for label, (unit, number) in NUMBERS.items():
        values = [_known(number(point)) for point in points]
        if any(value is not None for value in values):
            columns.append({"label": label, "unit": unit, "values": values, "cost": True})
    columns += [_words("Bound", points, lambda point: point.bound or "–"), _words("State", points, _state)]
    keys = list(dict.fromkeys(key for point in points for key in point.place))
    inputs = [_words(key, points, lambda point, key=key: str(point.place.get(key, ""))) for key in keys]  # type: ignore[misc]
    return {"columns": columns, "inputs": inputs, "notes": _words("notes", points, _reason)}


def _words(label: str, points: Sequence[StoredPoint], of: Word) -> dict[str, Any]:
    return _coded(label, [of(point) for point in points])


def _coded(label: str, texts: Sequence[str]) -> dict[str, Any]:
    words = sorted(set(texts), key=_natural)
    places = {word: place for place, word in enumerate(words)}
    return {"label": label, "words": words, "codes": [places[text] for text in texts]}


def _natural(text: str) -> list[tuple[int, float, str]]:
    """A key by which ``b2`` comes before ``b10``."""
    return [(0, float(part), "") if part.isdigit() else (1, 0.0, part) for part in re.findall(r"[0-9]+|[^0-9]+", text)]


def _axis(label: str, texts: Sequence[str]) -> dict[str, Any]:
    """An axis as numbers where all its values are plain ones, else as words."""
    try:
        values = [_known(float(text)) for text in texts]
    except ValueError:
        return _coded(label, texts)
    return {"label": label, "unit": "", "values": values, "cost": False}


def _known(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def _state(point: StoredPoint) -> str:
    if point.error:
        return "failed"
    if not point.feasible:
        return "beyond a limit"
    return "unvalidated" if point.is_unvalidated else "done"


def _reason(point: StoredPoint) -> str:
    """Why a point came out as it did: its error, or what bounds it, and what devices made of it."""
    if point.error:
        return point.error
    total = sum(point.seconds_by_bound.values())
    shares = sorted(point.seconds_by_bound.items(), key=lambda item: -item[1]) if total > 0 else []
    bound = ", ".join(f"{name} {100 * seconds / total:.0f} %" for name, seconds in shares[:3] if seconds > 0)
    runs = "; ".join(f"{stated} runs as {made}" for stated, made in point.runs_as.items())
    return "; ".join(part for part in (f"bound by {bound}" if bound else "", runs, *point.notes) if part)
