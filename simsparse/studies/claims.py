# SPDX-License-Identifier: Apache-2.0
"""What each claim of a study came to, from the results of its runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from simsparse.config.quantity import Basis
from simsparse.config.study import Claim, ClaimValue, Run, Side
from simsparse.errors import SpecError
from simsparse.studies.answers import Answers
from simsparse.studies.assumption import Assumption, Move, key_of
from simsparse.studies.cases import CaseUnit, VariedCase
from simsparse.studies.outcome import ClaimOutcome, Moved, ShownOutcome
from simsparse.studies.plan import Plan, files_of

SAME = 1e-4
"""How far the published figure of a claim may be from that of its case: it is written with four digits or more."""


class NoValueError(Exception):
    """A claim has no value, for the reason that the message gives."""


def claim_outcome(claim: Claim, plan: Plan, answers: Answers) -> ClaimOutcome:
    """The outcome of ``claim``. Raises SpecError when it contradicts its case."""
    if claim.run is None:
        return ClaimOutcome(claim)
    if claim.run.case is not None:
        return _of_case(claim, plan, answers)
    try:
        value = _value(claim.run, _costs(claim.run, plan, answers, None))
    except NoValueError as error:
        return ClaimOutcome(claim, error=str(error))
    moved = _moves_of_experiments(claim.run, plan, answers)
    return ClaimOutcome(claim, value, moved, cause=claim.cause, shown=_shown(claim, plan, answers))


def _shown(claim: Claim, plan: Plan, answers: Answers) -> list[ShownOutcome]:
    """What the runs came to that show the claim's cause."""
    found = []
    for item in claim.shown:
        try:
            found.append(ShownOutcome(item.what, _value(item.run, _costs(item.run, plan, answers, None))))
        except NoValueError as error:
            found.append(ShownOutcome(item.what, None, str(error)))
    return found


def _value(run: Run, cost: Callable[[str], float]) -> float:
    """The value of a run whose experiment files cost ``cost``."""

    def side(side: Side | None) -> float:
        assert side is not None
        return math.fsum(item.times * cost(item.experiment) for item in side.passes) / side.items

    if run.value is ClaimValue.SYSTEM:
        return side(run.system)
    if run.value is ClaimValue.RATE:
        return 1 / side(run.system)
    ratio = side(run.baseline) / side(run.system)
    return ratio if run.value is ClaimValue.BASELINE_OVER_SYSTEM else 1 / ratio


def _costs(run: Run, plan: Plan, answers: Answers, move: Move | None) -> Callable[[str], float]:
    """The metric of an experiment by its file, with ``move`` where its system has the moved part."""

    def cost(file: str) -> float:
        planned = plan.experiments[file]
        point = planned.run
        if move is not None:
            key = key_of(move)
            if key in planned.refused:
                raise NoValueError(planned.refused[key])
            point = planned.moved.get(key, planned.run)
        result = answers.result(point.key)
        if result is None:
            raise NoValueError(answers.error(point.key))
        return float(result[str(run.metric)])

    return cost


def _moves_of_experiments(run: Run, plan: Plan, answers: Answers) -> list[Moved]:
    """The claim under each move of a value that one of its experiments reads; where none is read, of any."""
    planned = [plan.experiments[file] for file in files_of(run)]
    own = {(part.name, path) for item in planned for part in item.system.parts().values()
           for path, quantity in part.quantities() if quantity.basis is Basis.ASSUMED}  # fmt: skip
    chosen = [move for move in plan.moves if move.assumption.key in own]
    read = [move for move in chosen if any(item.reads(move) for item in planned)]

    def value(move: Move) -> float:
        return _value(run, _costs(run, plan, answers, move))

    return _moved(read or chosen, value)


def _moved(chosen: Iterable[Move], value: Callable[[Move], float]) -> list[Moved]:
    """A row for each assumption of ``chosen``, with the claim's value under each of its moves."""
    by_assumption: dict[Assumption, list[Move]] = {}
    for move in chosen:
        by_assumption.setdefault(move.assumption, []).append(move)
    return [_row(assumption, own, value) for assumption, own in by_assumption.items()]


def _row(assumption: Assumption, own: Sequence[Move], value: Callable[[Move], float]) -> Moved:
    ends: dict[float, float] = {}
    refusals = []
    for move in own:
        try:
            if move.value is None:
                raise NoValueError(move.refusal)
            ends[move.factor] = value(move)
        except NoValueError as error:
            refusals.append(f"times {move.factor:g}: {error}")
    return Moved(assumption.part, assumption.path, assumption.text, ends.get(0.5), ends.get(2.0), tuple(refusals))


@dataclass(frozen=True)
class _CasePoint:
    published: float
    simulated: float


def _of_case(claim: Claim, plan: Plan, answers: Answers) -> ClaimOutcome:
    assert claim.run is not None and claim.run.case is not None and claim.run.point is not None
    unit = CaseUnit(claim.run.case)
    report = answers.result(unit.key)
    if report is None:
        return ClaimOutcome(claim, error=answers.error(unit.key))
    point = _point(claim, claim.run.point, report, plan)
    variants = [item for item in report["sensitivity"] if item["point"] == claim.run.point]
    label, varied = claim.run.point, VariedCase.of(claim.run.case)
    varied.single(answers)

    def value(move: Move) -> float:
        own = CaseUnit(varied.case, (move,) if key_of(move) in varied.opened else ())
        if (found := answers.result(own.key)) is None:
            raise NoValueError(answers.error(own.key))
        return float(found[label])

    moved = _moved(varied.moves, value) if plan.vary else []
    cause = claim.cause or str(report["deviation"])
    return ClaimOutcome(claim, point.simulated, moved, variants, cause=cause, shown=_shown(claim, plan, answers))


def _point(claim: Claim, label: str, report: Mapping[str, object], plan: Plan) -> _CasePoint:
    """The point of the case that the claim names. Raises SpecError when there is none, or its figure is another."""
    points = {str(item["label"]): item for item in report["points"]}  # type: ignore[attr-defined]
    at = ("claims", [item.name for item in plan.study.claims].index(claim.name))
    if label not in points:
        raise plan.document.error((*at, "run", "point"), f"{label!r} is no point; there are {', '.join(points)}")
    published = float(points[label]["published"])
    if claim.published is None or abs(claim.published / published - 1) > SAME:
        raise plan.document.error((*at, "published"), f"{claim.published} here, {published:g} in the case")
    return _CasePoint(published, float(points[label]["simulated"]))


__all__ = ["NoValueError", "SpecError", "claim_outcome"]
