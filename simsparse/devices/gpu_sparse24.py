# SPDX-License-Identifier: Apache-2.0
"""2:4 weights on a GPU: which operators take the 2:4 path, and what their weights occupy."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu import GpuPart
from simsparse.core import DType, Op, OpKind, Sparsity
from simsparse.sparsity import USUAL
from simsparse.sparsity.patterns.nm import NM

BitsT = TypeVar("BitsT", float, NDArray[np.float64])
HALF = frozenset((DType.BF16, DType.FP16))
NO_TYPES: frozenset[DType] = frozenset()


def stored_24(bits: BitsT) -> BitsT:
    """Bytes of a 2:4 weight of ``bits`` against the dense one: half the values, two bits of index for each of them."""
    return 0.5 * (bits + 2.0) / bits


def types_24(part: GpuPart) -> frozenset[DType]:
    """Types whose 2:4 products run on the card's 2:4 units; the same object for cards with the same kernels.

    PyTorch has kernels of 16-bit types on every card, of others where the card's library names them.
    """
    if part.compute.sparse24 is None:
        return NO_TYPES
    priced = part.energy.tensor24_mac or {}
    return _types_24(tuple(name for name in part.kernels.gemm.sparse24 or () if name in priced))


@cache
def _types_24(names: tuple[str, ...]) -> frozenset[DType]:
    return frozenset((*HALF, *map(DType.parse, names)))


def conforms_24(sparsity: Sparsity) -> bool:
    """Whether weights of this pattern fit the 2:4 format: at most two kept of every aligned four."""
    return isinstance(sparsity, NM) and sparsity.n <= 2 and sparsity.m % 4 == 0


def runs_24(op: Op, types: frozenset[DType]) -> bool:
    """Whether the op's GEMMs take the 2:4 path: inputs and weights of one of ``types``, conforming; no convolution."""
    if not conforms_24(op.weight_sparsity):
        return False
    return op.dtype in types and op.kind != OpKind.CONV2D and op.w_dtype is op.dtype and _stored_24(op)


def _stored_24(op: Op) -> bool:
    """Whether the weights of ``op`` are as the 2:4 path reads them, two values and their indexes of every four."""
    named = op.weight_format
    return named in (USUAL, "sparse24_cutlass", "nm_index:2:4") or (
        named == "nm_index" and op.weight_sparsity.groups == (2, 4)
    )
