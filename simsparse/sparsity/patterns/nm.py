# SPDX-License-Identifier: Apache-2.0
"""N:M: exactly N of every aligned M elements of a row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from simsparse.sparsity.patterns.base import GroupedSparsity
from simsparse.sparsity.statement import PATTERNS

_TEXT = re.compile(r"(\d{1,4}):(\d{1,4})")


@PATTERNS.register("nm")
@dataclass(frozen=True, slots=True)
class NM(GroupedSparsity):
    """``n`` of every ``m`` elements along k.

    Usual storage: ``n`` values and the smaller of ``n`` indexes of ceil(log2 m) bits and an m-bit bitmap per group.
    """

    name: ClassVar[str] = "nm"
    syntax: ClassVar[str] = "N:M such as 2:4"
    n: int
    m: int

    @classmethod
    def read(cls, word: str) -> Self | None:
        match = _TEXT.fullmatch(word)
        return cls(int(match[1]), int(match[2])) if match and 0 < int(match[1]) <= int(match[2]) else None

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def usual(self) -> tuple[str, ...]:
        return f"nm_index:{self.n}:{self.m}", f"nm_bitmap:{self.n}:{self.m}"

    @property
    def density(self) -> float:
        return self.n / self.m

    @property
    def groups(self) -> tuple[int, int]:
        return self.n, self.m
