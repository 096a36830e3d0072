# SPDX-License-Identifier: Apache-2.0
"""Runs studies: all their experiments and cases, then what each claim came to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from simsparse.store.schema import Record
from simsparse.studies.answers import Answers, answers_in
from simsparse.studies.assumption import assumptions
from simsparse.studies.cases import CaseUnit, VariedCase
from simsparse.studies.claims import claim_outcome
from simsparse.studies.outcome import StudyOutcome
from simsparse.studies.plan import Plan, plan_study
from simsparse.sweep.workers import Workers

OnProgress = Callable[[int, int, int], None]
"""Called with runs done, runs in all, runs without a result."""


def run_studies(
    names: Sequence[str],
    jobs: int = 1,
    out: Path | None = None,
    progress: OnProgress | None = None,
    vary: bool = True,
) -> list[StudyOutcome]:
    """The studies called ``names``, with every assumed value of their parts halved and doubled, one at a time.

    A value that a run does not read is not moved in it, since it can't change the result. Values are first moved in
    groups; where a whole group leaves a result as it is to the last bit, its values are not
    moved one by one.
    ``jobs`` local processes run the experiments; the outcome does not depend on it. With ``out`` the results are
    kept in OUT/.runs, and those that are there are not run again. Without ``vary`` no value is moved.
    Raises SpecError when a study or an experiment has a fault, StoreError when ``out`` can't be used.
    """
    plans = [plan_study(name, vary) for name in names]
    with answers_in(out) as answers:
        _execute(plans, answers, jobs, progress, vary)
        return [_outcome(plan, answers) for plan in plans]


def run_cases(
    names: Sequence[str], out: Path | None = None, progress: OnProgress | None = None
) -> list[dict[str, Any]]:
    """The reports of the cases called ``names`` as plain data, from OUT/.runs where they are there.

    Raises SpecError with the nearest name.
    """
    units = [CaseUnit(name) for name in names]
    with answers_in(out) as answers:
        for done, unit in enumerate(units, 1):
            if not answers.has(unit.key):
                answers.put(unit.run())
            if progress:
                progress(done, len(units), 0)
        return [answers.result(unit.key) for unit in units]


def _execute(plans: Sequence[Plan], answers: Answers, jobs: int, progress: OnProgress | None, vary: bool) -> None:
    """Run the cases and the experiments, then these with groups of values moved, and with those that count alone."""
    experiments = [item for plan in plans for item in plan.experiments.values()]
    cases = sorted({case for plan in plans for case in plan.cases})
    varied = [VariedCase.of(case) for case in cases] if vary else []
    units = [*map(CaseUnit, cases), *(unit for case in varied for unit in case.screening())]
    count = _Count(progress, answers)
    with Workers(jobs) as workers:
        count.through([item.run for item in experiments], workers.run, more=len(units))
        screening = [point for item in experiments for point in item.group(answers)]
        count.through(screening, workers.run, more=len(units))
        for item in experiments:
            item.open_groups(answers)
        single = [point for item in experiments for point in item.moved.values()]
        count.through(single, workers.run, more=len(units))
    count.through(units, _run_units)
    count.through([unit for case in varied for unit in case.single(answers)], _run_units)


def _run_units(units: Sequence[CaseUnit]) -> Iterable[Record]:
    return map(CaseUnit.run, units)


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=_Keyed)


class _Count:
    """How far the runs have come; what ``answers`` has is not run again."""

    def __init__(self, progress: OnProgress | None, answers: Answers) -> None:
        self.progress, self.answers = progress, answers
        self.done = self.failed = 0

    def through(self, wanted: Sequence[T], run: Callable[[Sequence[T]], Iterable[Record]], more: int = 0) -> None:
        """Run what is missing of ``wanted``; ``more`` runs are known to follow."""
        by_key = {item.key: item for item in wanted}
        missing = [item for key, item in by_key.items() if not self.answers.has(key)]
        total = self.done + len(by_key) + more
        self.done += len(by_key) - len(missing)
        for record in run(missing):
            self.answers.put(record)
            self.done, self.failed = self.done + 1, self.failed + (record.result is None)
            if self.progress:
                self.progress(self.done, total, self.failed)


def _outcome(plan: Plan, answers: Answers) -> StudyOutcome:
    claims = [claim_outcome(claim, plan, answers) for claim in plan.study.claims]
    return StudyOutcome(plan.name, plan.study, claims, _assumed(plan), plan.cases)


def _assumed(plan: Plan) -> list[str]:
    """The assumed values of the parts that runs read; all of the parts where what they read was not noted."""
    found = {
        f"{assumption.part}: {assumption.path} = {assumption.text}"
        for item in plan.experiments.values()
        for assumption in assumptions(item.system.parts().values())
        if not plan.vary or assumption.key in item.read
    }
    return sorted(found)
