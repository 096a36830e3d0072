"""The format that a sparsity pattern is usually stored in."""

from __future__ import annotations

from simsparse.sparsity.formats.bank import BankBalanced
from simsparse.sparsity.formats.base import Format
from simsparse.sparsity.formats.bitmap import Bitmap
from simsparse.sparsity.formats.bsr import Bsr
from simsparse.sparsity.formats.compressed import Csr
from simsparse.sparsity.formats.dense import Dense
from simsparse.sparsity.formats.nm import NMBitmap, NMIndex
from simsparse.sparsity.statement import Sparsity, SparsityKind


def usual_format(sparsity: Sparsity, rows: int, cols: int) -> Format:
    """The format whose bits ``sparsity.stored_bits(rows, cols, ...)`` counts."""
    match sparsity.kind:
        case SparsityKind.DENSE:
            return Dense()
        case SparsityKind.NM:
            return _least_metadata(NMIndex(sparsity.n, sparsity.m), NMBitmap(sparsity.n, sparsity.m),
                                   (1, sparsity.m), sparsity.n)  # fmt: skip
        case SparsityKind.UNSTRUCTURED:
            return _least_metadata(Bitmap(), Csr(), (rows, cols), sparsity.kept(rows, cols))
        case SparsityKind.BLOCK:
            return Bsr(sparsity.block)
        case SparsityKind.BANK:
            return BankBalanced(sparsity.block, max(1, round(sparsity.density * sparsity.block)))


def _least_metadata(first: Format, second: Format, shape: tuple[int, int], units: int) -> Format:
    """The cheaper of two formats whose values cost the same; the first of equals."""
    return min(first, second, key=lambda form: form.stored_bits(shape, units, value_bits=0))
