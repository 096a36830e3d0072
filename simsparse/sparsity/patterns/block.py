# SPDX-License-Identifier: Apache-2.0
"""Block: square blocks are kept or dropped whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from simsparse.sparsity.nonzeros import Mask
from simsparse.sparsity.patterns.base import MaskSparsity, share_of
from simsparse.sparsity.statement import PATTERNS, read_sized


@PATTERNS.register("block")
@dataclass(frozen=True, slots=True)
class Block(MaskSparsity):
    """A share ``density`` of the blocks of ``edge`` x ``edge``, rounded up, anywhere. Usual storage: BSR."""

    name: ClassVar[str] = "block"
    syntax: ClassVar[str] = "blockB:DENSITY"
    edge: int
    density: float

    @classmethod
    def read(cls, word: str) -> Self | None:
        sized = read_sized(cls.name, word)
        return cls(*sized) if sized else None

    def __str__(self) -> str:
        return f"block{self.edge}:{self.density:g}"

    @property
    def usual(self) -> tuple[str, ...]:
        return (f"bsr:{self.edge}",)

    @property
    def exact(self) -> str:
        return f"block{self.edge}:{self.density!r}"

    @property
    def rows_together(self) -> int:
        return self.edge

    def kept(self, rows: int, cols: int) -> int:
        return share_of(rows * cols, self.density)

    def nonzeros(self, rows: int, cols: int) -> int:
        """Of the blocks kept, rounded up; a block that the matrix's edge cuts counts as an average one."""
        grid = -(-rows // self.edge) * -(-cols // self.edge)
        return -(-share_of(grid, self.density) * rows * cols // grid)

    def tiles(self, edge: int, rows: int, cols: int) -> int | None:
        kept = share_of(-(-rows // self.edge) * -(-cols // self.edge), self.density)
        if edge == self.edge:
            return kept
        even = self.edge % edge == 0 and rows % self.edge == 0 and cols % self.edge == 0
        return kept * (self.edge // edge) ** 2 if even else None

    def places(self, rng: np.random.Generator, rows: int, cols: int) -> Mask:
        block_rows, block_cols = -(-rows // self.edge), -(-cols // self.edge)
        chosen = np.zeros(block_rows * block_cols, np.bool_)
        chosen[rng.permutation(chosen.size)[: share_of(chosen.size, self.density)]] = True
        blocks = chosen.reshape(block_rows, block_cols)
        return np.repeat(np.repeat(blocks, self.edge, axis=0), self.edge, axis=1)[:rows, :cols]
