# SPDX-License-Identifier: Apache-2.0
"""What a sweep says, in sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simsparse.config.keys import label_of
from simsparse.core import WAITING
from simsparse.report.metrics import ENERGY, LATENCY, speed_up_over
from simsparse.report.pairs import SPARSITY, Baseline, baselines_of, partners
from simsparse.report.results import Results, StoredPoint, unique
from simsparse.report.si import short_value, si

NOTICEABLE = 0.02
"""Ratios within this of 1 are called equal."""

SAID_FROM = 0.1
"""Devices' waiting for one another is mentioned from this share of their time on."""

MAX_REASON = 110
MAX_VALUES = 3
"""Most values of an axis that are listed where all of them give one answer."""


@dataclass(frozen=True)
class Finding:
    """One workload: the ``lead`` sentence, and what sparsity buys and what binds, by configuration."""

    workload: str
    lead: str
    configurations: tuple[tuple[str, str], ...]


def findings(results: Results, baselines: Sequence[Baseline] | None = None) -> list[Finding]:
    """One finding a workload that has an answer; ratios are against ``baselines``, by default those of the results."""
    chosen = baselines_of(results, results.baseline) if baselines is None else baselines
    found = []
    for workload in results.workloads:
        points = [point for point in results.done if point.workload == workload]
        if points:
            said = (
                (configuration, _configuration_text(results, workload, configuration, chosen))
                for configuration in results.configurations
            )
            rows = tuple((configuration, text) for configuration, text in said if text)
            found.append(Finding(workload, _lead(points), rows))
    return found


def _lead(points: list[StoredPoint]) -> str:
    fastest = min(points, key=LATENCY.rank)
    text = f"fastest on {_place(fastest, points)}: {si(fastest.latency_s, 's')}"
    frugal = min((point for point in points if point.energy_j > 0), key=ENERGY.rank, default=None)
    if frugal is None:
        return f"{text}."
    if frugal is fastest:
        return f"{text}, which also takes the least energy, {si(fastest.energy_j, 'J')}."
    return (
        f"{text} and {si(fastest.energy_j, 'J')}; least energy on {_place(frugal, points)}: {si(frugal.energy_j, 'J')}."
    )


def _place(point: StoredPoint, points: Sequence[StoredPoint]) -> str:
    """Where a point stands; of an axis along which others have its answer, the values of all of these."""
    same = [each for each in points if each.cell == point.cell and _answer(each) == _answer(point)]
    extra = ""
    for name, value in point.axes.items():
        along = [
            each for each in same if all(each.axes[other] == point.axes[other] for other in each.axes if other != name)
        ]
        values = unique(short_value(each.axes[name]) for each in along) if value else []
        extra += f", {_or([_said(name, each) for each in values])}" if values else ""
    mark = " (unvalidated)" if point.is_unvalidated else ""
    return f"{point.configuration} with {point.sparsity} weights{extra}{mark}"


def _said(axis: str, value: str) -> str:
    """A value of an axis, with the axis where the value is a list: ``patterns 2:4, 2:8``."""
    return f"{label_of(axis).rpartition('.')[2]} {value}" if ", " in value else value


def _answer(point: StoredPoint) -> tuple[str, str]:
    return f"{point.latency_s:.6g}", f"{point.energy_j:.6g}"


def _or(values: Sequence[str]) -> str:
    if len(values) > MAX_VALUES:
        return f"{values[0]} or {len(values) - 1} other values"
    return " or ".join(values)


def _configuration_text(results: Results, workload: str, configuration: str, baselines: Sequence[Baseline]) -> str:
    """``Dense takes 6.76 ms. 2:4 is 1.39× faster, with 1.38× less energy. Bound by memory (98 % ...).``"""
    done = [point for point in results.done if (point.workload, point.configuration) == (workload, configuration)]
    points = {s: own for s in results.sparsities if (own := [point for point in done if point.sparsity == s])}
    said = _times(results, points, baselines)
    for baseline in baselines:
        if baseline.axis != SPARSITY:
            said += _against(results, done, baseline)
        for per in results.normalise:
            said += _normalised(results, done, baseline, per)
    said += [*_ran_as(points), _bounds(points) if points else "", _failures(results, workload, configuration)]
    said += ["Unvalidated."] if any(point.is_unvalidated for point in done) else []
    return " ".join(text for text in said if text)


