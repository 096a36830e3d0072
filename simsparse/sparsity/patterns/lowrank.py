# SPDX-License-Identifier: Apache-2.0
"""Low rank, alone or plus a sparse matrix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from simsparse.errors import SpecError
from simsparse.sparsity.patterns.dense import DENSE
from simsparse.sparsity.patterns.factored import FactoredSparsity
from simsparse.sparsity.statement import PATTERNS, Factor, Sparsity

_TEXT = re.compile(r"lowrank(\d{1,5})(?:\+(.+))?")


@PATTERNS.register("lowrank")
@dataclass(frozen=True, slots=True)
class LowRank(FactoredSparsity):
    """U V + S: V (rank, columns) and U (rows, rank) are dense, S has the zeros of ``rest``; U V alone without it.

    The products of U and S add to one output; reading it again for the sum is left out. Source: Li et al., "LoSparse:
    Structured Compression of Large Language Models based on Low-Rank and Sparse Approximation", ICML 2023.
    """

    name: ClassVar[str] = "lowrank"
    syntax: ClassVar[str] = "lowrankR or lowrankR+SPARSITY"
    rank: int
    rest: Sparsity | None = None

    @classmethod
    def read(cls, word: str) -> Self | None:
        match = _TEXT.fullmatch(word)
        if not match or not int(match[1]):
            return None
        try:
            rest = Sparsity.parse(match[2]) if match[2] else None
        except SpecError:
            return None
        return None if rest is not None and (rest.is_dense or rest.is_factored) else cls(int(match[1]), rest)

    def __str__(self) -> str:
        return f"lowrank{self.rank}" + (f"+{self.rest}" if self.rest else "")

    @property
    def exact(self) -> str:
        return f"lowrank{self.rank}" + (f"+{self.rest.exact}" if self.rest else "")

    def factors(self, rows: int, cols: int) -> tuple[Factor, ...]:
        low = Factor(1, self.rank, cols, DENSE), Factor(1, rows, self.rank, DENSE)
        return (*low, Factor(1, rows, cols, self.rest)) if self.rest else low
