# SPDX-License-Identifier: Apache-2.0
"""Factories of operators by name: ``ops.linear``, ``ops.attention`` and one for every other kind in KINDS."""

from __future__ import annotations

from collections.abc import Callable

from simsparse.core.kind import KINDS
from simsparse.core.op import Op


def __getattr__(name: str) -> Callable[..., Op]:
    if name.startswith("_") or name not in KINDS:
        raise AttributeError(f"there is no op kind {name!r}; allowed: {', '.join(KINDS)}")
    return KINDS.get(name).factory


def __dir__() -> list[str]:
    return sorted(KINDS)
