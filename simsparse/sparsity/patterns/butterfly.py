# SPDX-License-Identifier: Apache-2.0
"""Butterfly: a product of log2(n) matrices with two non-zeros per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from simsparse.sparsity.patterns.dense import DENSE
from simsparse.sparsity.patterns.factored import FactoredSparsity
from simsparse.sparsity.statement import PATTERNS, Factor


@PATTERNS.register("butterfly")
@dataclass(frozen=True, slots=True)
class Butterfly(FactoredSparsity):
    """log2(N) factors of N/2 blocks of 2 x 2, N the columns rounded up to a power of two.

    A matrix of more than N rows is several such products side by side, all of the same inputs; rows beyond the
    matrix's are computed and dropped. Source: Dao et al., "Learning Fast Algorithms for Linear Transforms Using
    Butterfly Factorizations", ICML 2019; sizes as in HazyResearch/butterfly, torch_butterfly/butterfly.py.
    """

    name: ClassVar[str] = "butterfly"
    syntax: ClassVar[str] = "butterfly"

    @classmethod
    def read(cls, word: str) -> Self | None:
        return cls() if word == "butterfly" else None

    def __str__(self) -> str:
        return "butterfly"

    def factors(self, rows: int, cols: int) -> tuple[Factor, ...]:
        levels = max(1, (cols - 1).bit_length())
        stacks = -(-rows // (1 << levels))
        return (Factor(stacks << (levels - 1), 2, 2, DENSE),) * levels
