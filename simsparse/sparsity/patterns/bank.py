# SPDX-License-Identifier: Apache-2.0
"""Bank-balanced: every bank of a row keeps equally many elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from simsparse.sparsity.patterns.base import GroupedSparsity
from simsparse.sparsity.statement import PATTERNS, read_sized


@PATTERNS.register("bank")
@dataclass(frozen=True, slots=True)
class Bank(GroupedSparsity):
    """A share ``density`` of every aligned ``bank`` elements of a row, at least one.

    Usual storage: each kept value with its index of ceil(log2 bank) bits. Source: Cao et al., FPGA 2019.
    """

    name: ClassVar[str] = "bank"
    syntax: ClassVar[str] = "bankB:DENSITY"
    bank: int
    density: float

    @classmethod
    def read(cls, word: str) -> Self | None:
        sized = read_sized(cls.name, word)
        return cls(*sized) if sized else None

    def __str__(self) -> str:
        return f"bank{self.bank}:{self.density:g}"

    @property
    def usual(self) -> tuple[str, ...]:
        keep, bank = self.groups
        return (f"bank:{bank}:{keep}",)

    @property
    def exact(self) -> str:
        return f"bank{self.bank}:{self.density!r}"

    @property
    def groups(self) -> tuple[int, int]:
        return max(1, round(self.density * self.bank)), self.bank
