# SPDX-License-Identifier: Apache-2.0
"""What a sweep says, in sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simsparse.report.metrics import ENERGY, LATENCY
from simsparse.report.results import Results, StoredPoint
from simsparse.report.si import short_value, si

NOTICEABLE = 0.02
"""Ratios within this of 1 are called equal."""

MAX_REASON = 110


@dataclass(frozen=True)
class Finding:
    """One workload: the ``lead`` sentence, and what sparsity buys and what binds, by setup."""

    workload: str
    lead: str
    setups: tuple[tuple[str, str], ...]


def findings(results: Results) -> list[Finding]:
    """One finding a workload that has an answer."""
    found = []
    for workload in results.workloads:
        points = [point for point in results.done if point.workload == workload]
        if points:
            said = ((setup, _setup_text(results, workload, setup)) for setup in results.setups)
            rows = tuple((setup, text) for setup, text in said if text)
            found.append(Finding(workload, _lead(points), rows))
    return found


def _lead(points: list[StoredPoint]) -> str:
    fastest = min(points, key=LATENCY.rank)
    text = f"fastest on {_place(fastest)}: {si(fastest.latency_s, 's')}"
    frugal = min((point for point in points if point.energy_j > 0), key=ENERGY.rank, default=None)
    if frugal is None:
        return f"{text}."
    if frugal is fastest:
        return f"{text}, which also takes the least energy, {si(fastest.energy_j, 'J')}."
    return f"{text} and {si(fastest.energy_j, 'J')}; least energy on {_place(frugal)}: {si(frugal.energy_j, 'J')}."


def _place(point: StoredPoint) -> str:
    extra = "".join(f", {short_value(value)}" for value in point.axes.values() if value)
    mark = " (unvalidated)" if point.is_unvalidated else ""
    return f"{point.setup} with {point.sparsity} weights{extra}{mark}"


def _setup_text(results: Results, workload: str, setup: str) -> str:
    """``Dense takes 6.76 ms. 2:4 is 1.39× faster, with 1.38× less energy. Bound by memory (98 % ...).``"""
    points = {s: p for s in results.sparsities if (p := results.typical(workload, setup, s))}
    said = [*_gains(points), _bounds(points) if points else "", _failures(results, workload, setup)]
    said += ["Unvalidated."] if any(point.is_unvalidated for point in points.values()) else []
    return " ".join(text for text in said if text)


def _gains(points: Mapping[str, StoredPoint]) -> list[str]:
    """What dense takes, and what each sparsity buys; without dense, what each takes."""
    dense = points.get("dense")
    groups: dict[str, list[str]] = {}
    for sparsity, point in points.items():
        text = f"takes {si(point.latency_s, 's')}" if dense is None or point is dense else f"is {_gain(dense, point)}"
        groups.setdefault(text, []).append(sparsity)
    return [_capital(f"{_and(names)} {_verb(text, len(names))}.") for text, names in groups.items()]


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(text: str, count: int) -> str:
    if count == 1:
        return text
    return text.replace("takes ", "take ", 1) if text.startswith("takes ") else text.replace("is ", "are ", 1)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _gain(dense: StoredPoint, point: StoredPoint) -> str:
    text = _ratio(dense.latency_s / point.latency_s, "faster", "slower", "as fast") if point.latency_s else "free"
    if dense.energy_j > 0 and point.energy_j > 0:
        text += ", with " + _ratio(dense.energy_j / point.energy_j, "less energy", "more energy", "the same energy")
    return text


def _ratio(ratio: float, better: str, worse: str, equal: str) -> str:
    if abs(ratio - 1) < NOTICEABLE:
        return equal
    return f"{ratio:.2f}× {better}" if ratio > 1 else f"{1 / ratio:.2f}× {worse}"


def _bounds(points: Mapping[str, StoredPoint]) -> str:
    """What binds the densest point, and the sparsest where that differs."""
    ends = [next(iter(points.items())), list(points.items())[-1]]
    said = [(sparsity, *_bound(point)) for sparsity, point in ends]
    (first, name, share), (last, last_name, last_share) = said
    if not name:
        return ""
    if name == last_name or first == last:
        return f"Bound by {name}{_percent(share)}."
    return f"Bound by {name} at {first}{_percent(share)}, by {last_name} at {last}{_percent(last_share)}."


def _percent(share: float | None) -> str:
    return "" if share is None else f" ({100 * share:.0f} % of operator time)"


def _bound(point: StoredPoint) -> tuple[str, float | None]:
    parts = point.seconds_by_bound
    if not parts:
        return point.bound, None
    name = max(parts, key=lambda part: parts[part])
    return name, parts[name] / sum(parts.values())


def _failures(results: Results, workload: str, setup: str) -> str:
    failed = [point for point in results.failed if (point.workload, point.setup) == (workload, setup)]
    reasons: dict[str, list[str]] = {}
    for point in failed:
        reasons.setdefault(point.error, []).append(point.sparsity)
    return " ".join(
        f"{_capital(_and(list(dict.fromkeys(sparsities))))} failed: {_cut(reason)}"
        for reason, sparsities in reasons.items()
    )


def _cut(text: str) -> str:
    return f"{text.rstrip('.')}." if len(text) <= MAX_REASON else text[: MAX_REASON - 1].rstrip() + "…"
