"""Sparsity patterns of an operand and the bytes their usual storage takes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from simsparse.errors import SpecError

ALLOWED = "dense, N:M such as 2:4, unstructured:DENSITY, blockB:DENSITY, bankB:DENSITY"
_NM = re.compile(r"(\d{1,4}):(\d{1,4})")
_DENSITY = re.compile(r"(unstructured|block(\d{1,5})|bank(\d{1,5})):(\d*\.?\d+(?:[eE][-+]?\d+)?)")


class SparsityKind(StrEnum):
    """How zeros are arranged."""

    DENSE = "dense"
    NM = "nm"
    UNSTRUCTURED = "unstructured"
    BLOCK = "block"
    BANK = "bank"


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Arrangement of an operand's non-zeros along its reduction dimension k.

    ``density`` is the share of elements kept. N:M keeps ``n`` of every ``m``; ``block`` is the edge
    of a square block (BLOCK) or the length of a bank of equal non-zero count (BANK).
    """

    kind: SparsityKind = SparsityKind.DENSE
    density: float = 1.0
    n: int = 0
    m: int = 0
    block: int = 0

    @classmethod
    def parse(cls, text: str | Sparsity) -> Sparsity:
        """A sparsity from text such as ``2:4`` or ``unstructured:0.1``. Raises SpecError."""
        if isinstance(text, Sparsity):
            return text
        word = str(text).strip().lower()
        if word == "dense":
            return DENSE
        if match := _NM.fullmatch(word):
            n, m = int(match[1]), int(match[2])
            if 0 < n <= m:
                return cls(SparsityKind.NM, n / m, n=n, m=m)
        if match := _DENSITY.fullmatch(word):
            density = float(match[4])
            edge = int(match[2] or match[3] or 0)
            kind = SparsityKind(match[1].rstrip("0123456789"))
            if 0.0 < density <= 1.0 and (edge > 0 or kind is SparsityKind.UNSTRUCTURED):
                return cls(kind, density, block=edge)
        raise SpecError(f"{text!r} is not a sparsity; expected {ALLOWED}", key="sparsity")

    def __str__(self) -> str:
        if self.kind is SparsityKind.DENSE:
            return "dense"
        if self.kind is SparsityKind.NM:
            return f"{self.n}:{self.m}"
        edge = str(self.block) if self.block else ""
        return f"{self.kind}{edge}:{self.density:g}"

    @property
    def is_dense(self) -> bool:
        return self.kind is SparsityKind.DENSE

    def kept(self, rows: int, cols: int) -> int:
        """Elements kept of a ``rows`` x ``cols`` operand whose rows run along k.

        A last group of an N:M row that is shorter than M keeps at most N of what it has.
        """
        if self.kind is SparsityKind.NM:
            return rows * (cols // self.m * self.n + min(self.n, cols % self.m))
        if self.kind is SparsityKind.BANK:
            per_bank = max(1, round(self.density * self.block))
            return rows * (cols // self.block * per_bank + min(per_bank, cols % self.block))
        return rows * cols if self.is_dense else _share(rows * cols, self.density)

    def stored_bits(self, rows: int, cols: int, value_bits: int) -> int:
        """Bits of the usual storage of a ``rows`` x ``cols`` operand, metadata included.

        N:M: ``n`` values and the cheaper of ``n`` indexes of ceil(log2 m) bits and an m-bit bitmap
        per group. Unstructured: the cheaper of bitmap and CSR with 16-bit column indexes and 32-bit
        row pointers (32-bit indexes from 65,536 columns). Block: BSR with 32-bit indexes. Bank:
        ceil(log2 bank) bits per kept value. Source: derived; equal to the buffers of
        simsparse.sparsity.formats.
        """
        kept = self.kept(rows, cols)
        if self.is_dense:
            return rows * cols * value_bits
        if self.kind is SparsityKind.NM:
            groups = rows * -(-cols // self.m)
            meta = min(self.n * math.ceil(math.log2(self.m)), self.m) if self.m > 1 else 0
            return groups * (self.n * value_bits + meta)
        if self.kind is SparsityKind.UNSTRUCTURED:
            index = 16 if cols <= 65536 else 32
            return kept * value_bits + min(rows * cols, kept * index + 32 * (rows + 1))
        if self.kind is SparsityKind.BLOCK:
            area = self.block * self.block
            block_rows, block_cols = -(-rows // self.block), -(-cols // self.block)
            blocks = _share(block_rows * block_cols, self.density)
            return blocks * (area * value_bits + 32) + 32 * (block_rows + 1)
        return kept * (value_bits + max(1, math.ceil(math.log2(self.block))))


def _share(total: int, density: float) -> int:
    """``density`` of ``total``, rounded up; 0.07 of 100 is 7 although 100 * 0.07 > 7 in binary."""
    return math.ceil(round(total * density, 6))


DENSE = Sparsity()
