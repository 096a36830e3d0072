# SPDX-License-Identifier: Apache-2.0
"""What a study runs: its experiments, and the same with those assumed values moved that they read, first in groups."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from simsparse.config.experiment import Experiment, load_experiment
from simsparse.config.hardware import System
from simsparse.config.quantity import Part
from simsparse.config.study import Claim, ClaimMetric, Run, Study, load_study, study_name
from simsparse.config.yaml import Document
from simsparse.errors import SimsparseError
from simsparse.studies.answers import READS, Answers
from simsparse.studies.assumption import Move, MoveKey, both_ways, grouped, key_of, moves, overrides_for
from simsparse.sweep.check import check_experiment
from simsparse.sweep.execute import system_of
from simsparse.sweep.point import PointRun


@dataclass(frozen=True)
class MoveGroup:
    """Values of a part that stand together in its file, with all their moves.

    ``screens`` are two runs in which every value is moved at once, every other one the other way. Where
    both have the result of the unmoved run to the last bit, no value of the group enters it. Fewer screens: the
    experiment can't have all values at once.
    """

    moves: tuple[Move, ...]
    screens: tuple[PointRun, ...]


@dataclass
class PlannedExperiment:
    """An experiment of a study: its run, and ``moves``, those of values that its parts have.

    Once it has run, ``read`` has part and path of the numbers that it read, and ``groups`` those of the moves that
    change one of them; once these have run, ``moved`` has the runs
    with one value moved by move. ``refused`` says of a move why the experiment can't have it.
    """

    experiment: Experiment
    document: Document
    run: PointRun
    system: System
    metrics: frozenset[ClaimMetric]
    moves: tuple[Move, ...] = ()
    read: frozenset[tuple[str, str]] = frozenset()
    groups: tuple[MoveGroup, ...] = ()
    moved: dict[MoveKey, PointRun] = field(default_factory=dict)
    refused: dict[MoveKey, str] = field(default_factory=dict)

    def group(self, answers: Answers) -> list[PointRun]:
        """Group the moves of values that the run read; the runs of all groups, none where it has no result."""
        result = answers.result(self.run.key) if self.run.keep_reads else None
        self.read = frozenset((part, path) for part, path in result[READS]) if result else frozenset()
        own = grouped(move for move in self.moves if self.reads(move))
        self.groups = tuple(MoveGroup(moves, tuple(_screens(self, moves))) for moves in own)
        return [screen for group in self.groups for screen in group.screens]

    def reads(self, move: Move) -> bool:
        """Whether the run read the value, or what follows from it."""
        part, path = move.assumption.key
        return any((part, changed) in self.read for changed in (path, *move.paths))

    def open_groups(self, answers: Answers) -> None:
        """Plan a run for each move of the groups that change the result."""
        for group in self.groups:
            if len(group.screens) < 2 or any(self._differs(screen, answers) for screen in group.screens):
                for move in group.moves:
                    self._plan(move)

    def _differs(self, screen: PointRun, answers: Answers) -> bool:
        base, moved = answers.result(self.run.key), answers.result(screen.key)
        return base is None or moved is None or any(base[metric] != moved[metric] for metric in self.metrics)

    def _plan(self, move: Move) -> None:
        try:
            self.moved[key_of(move)] = self.with_moves([move])
        except SimsparseError as error:
            self.refused[key_of(move)] = str(error)

    def with_moves(self, chosen: Iterable[Move]) -> PointRun:
        """The run with the values of ``chosen``. Raises SimsparseError when the experiment can't have them."""
        values = dict(self.experiment.override)
        for move in chosen:
            if move.value is not None:
                values.update(overrides_for(move.assumption, move.value, self.system.parts()))
        return check_experiment(self.experiment.model_copy(update={"override": values}), self.document)


@dataclass(frozen=True)
class Plan:
    """A study with its experiments by file; ``moves`` are those of every part that they use."""

    name: str
    study: Study
    document: Document
    experiments: Mapping[str, PlannedExperiment] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    vary: bool = True

    @property
    def cases(self) -> list[str]:
        """The cases that claims refer to."""
        return sorted({run.case for run in runs(self.study) if run.case is not None})


def runs(study: Study) -> list[Run]:
    """The runs of all claims, and those that show causes."""
    return [run for claim in study.claims for run in claim.runs]


def files_of(run: Run | None) -> list[str]:
    """The experiment files of a claim's run, each once."""
    sides = run.sides if run is not None else ()
    return list(dict.fromkeys(item.experiment for side in sides for item in side.passes))


def plan_study(name: str, vary: bool = True) -> Plan:
    """The plan of the study called ``name``, or in that file; without ``vary`` no value is moved.

    Raises SpecError that names the faulty file.
    """
    study, document = load_study(name)
    files = list(dict.fromkeys(file for run in runs(study) for file in files_of(run)))
    claimed = {file for claim in study.claims for file in files_of(claim.run)}
    planned = {file: _planned(Path(document.file).parent / file, file, study.claims) for file in files}
    varied = [planned[file] for file in files if file in claimed and vary]
    chosen = tuple(moves(part for item in varied for part in item.system.parts().values()))
    for item in varied:
        item.run = _reading(item.run)
        own = item.system.parts()
        item.moves = tuple(move for move in chosen if move.value is not None and _concerns(move, own))
    return Plan(study_name(name), study, document, planned, chosen, vary)


def _planned(path: Path, file: str, claims: Sequence[Claim]) -> PlannedExperiment:
    experiment, document = load_experiment(str(path))
    run = check_experiment(experiment, document)
    metrics = frozenset(run.metric for claim in claims for run in claim.runs if file in files_of(run))
    return PlannedExperiment(experiment, document, run, system_of(run), metrics)


def _reading(run: PointRun) -> PointRun:
    """The run, which also says what it reads."""
    return replace(run, keep_reads=True, key=hashlib.sha256(f"{run.key} reads".encode()).hexdigest())


def _concerns(move: Move, parts: Mapping[str, Part]) -> bool:
    return move.value is not None and bool(overrides_for(move.assumption, move.value, parts))


def _screens(item: PlannedExperiment, own: Sequence[Move]) -> Iterator[PointRun]:
    """Two runs with all values of a group moved; none where the experiment can't have them together."""
    for together in both_ways(own):
        try:
            yield item.with_moves(together)
        except SimsparseError:
            return