def _times(results: Results, points: Mapping[str, list[StoredPoint]], baselines: Sequence[Baseline]) -> list[str]:
    """What each sparsity takes, or how it stands to the baseline's where there are pairs."""
    baseline = next((each for each in baselines if each.axis == SPARSITY), None)
    known = partners(results, baseline) if baseline else {}
    groups: dict[str, list[str]] = {}
    for sparsity, own in points.items():
        pairs = [(known[point.identity], point) for point in own if point.identity in known]
        text = f"is {_gain(pairs)}" if pairs else f"takes {_spread([p.latency_s for p in own])}"
        groups.setdefault(text, []).append(sparsity)
    return [_capital(f"{_and(names)} {_verb(text, len(names))}.") for text, names in groups.items()]


def _spread(seconds: list[float]) -> str:
    least, most = si(min(seconds), "s"), si(max(seconds), "s")
    return least if least == most else f"{least} to {most}"


def _against(results: Results, done: Sequence[StoredPoint], baseline: Baseline) -> list[str]:
    """How the points of a configuration stand to those at a baseline of any other axis, by their value of it."""
    known, said = partners(results, baseline), []
    for value in unique(point.place.get(baseline.axis, "") for point in done):
        own = [point for point in done if point.place.get(baseline.axis) == value and point.identity in known]
        if own:
            at = f" at {short_value(value)}" if baseline.axis in results.axes else ""
            pairs = [(known[point.identity], point) for point in own]
            said.append(f"Against {baseline.text}{at}: {_gain(pairs)}.")
    return said


def _normalised(results: Results, done: Sequence[StoredPoint], baseline: Baseline, per: str) -> list[str]:
    metric = speed_up_over(results, baseline, per)
    groups: dict[str, list[float]] = {}
    for point in done:
        if metric.values([point]):
            groups.setdefault(point.sparsity if baseline.axis == SPARSITY else "", []).append(metric.of(point))
    return [
        f"At equal {per}, {f'{name} is ' if name else ''}{_ratios(values, 'faster', 'slower', 'as fast')}"
        f" (against {baseline.text})."
        for name, values in groups.items()
    ]


def _ran_as(points: Mapping[str, list[StoredPoint]]) -> list[str]:
    """``1:4 and 1:8 run as 2:4.``; with the number of points where it is not all of them."""
    groups: dict[tuple[str, str], list[str]] = {}
    for sparsity, own in points.items():
        for used in unique(point.runs_as[sparsity] for point in own if sparsity in point.runs_as):
            count = sum(point.runs_as.get(sparsity) == used for point in own)
            at = "" if count == len(own) else f" at {count} of {len(own)} points"
            groups.setdefault((used, at), []).append(sparsity)
    return [_capital(f"{_and(own)} run{'s' * (len(own) == 1)} as {used}{at}.") for (used, at), own in groups.items()]


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(text: str, count: int) -> str:
    if count == 1:
        return text
    return text.replace("takes ", "take ", 1) if text.startswith("takes ") else text.replace("is ", "are ", 1)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _gain(pairs: Sequence[tuple[StoredPoint, StoredPoint]]) -> str:
    """How much faster the second of each pair is than the first; the least and the most of several pairs."""
    times = [base.latency_s / point.latency_s for base, point in pairs if point.latency_s]
    joules = [base.energy_j / point.energy_j for base, point in pairs if base.energy_j > 0 and point.energy_j > 0]
    text = _ratios(times, "faster", "slower", "as fast") if times else "free"
    if joules:
        text += f", with {_ratios(joules, 'less energy', 'more energy', 'the same energy')}"
    return text if len(pairs) == 1 else f"{text} ({len(pairs)} pairs)"


