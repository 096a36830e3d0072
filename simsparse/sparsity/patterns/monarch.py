# SPDX-License-Identifier: Apache-2.0
"""Monarch: a product of two block-diagonal matrices with a fixed permutation between them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from simsparse.sparsity.patterns.dense import DENSE
from simsparse.sparsity.patterns.factored import FactoredSparsity
from simsparse.sparsity.statement import PATTERNS, Factor

_TEXT = re.compile(r"monarch:(\d{1,5})")


@PATTERNS.register("monarch")
@dataclass(frozen=True, slots=True)
class Monarch(FactoredSparsity):
    """Two factors of ``blocks`` dense blocks on the diagonal, (in, mid) and (mid, out) to a block.

    ``in`` and ``out`` are a block's share of the columns and rows, rounded up, ``mid`` the smaller one. Permutations
    are taken to cost nothing: they are ways to read and write. Source: Dao et al., "Monarch: Expressive Structured
    Matrices for Efficient and Accurate Training", ICML 2022; sizes as in HazyResearch/fly, monarch_linear.py.
    """

    name: ClassVar[str] = "monarch"
    syntax: ClassVar[str] = "monarch:BLOCKS"
    blocks: int

    @classmethod
    def read(cls, word: str) -> Self | None:
        match = _TEXT.fullmatch(word)
        return cls(int(match[1])) if match and int(match[1]) > 0 else None

    def __str__(self) -> str:
        return f"monarch:{self.blocks}"

    def factors(self, rows: int, cols: int) -> tuple[Factor, ...]:
        inner, outer = -(-cols // self.blocks), -(-rows // self.blocks)
        middle = min(inner, outer)
        return Factor(self.blocks, middle, inner, DENSE), Factor(self.blocks, outer, middle, DENSE)
