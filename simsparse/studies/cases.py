# SPDX-License-Identifier: Apache-2.0
"""Cases as studies run them: the case as it is, and with each assumed value of its part moved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import simsparse.validate
from simsparse.config.hardware import load_hardware, override_part
from simsparse.errors import SimsparseError, SpecError
from simsparse.store.schema import Record
from simsparse.studies.answers import Answers
from simsparse.studies.assumption import Move, MoveKey, both_ways, grouped, key_of, moves
from simsparse.sweep.code import code_sha256
from simsparse.validate.case import CASES, VARIED, case_folder


@dataclass(frozen=True)
class CaseUnit:
    """One run of a case: its report (``moves`` None), or its points with values of its part moved."""

    case: str
    moves: tuple[Move, ...] | None = None

    @property
    def key(self) -> str:
        """The hash of all that the run depends on: sources, data, part and moves."""
        part = load_hardware(VARIED.get(self.case).part).digest if self.case in VARIED else ""
        moved = None if self.moves is None else sorted(self._overrides.items())
        identity = (code_sha256(), cases_sha256(), self.case, part, moved)
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    @property
    def _overrides(self) -> dict[str, str]:
        return {move.assumption.path: move.value for move in self.moves or () if move.value is not None}

    def run(self) -> Record:
        """The case's report, or its points by label, as JSON; an error is part of the record."""
        try:
            return Record(self.key, json.dumps(self._answer()))
        except SimsparseError as error:
            return Record(self.key, None, str(error))
        except Exception as error:
            return Record(self.key, None, f"internal error: {type(error).__name__}: {error}")

    def _answer(self) -> Any:
        return CASES.get(self.case)().to_dict() if self.moves is None else VARIED.get(self.case).points(self._overrides)


@dataclass
class VariedCase:
    """A case whose part's assumed values are moved, first in groups, then one by one where a group counts."""

    case: str
    moves: tuple[Move, ...]
    groups: tuple[tuple[CaseUnit, ...], ...]
    opened: set[MoveKey] = field(default_factory=set)

    @classmethod
    def of(cls, case: str) -> VariedCase:
        """The case called ``case``; without moves where its values can't be moved."""
        chosen = case_moves(case)
        return cls(case, tuple(chosen), tuple(cls._screens(case, own) for own in grouped(chosen)))

    @staticmethod
    def _screens(case: str, own: Sequence[Move]) -> tuple[CaseUnit, ...]:
        """Runs with all values of a group moved, none where the part can't have them together."""
        screens = tuple(CaseUnit(case, together) for together in both_ways(own))
        part = load_hardware(VARIED.get(case).part)
        try:
            for screen in screens:
                override_part(part, screen._overrides)
        except SpecError:
            return ()
        return screens

    def screening(self) -> list[CaseUnit]:
        """The points of the case as they are, and with the values of each group moved."""
        return [CaseUnit(self.case, ()), *(unit for own in self.groups for unit in own)] if self.moves else []

    def single(self, answers: Answers) -> list[CaseUnit]:
        """A run for each move of the groups that change a point."""
        base = answers.result(CaseUnit(self.case, ()).key) if self.moves else None
        for own, screens in zip(grouped(self.moves), self.groups, strict=True):
            if not screens or base is None or any(answers.result(screen.key) != base for screen in screens):
                self.opened.update(key_of(move) for move in own)
        return [CaseUnit(self.case, (move,)) for move in self.moves if key_of(move) in self.opened]


def case_moves(case: str) -> list[Move]:
    """Each assumed value of the case's part halved and doubled, as far as it can be; none of a case that is not
    varied."""
    return list(moves([load_hardware(VARIED.get(case).part)])) if case in VARIED else []


@cache
def cases_sha256() -> str:
    """Hash of the sources of the cases and of their data."""
    total = hashlib.sha256()
    folders = (Path(simsparse.validate.__file__).parent, case_folder("sat").parent)
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".csv")):
            total.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return total.hexdigest()
