# SPDX-License-Identifier: Apache-2.0
"""The one rule by which devices draw the masks of operands of which only the sparsity is known."""

from __future__ import annotations

from enum import IntEnum
from zlib import crc32

from simsparse.sparsity.nonzeros import NonZeros
from simsparse.sparsity.statement import Sparsity


class Operand(IntEnum):
    """The operand of ``y[m, n] = x[m, k] @ w[n, k].T`` that a mask is for."""

    WEIGHT = 0
    INPUT = 1


def drawn(sparsity: Sparsity, rows: int, cols: int, operand: Operand, seed: int = 0) -> NonZeros:
    """Non-zeros of an operand (rows, cols): the same on every device, at every run of equal ``seed``.

    The draw's seed is the CRC-32 of the sparsity's text, plus one for inputs, so that weights and inputs of one shape
    and sparsity do not have the same zeros, plus two per unit of ``seed``. A weight has the same zeros for any number
    of tokens and any element type.
    """
    return sparsity.draw(rows, cols, crc32(str(sparsity).encode()) + operand + 2 * seed)
