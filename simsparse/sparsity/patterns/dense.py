# SPDX-License-Identifier: Apache-2.0
"""No zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from simsparse.sparsity.nonzeros import Mask, NonZeros
from simsparse.sparsity.patterns.base import MaskSparsity
from simsparse.sparsity.statement import PATTERNS, USUAL, Sparsity


@PATTERNS.register("dense")
@dataclass(frozen=True, slots=True)
class NoZeros(MaskSparsity):
    """Every element is kept."""

    name: ClassVar[str] = "dense"
    syntax: ClassVar[str] = "dense"

    @classmethod
    def read(cls, word: str) -> Self | None:
        return cls() if word == "dense" else None

    def __str__(self) -> str:
        return "dense"

    @property
    def usual(self) -> tuple[str, ...]:
        return ("dense",)

    @property
    def density(self) -> float:
        return 1.0

    @property
    def is_dense(self) -> bool:
        return True

    def kept(self, rows: int, cols: int) -> int:
        return rows * cols

    def tiles(self, edge: int, rows: int, cols: int) -> int:
        return -(-rows // edge) * -(-cols // edge)

    def places(self, rng: np.random.Generator, rows: int, cols: int) -> Mask:
        del rng
        return np.ones((rows, cols), np.bool_)

    def draw(self, rows: int, cols: int, seed: int) -> NonZeros:
        del seed
        return NonZeros.dense(rows, cols)

    def stored_bits(self, rows: int, cols: int, value_bits: int, storage: str = USUAL) -> int:
        if storage in (USUAL, "dense"):  # the most frequent call, and no format adds to it
            return rows * cols * value_bits
        return MaskSparsity.stored_bits(self, rows, cols, value_bits, storage)


DENSE: Sparsity = NoZeros()
