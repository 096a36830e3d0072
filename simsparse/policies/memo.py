"""Bounded caches keyed by identity, for frozen values that are slow or impossible to hash."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class _Same(Generic[K]):
    """A value that is equal to itself alone; the cache keeps it alive, so its id stays its own."""

    __slots__ = ("value",)

    def __init__(self, value: K) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value


def by_identity(maxsize: int) -> Callable[[Callable[[K], V]], Callable[[K], V]]:
    """Decorator: remember a pure function's last ``maxsize`` answers by the identity of its argument."""

    def decorate(function: Callable[[K], V]) -> Callable[[K], V]:
        @lru_cache(maxsize)
        def remembered(key: _Same[K]) -> V:
            return function(key.value)

        @wraps(function)
        def call(value: K) -> V:
            return remembered(_Same(value))

        return call

    return decorate
