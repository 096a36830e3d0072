# SPDX-License-Identifier: Apache-2.0
"""What residencies share whose weights rest in host memory: scope and size of copies."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.errors import SpecError
from simsparse.lowering.weights import WeightScope
from simsparse.policies.residency.base import Residency


@dataclass(frozen=True)
class Streamed(Residency):
    """Options: ``chunk_bytes``, the largest single copy (None: an expert or a matrix in one).

    Raises SpecError on another value.
    """

    chunk_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.chunk_bytes is not None:
            whole_number("chunk_bytes", self.chunk_bytes)

    @property
    def scope(self) -> WeightScope:
        return WeightScope.EXPERTS


def whole_number(key: str, value: object) -> None:
    """Raises SpecError when an option is no positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"{value!r} is not a positive whole number", key=key)
