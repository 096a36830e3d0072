# SPDX-License-Identifier: Apache-2.0
"""Errors, as a tree: everything that a user's input can cause is a SimsparseError.

SimsparseError
├── SpecError        a YAML file, an override or an argument says something that is not allowed
├── TraceError       a model can't be traced, or a trace file is damaged or of another version
├── MappingError     an operator can't be placed on the device that was asked for
├── SimulationError  the engine can't go on: a memory is full, a policy deadlocks
└── StoreError       a sweep's result store is missing, damaged or belongs to another sweep
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from simsparse.text import printable

LONGEST_PLACE, LONGEST_MESSAGE = 250, 1000
"""Characters of an error's file, of its key, and of its message; of longer ones the beginning and the end are shown."""


class SimsparseError(Exception):
    """Base of all errors that the tool raises on purpose.

    ``str(error)`` is one line of printable text: ``file:line: key: what is wrong; what is allowed``.
    """

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        self.message, self.file, self.line, self.key = message, file, line, key
        super().__init__(message)

    def __str__(self) -> str:
        place = _bounded(self.file or "", LONGEST_PLACE)
        if place and self.line is not None:
            place += f":{self.line}"
        key, message = _bounded(self.key or "", LONGEST_PLACE), _bounded(self.message, LONGEST_MESSAGE)
        return printable(" ".join(": ".join(part for part in (place, key, message) if part).split()))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.file, self.line, self.key))


def _rebuild(
    kind: type[SimsparseError], message: str, file: str | None, line: int | None, key: str | None
) -> SimsparseError:
    return kind(message, file=file, line=line, key=key)


class SpecError(SimsparseError):
    """A YAML file, an override or an argument says something that is not allowed."""


class TraceError(SimsparseError):
    """A model can't be traced, or a trace file is damaged or of another version."""


class MappingError(SimsparseError):
    """An operator can't be placed on the device that was asked for."""


class SimulationError(SimsparseError):
    """The engine can't go on: a memory is full, a policy deadlocks."""


class StoreError(SimsparseError):
    """A sweep's result store is missing, damaged or belongs to another sweep."""


def _bounded(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    left_out = f" ... ({len(text)} characters) ... "
    end = longest // 3
    return text[: longest - end - len(left_out)] + left_out + text[-end:]


def nearest(name: str, allowed: Iterable[str], limit: int = 12) -> str:
    """``"did you mean X? allowed: A, B, C"`` for an unknown ``name``."""
    names = sorted(allowed)
    word = name.lower()
    ends = {known: (known.lower(), known.lower().rpartition("/")[2]) for known in names}
    begun = sorted((known for known, end in ends.items() if word and any(e.startswith(word) for e in end)), key=len)
    close = begun or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    close = close or [known for known, (whole, _) in ends.items() if whole in difflib.get_close_matches(word, [whole])]
    shown = ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}allowed: {shown}"
