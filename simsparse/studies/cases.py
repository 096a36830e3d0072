# SPDX-License-Identifier: Apache-2.0
"""Cases as studies run them: the case as it is, and with each assumed value of its part moved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import simsparse.validate
from simsparse.config.hardware import load_hardware
from simsparse.errors import SimsparseError
from simsparse.store.schema import Record
from simsparse.studies.assumption import Move, moves
from simsparse.sweep.code import code_sha256
from simsparse.validate.case import CASES, VARIED, case_folder


@dataclass(frozen=True)
class CaseUnit:
    """One run of a case: as it is (``move`` None), or its points with one value of its part moved."""

    case: str
    move: Move | None = None

    @property
    def key(self) -> str:
        """The hash of all that the run depends on: sources, data, part and move."""
        part = load_hardware(VARIED.get(self.case).part).digest if self.case in VARIED else ""
        moved = (self.move.assumption.path, self.move.value) if self.move else None
        identity = (code_sha256(), cases_sha256(), self.case, part, moved)
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def run(self) -> Record:
        """The case's report, or its points by label, as JSON; an error is part of the record."""
        try:
            return Record(self.key, json.dumps(self._answer()))
        except SimsparseError as error:
            return Record(self.key, None, str(error))
        except Exception as error:
            return Record(self.key, None, f"internal error: {type(error).__name__}: {error}")

    def _answer(self) -> Any:
        if self.move is None:
            return CASES.get(self.case)().to_dict()
        assert self.move.value is not None
        return VARIED.get(self.case).points({self.move.assumption.path: self.move.value})


def case_moves(case: str) -> list[Move]:
    """Each assumed value of the case's part halved and doubled; none where the case can't be varied."""
    return list(moves([load_hardware(VARIED.get(case).part)])) if case in VARIED else []


def case_units(cases: Iterable[str], vary: bool) -> Iterator[CaseUnit]:
    """The runs of ``cases``, each as it is and, with ``vary``, with every value moved that can be."""
    for case in cases:
        yield CaseUnit(case)
        if vary:
            yield from (CaseUnit(case, move) for move in case_moves(case) if move.value is not None)


@cache
def cases_sha256() -> str:
    """Hash of the sources of the cases and of their data."""
    total = hashlib.sha256()
    folders = (Path(simsparse.validate.__file__).parent, case_folder("sat").parent)
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".csv")):
            total.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return total.hexdigest()
