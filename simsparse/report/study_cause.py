# SPDX-License-Identifier: Apache-2.0
"""What carries the deviation of a claim, and the runs that show it."""

from __future__ import annotations

from collections.abc import Iterator

from simsparse.report.study_text import Data, figure, percent, signed

LARGE = 0.15
"""Deviation beyond which a claim needs a cause."""
WAYS = (("halved", "half"), ("doubled", "double"))


def carried(claim: Data) -> Iterator[str]:
    """The cause of a deviation beyond LARGE, and a table of the runs that move the figure; nothing of a smaller one."""
    if claim["deviation"] is None or abs(claim["deviation"]) <= LARGE:
        return
    cause = claim["cause"].strip() or "no run here shows which assumption or missing mechanism carries it."
    yield from ("", f"What carries the deviation: {cause}")
    rows = [*_shown(claim), *_variants(claim), *_moved(claim)]
    if not rows:
        return
    yield from ("", "| run | simulated | deviation |", "| --- | --- | --- |")
    for what, value, deviation in rows:
        yield f"| {what} | {figure(value, claim['unit'])} | {signed(deviation)} |".replace("\n", " ")
    found = [deviation for _, _, deviation in rows if deviation is not None]
    if not any(abs(deviation) <= LARGE for deviation in found):
        between = any(deviation * claim["deviation"] < 0 for deviation in found)
        rest = "; it lies between the claim's run and one of these" if between else ""
        yield from ("", f"None of these runs alone comes within {percent(LARGE)} of the published figure{rest}.")


CauseRow = tuple[str, float | None, float | None]


def _shown(claim: Data) -> Iterator[CauseRow]:
    for item in claim["shown"]:
        what = f"{item['what']}: {item['error']}" if item["error"] else item["what"]
        yield what, item["simulated"], item["deviation"]


def _variants(claim: Data) -> Iterator[CauseRow]:
    """The variants that the claim's case ran of its point."""
    for item in claim["variants"]:
        yield f"{item['assumption']}: {item['value']}", item["simulated"], deviation_of(claim, item["simulated"])


def _moved(claim: Data) -> Iterator[CauseRow]:
    """Single moves of assumed values that bring the figure within LARGE."""
    for item in claim["moved"]:
        for end, text in WAYS:
            deviation = deviation_of(claim, item[end]) if item[end] is not None else None
            if deviation is not None and abs(deviation) <= LARGE:
                yield f"{text} `{item['path']}` of {item['part']} ({item['value']})", item[end], deviation


def deviation_of(claim: Data, value: float) -> float:
    """Deviation from the published figure, or from the nearer end of its range."""
    low = claim["published"]
    return float(value / min(max(value, low), claim["to"] or low) - 1)
