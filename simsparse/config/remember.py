# SPDX-License-Identifier: Apache-2.0
"""Values made of files, remembered as long as every file that was read for them has the same content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from simsparse.config.yaml import Document, read_yaml
from simsparse.errors import SpecError

Args = TypeVarTuple("Args")
V = TypeVar("V")
_readers: ContextVar[tuple[dict[Path, Document], ...]] = ContextVar("readers", default=())


def read_noted(path: Path) -> Document:
    """Parse a file, and note it for every value that is being made. Raises SpecError when it can't be read."""
    document = read_yaml(path)
    for read in _readers.get():
        read[path] = document
    return document


def by_content(maxsize: int) -> Callable[[Callable[[*Args], V]], Callable[[*Args], V]]:
    """Decorator: remember the last ``maxsize`` answers of a function that reads files through ``read_noted``.

    An answer holds as long as all files that were read for it, those of functions below included, have the content that
    they had. Arguments must be hashable.
    """

    def decorate(function: Callable[[*Args], V]) -> Callable[[*Args], V]:
        kept: OrderedDict[tuple[object, ...], tuple[dict[Path, Document], V]] = OrderedDict()

        @wraps(function)
        def call(*values: *Args) -> V:
            if values in kept and _unchanged(kept[values][0]):
                kept.move_to_end(values)
                return kept[values][1]
            read: dict[Path, Document] = {}
            token = _readers.set((*_readers.get(), read))
            try:
                answer = function(*values)
            finally:
                _readers.reset(token)
            kept[values] = read, answer
            while len(kept) > maxsize:
                kept.popitem(last=False)
            return answer

        return call

    return decorate


def _unchanged(read: dict[Path, Document]) -> bool:
    try:
        return all(read_noted(path) is document for path, document in read.items())
    except SpecError:
        return False