def _ratios(ratios: Sequence[float], better: str, worse: str, equal: str) -> str:
    least, most = min(ratios), max(ratios)
    if most / least - 1 < NOTICEABLE:
        return _ratio(least, better, worse, equal)
    if least > 1 + NOTICEABLE:
        return f"{least:.2f} to {most:.2f}× {better}"
    if most < 1 - NOTICEABLE:
        return f"{1 / most:.2f} to {1 / least:.2f}× {worse}"
    ends = [_ratio(least, better, worse, equal), _ratio(most, better, worse, equal)]
    if equal in ends:
        return f"up to {ends[ends[0] == equal]}"
    return f"between {ends[0]} and {ends[1]}"


def _ratio(ratio: float, better: str, worse: str, equal: str) -> str:
    if abs(ratio - 1) < NOTICEABLE:
        return equal
    return f"{ratio:.2f}× {better}" if ratio > 1 else f"{1 / ratio:.2f}× {worse}"


def _bounds(points: Mapping[str, list[StoredPoint]]) -> str:
    """What binds the densest points, and the sparsest where that differs."""
    ends = [next(iter(points.items())), list(points.items())[-1]]
    (first, name), (last, last_name) = ((sparsity, _bound(own)) for sparsity, own in ends)
    if not name:
        return ""
    words = [text.split(" (")[0] for text in (name, last_name)]
    if words[0] == words[1] or first == last:
        return f"Bound by {name}.{_waiting(ends)}"
    return f"Bound by {name.replace(' (', f' at {first} (', 1)}, by {last_name.replace(' (', f' at {last} (', 1)}." + (
        _waiting(ends)
    )


def _bound(points: Sequence[StoredPoint]) -> str:
    """``memory (85 to 98 % of operator time)``; several names where the points differ."""
    shares: dict[str, list[float]] = {}
    for point in points:
        parts = {name: seconds for name, seconds in point.seconds_by_bound.items() if name != WAITING}
        name = max(parts, key=lambda part: parts[part]) if parts else point.bound
        shares.setdefault(name, []).extend([parts[name] / sum(parts.values())] if parts else [])
    if len(shares) == 1:
        name, own = next(iter(shares.items()))
        return f"{name} ({_percents(own)} of operator time)" if own else name
    counted = sorted(shares.items(), key=lambda item: -len(item[1]))
    return ", ".join(f"{name} ({len(own)} of {len(points)} points)" for name, own in counted)


def _percents(shares: Sequence[float]) -> str:
    least, most = f"{100 * min(shares):.0f}", f"{100 * max(shares):.0f}"
    return f"{least} %" if least == most else f"{least} to {most} %"


def _waiting(ends: Sequence[tuple[str, list[StoredPoint]]]) -> str:
    for sparsity, points in ends:
        totals = [(point.seconds_by_bound.get(WAITING, 0.0), sum(point.seconds_by_bound.values())) for point in points]
        shares = [waited / total for waited, total in totals if total > 0]
        if shares and max(shares) >= SAID_FROM:
            return f" Devices wait for one another for {_percents(shares)} of their time (at {sparsity})."
    return ""


def _failures(results: Results, workload: str, configuration: str) -> str:
    failed = [point for point in results.failed if (point.workload, point.configuration) == (workload, configuration)]
    reasons: dict[str, list[str]] = {}
    for point in failed:
        reasons.setdefault(point.error, []).append(point.sparsity)
    return " ".join(
        f"{_capital(_and(list(dict.fromkeys(sparsities))))} failed: {_cut(reason)}"
        for reason, sparsities in reasons.items()
    )


def _cut(text: str) -> str:
    return f"{text.rstrip('.')}." if len(text) <= MAX_REASON else text[: MAX_REASON - 1].rstrip() + "…"
