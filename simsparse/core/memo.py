# SPDX-License-Identifier: Apache-2.0
"""Bounded caches keyed by identity, for frozen values that are slow or impossible to hash; numbers by value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any, TypeVar, TypeVarTuple

Args = TypeVarTuple("Args")
V = TypeVar("V")
_NUMBERS = frozenset({int, float, bool})


FEW = 16
"""Answers that a function remembers of values that are large."""
_short: ContextVar[bool] = ContextVar("short", default=False)


@contextmanager
def remembering_few() -> Iterator[None]:
    """Let functions remember apart what they are asked within, and FEW answers at most."""
    token = _short.set(True)
    try:
        yield
    finally:
        _short.reset(token)


class _Carried(tuple[Any, ...]):
    """Arguments that travel beside a key and do not count in it; the cache keeps them alive, so ids stay theirs."""

    __slots__ = ()

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Carried)


def by_identity(maxsize: int) -> Callable[[Callable[[*Args], V]], Callable[[*Args], V]]:
    """Decorator: remember a pure function's last ``maxsize`` answers by the identity of its arguments."""

    def decorate(function: Callable[[*Args], V]) -> Callable[[*Args], V]:
        @lru_cache(maxsize)
        def remembered(values: tuple[*Args], *_: int | float) -> V:
            return function(*values)

        few = lru_cache(min(maxsize, FEW))(remembered.__wrapped__)

        @wraps(function)
        def call(*values: *Args) -> V:
            # Complements of ids, so that none is equal to a number among the arguments.
            key = [value if type(value) in _NUMBERS else ~id(value) for value in values]
            return (few if _short.get() else remembered)(_Carried(values), *key)

        return call

    return decorate
