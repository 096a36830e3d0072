# SPDX-License-Identifier: Apache-2.0
"""Parts of requests from a kind and its options, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from inspect import signature
from typing import Any, TypeVar

from simsparse.errors import SpecError, nearest
from simsparse.registry import Registry

T = TypeVar("T")


def made(registry: Registry[type[T]], options: str | Mapping[str, Any], key: str) -> T:
    """The part of ``registry`` that ``options`` name. Raises SpecError on a kind or an option that is not known."""
    said = {"kind": options} if isinstance(options, str) else dict(options)
    kind = str(said.pop("kind", ""))
    part = registry.get(kind)
    known = signature(part).parameters
    if unknown := next((name for name in said if name not in known), None):
        raise SpecError(f"{unknown!r} is not an option of {kind}; {nearest(unknown, known)}", key=key)
    needed = [name for name, each in known.items() if each.default is each.empty]
    if missing := next((name for name in needed if name not in said), None):
        raise SpecError(f"{kind} needs {missing}", key=key)
    return part(**said)


def positive(name: str, value: Any) -> float:
    """``value`` as a positive finite number. Raises SpecError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SpecError(f"{value!r} is not a positive number", key=name)
    return float(value)


def whole(name: str, value: Any, least: int = 1) -> int:
    """``value`` as a whole number from ``least``. Raises SpecError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"{value!r} is not a whole number from {least}", key=name)
    return value
