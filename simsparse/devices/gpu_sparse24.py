# SPDX-License-Identifier: Apache-2.0
"""2:4 weights on a GPU: which operators take the 2:4 path, and what their weights occupy."""

from __future__ import annotations

from simsparse.core import Op, OpKind, Sparsity
from simsparse.sparsity import USUAL
from simsparse.sparsity.patterns.nm import NM

STORED_24 = 0.5625
"""Bytes of a 16-bit 2:4 weight against the dense one: half the values, two bits of index each."""


def conforms_24(sparsity: Sparsity) -> bool:
    """Whether weights of this pattern fit the 2:4 format: at most two kept of every aligned four."""
    return isinstance(sparsity, NM) and sparsity.n <= 2 and sparsity.m % 4 == 0


def runs_24(op: Op, sparse24: bool) -> bool:
    """Whether the op's GEMMs take the 2:4 path: 16-bit, conforming weights, a card that has it; no convolution does."""
    suited = sparse24 and op.kind != OpKind.CONV2D and op.dtype.bits == 16 == op.w_dtype.bits
    return suited and conforms_24(op.weight_sparsity) and _stored_24(op)


def _stored_24(op: Op) -> bool:
    """Whether the weights of ``op`` are as the 2:4 path reads them, two values and their indexes of every four."""
    named = op.weight_format
    return named in (USUAL, "sparse24_cutlass", "nm_index:2:4") or (
        named == "nm_index" and op.weight_sparsity.groups == (2, 4)
    )
