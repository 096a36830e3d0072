# SPDX-License-Identifier: Apache-2.0
"""``simsparse run`` on an experiment with axes: the ways to run it, ranked, and what to buy next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simsparse.cli.console import emit_json, note, si, table
from simsparse.cli.progress import ProgressBar
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.config.yaml import Document
    from simsparse.core import Result
    from simsparse.sweep.choose import Purchase, Way

SHOWN = 12
NOTHING = 1.005
"""Gains below are not listed."""


def run_choice(document: Document, *, json: bool) -> Result:
    """Show all ways in ``document`` and what to buy next; returns the result of the best with its timeline.

    Raises SpecError when no way has an answer.
    """
    from simsparse.sweep.choose import purchases, ways
    from simsparse.sweep.execute import simulate_point

    with ProgressBar("ways") as progress:
        found = ways(document, progress)
    best = found[0]
    if best.result is None:
        raise SpecError(f"none of {len(found)} ways has an answer: {best.refused}", key="axes")
    bought = purchases(best.run, best.result.latency_s)
    if json:
        emit_json({"best": _plain(best) | {"summary": best.result.summary()}, "fewest_joules": _plain(_frugal(found)),
                   "ways": [_plain(way) for way in found],
                   "doubled": [{"paths": each.paths, "latency_s": each.latency_s, "gain": each.gain}
                               for each in bought]})  # fmt: skip
    else:
        _show(found, bought)
    return simulate_point(best.run)


def _plain(way: Way) -> dict[str, Any]:
    result = way.result
    return {
        **way.columns, "latency_s": result and result.latency_s, "energy_j": result and result.energy_j,
        "tokens_per_s": way.tokens_per_s, "joules_per_token": way.joules_per_token, "refused": way.refused,
        "bound": result and result.bound,
    }  # fmt: skip


def _frugal(found: Sequence[Way]) -> Way:
    """The way that needs the fewest joules, the best of equals."""
    return min((way for way in found if way.result), key=lambda way: way.result.energy_j if way.result else 0.0)


def _show(found: Sequence[Way], bought: Sequence[Purchase]) -> None:
    answered = [way for way in found if way.result is not None]
    decodes = answered[0].tokens_per_s is not None
    names = tuple(answered[0].columns)
    numbers = ("tokens/s", "energy a token") if decodes else ("latency", "energy")
    rows = [(*(str(value) for value in way.columns.values()), *_numbers(way), way.result.bound if way.result else "")
            for way in answered[:SHOWN]]  # fmt: skip
    table(f"{len(answered)} ways, the best first", (*names, *numbers, "bound"), rows, right=numbers)
    if len(answered) > SHOWN:
        note(f"{len(answered) - SHOWN} slower ways are not shown; --json lists them")
    if (frugal := _frugal(found)) is not found[0]:
        row = (*(str(value) for value in frugal.columns.values()), *_numbers(frugal))
        table("The way with the fewest joules", (*names, *numbers), [row], right=numbers)
    else:
        note("the best way needs the fewest joules, too")
    for way in found[len(answered) :]:
        note(f"no answer for {', '.join(map(str, way.columns.values()))}: {way.refused}")
    gains = [(", ".join(each.paths[:2]) + (", ..." if len(each.paths) > 2 else ""), f"{each.gain:.2f}x")
             for each in bought if each.gain >= NOTHING]  # fmt: skip
    if gains:
        table("The best way on a machine with twice the", ("number", "faster"), gains, right=("faster",))
    else:
        note("the best way gains nothing from twice the bandwidth, capacity or arithmetic of any one part")


def _numbers(way: Way) -> tuple[str, str]:
    assert way.result is not None
    if (rate := way.tokens_per_s) is None:
        return si(way.result.latency_s, "s"), si(way.result.energy_j, "J")
    return f"{rate:.3g}", si(way.joules_per_token, "J")
