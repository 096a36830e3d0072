"""Bounded caches keyed by identity, for frozen values that are slow or impossible to hash."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
V = TypeVar("V")


class _Same:
    """A value that is equal to itself alone; the cache keeps it alive, so its id stays its own."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value


def by_identity(maxsize: int) -> Callable[[Callable[P, V]], Callable[P, V]]:
    """Decorator: remember a pure function's last ``maxsize`` answers by the identity of its arguments."""

    def decorate(function: Callable[P, V]) -> Callable[P, V]:
        @lru_cache(maxsize)
        def remembered(*keys: _Same) -> V:
            return function(*(key.value for key in keys))  # type: ignore[call-arg, arg-type]

        @wraps(function)
        def call(*values: P.args, **named: P.kwargs) -> V:
            return remembered(*map(_Same, values), *map(_Same, named.values()))

        return call

    return decorate
