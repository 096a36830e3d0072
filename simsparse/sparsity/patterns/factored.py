# SPDX-License-Identifier: Apache-2.0
"""What patterns share whose matrix is a product or a sum of other matrices, which are stored and multiplied instead."""

from __future__ import annotations

from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.sparsity.statement import USUAL, Factor, Sparsity


class FactoredSparsity(Sparsity):
    """A pattern that names its ``factors``; the matrix itself, multiplied out, has no zeros.

    Stored as ``dense`` it is multiplied out, and a machine can then not use the factors. Any other format is that of
    the factors that have zeros; factors without zeros are stored as they are.
    """

    __slots__ = ()

    @property
    def density(self) -> float:
        return 1.0

    @property
    def is_factored(self) -> bool:
        return True

    def kept(self, rows: int, cols: int) -> int:
        return sum(each.count * each.sparsity.kept(each.rows, each.cols) for each in self.factors(rows, cols))

    def draw(self, rows: int, cols: int, seed: int) -> NonZeros:
        """All of the matrix: what it is multiplied out."""
        del seed
        return NonZeros.dense(rows, cols)

    def refusal(self, storage: str, rows: int, cols: int, value_bits: int) -> str | None:
        if storage in (USUAL, "dense"):
            return None
        sparse = [each for each in self.factors(rows, cols) if not each.sparsity.is_dense]
        reasons = (each.sparsity.refusal(storage, each.rows, each.cols, value_bits) for each in sparse)
        if not sparse:
            return f"the factors of {self} weights have no zeros; expected usual or dense"
        return next((reason for reason in reasons if reason), None)

    def stored_bits(self, rows: int, cols: int, value_bits: int, storage: str = USUAL) -> int:
        if reason := self.refusal(storage, rows, cols, value_bits):
            raise SpecError(reason, key="weight_format")
        if storage == "dense":
            return rows * cols * value_bits
        return sum(_bits(each, value_bits, storage) for each in self.factors(rows, cols))


def _bits(factor: Factor, value_bits: int, storage: str) -> int:
    named = USUAL if factor.sparsity.is_dense else storage
    return factor.count * factor.sparsity.stored_bits(factor.rows, factor.cols, value_bits, named)
