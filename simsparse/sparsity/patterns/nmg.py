# SPDX-License-Identifier: Apache-2.0
"""Grouped N:M (n:m:g): N:M rows that share their places evenly, so that a counter can replace the indexes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from math import ceil, comb
from typing import ClassVar, Self

import numpy as np

from simsparse.sparsity.formats.grouped_nm import LARGEST_CHUNK
from simsparse.sparsity.nonzeros import Mask
from simsparse.sparsity.patterns.nm import NM
from simsparse.sparsity.statement import PATTERNS

_TEXT = re.compile(r"nmg:(\d{1,2}):(\d{1,2}):(\d{1,5})")


@PATTERNS.register("nmg")
@dataclass(frozen=True, slots=True)
class NMGrouped(NM):
    """``n`` of every ``m``, and in a chunk of C(m, n) ``g`` rows each of the C(m, n) choices stands in ``g`` rows.

    That holds for each group of ``m`` columns by itself, in any order of the rows; the matrix's edge may cut a chunk
    and a group. Usual storage: the format nmg. Source: Ivanov et al., "STen: Productive and Efficient Sparsity in
    PyTorch", 2023.
    """

    name: ClassVar[str] = "nmg"
    syntax: ClassVar[str] = "nmg:N:M:G"
    g: int

    @classmethod
    def read(cls, word: str) -> Self | None:
        if not (match := _TEXT.fullmatch(word)):
            return None
        n, m, g = map(int, match.groups())
        return cls(n, m, g) if 0 < n <= m and g > 0 and comb(m, n) * g < LARGEST_CHUNK else None

    def __str__(self) -> str:
        return f"nmg:{self.n}:{self.m}:{self.g}"

    @property
    def usual(self) -> tuple[str, ...]:
        return (str(self),)

    @property
    def rows_together(self) -> int:
        return comb(self.m, self.n) * self.g

    def kept(self, rows: int, cols: int) -> int:
        whole, rest = divmod(cols, self.m)
        return rows * whole * self.n + ceil(rows * rest * self.n / self.m)

    def places(self, rng: np.random.Generator, rows: int, cols: int) -> Mask:
        chunk, blocks = self.rows_together, -(-cols // self.m)
        choices = np.zeros((comb(self.m, self.n), self.m), np.bool_)
        np.put_along_axis(choices, np.array(list(combinations(range(self.m), self.n))), True, axis=1)
        turn = np.tile(np.arange(len(choices)).repeat(self.g), (-(-rows // chunk), blocks, 1))
        shuffled = choices[rng.permuted(turn, axis=-1)]
        mask = shuffled.transpose(0, 2, 1, 3).reshape(-1, blocks * self.m)
        return np.ascontiguousarray(mask[:rows, :cols])
