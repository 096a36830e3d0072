# SPDX-License-Identifier: Apache-2.0
"""Bounded caches keyed by identity, for frozen values that are slow or impossible to hash; numbers by value."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar, TypeVarTuple

Args = TypeVarTuple("Args")
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


def by_identity(maxsize: int) -> Callable[[Callable[[*Args], V]], Callable[[*Args], V]]:
    """Decorator: remember a pure function's last ``maxsize`` answers by the identity of its arguments."""

    def decorate(function: Callable[[*Args], V]) -> Callable[[*Args], V]:
        @lru_cache(maxsize)
        def remembered(*keys: _Same | int | float) -> V:
            return function(*(key.value if isinstance(key, _Same) else key for key in keys))  # type: ignore[arg-type]

        @wraps(function)
        def call(*values: *Args) -> V:
            return remembered(*(value if isinstance(value, int | float) else _Same(value) for value in values))

        return call

    return decorate
