# SPDX-License-Identifier: Apache-2.0
"""The matrix products of many operators as arrays: what a matrix unit without caches runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.core import DENSE, Op, OpKind, Sparsity
from simsparse.dataflow import Gemms
from simsparse.dataflow.base import Wholes
from simsparse.errors import MappingError
from simsparse.sparsity.drawn import Operand
from simsparse.sparsity.statement import USUAL

Indexes = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_WALKED = 2**28
"""Elements of an operand whose pattern a cycle core walks."""


@dataclass(frozen=True)
class GemmList:
    """Matrix products of many ops: ``count`` equal ones of ``m`` x ``n`` x ``k`` for op ``owner``.

    The byte arrays are those of one product: the n x k operand as stored, the m x k operand and the
    result, as far as they cross the memory. ``keep`` of ``group`` weights are kept; 1 of 1 is dense.
    """

    owner: Indexes
    count: Wholes
    m: Wholes
    n: Wholes
    k: Wholes
    weight_bytes: Floats
    input_bytes: Floats
    output_bytes: Floats
    keep: Wholes
    group: Wholes

    @property
    def gemms(self) -> Gemms:
        """The shapes alone."""
        return Gemms(self.m, self.n, self.k, self.keep, self.group)

    @property
    def macs(self) -> Wholes:
        """Kept multiply-accumulates of one product."""
        return self.gemms.macs

    def per_op(self, values: Any, ops: int) -> Floats:
        """The sum over each op's products of ``values`` of one product."""
        total = np.zeros(ops)
        np.add.at(total, self.owner, self.count * values)
        return total

    def longest_per_op(self, values: Floats, ops: int) -> Floats:
        """The largest of ``values`` among each op's products."""
        longest = np.zeros(ops)
        np.maximum.at(longest, self.owner, values)
        return longest


METADATA: Mapping[str, tuple[str, ...]] = {
    "least": ("nm_index", "nm_bitmap"), "index": ("nm_index",), "bitmap": ("nm_bitmap",),
    "combinatorial": ("nm_combinatorial",),
}  # fmt: skip
"""Formats of N:M weights that a part reads, by how it says which of M are kept; ``least`` takes the smaller one."""


def gemm_list_of(ops: Sequence[Op], patterns: frozenset[str], metadata: str = "least") -> GemmList:
    """The products of ``ops``. Weights of a sparsity in ``patterns`` are sparse, N:M ones with that ``metadata``;
    others are dense. Weights in a format that an op names have the bytes of that format."""
    rows = [(i, *row) for i, op in enumerate(ops) for row in _products(op, patterns, metadata)]
    owner, count, m, n, k, weight, read, write, keep, group = zip(*rows, strict=True) if rows else ((),) * 10
    return GemmList(
        np.array(owner, np.int64),
        *(np.array(column, np.float64) for column in (count, m, n, k, weight, read, write, keep, group)),
    )


def applied_sparsity(op: Op, patterns: frozenset[str], metadata: str = "least") -> Sparsity:
    """The weight sparsity that a machine with these ``patterns`` makes use of, when it reads the weights' format."""
    text = str(op.weight_sparsity)
    known = {USUAL, *METADATA[metadata], *(f"{name}:{text}" for name in METADATA[metadata])}
    usable = op.definition.prunable and text in patterns and op.weight_format in known
    return op.weight_sparsity if usable else DENSE


_Row = tuple[int, int, int, int, float, float, float, int, int]


def _products(op: Op, patterns: frozenset[str], metadata: str) -> Iterator[_Row]:
    sparsity = applied_sparsity(op, patterns, metadata)
    keep, group = sparsity.groups or (1, 1)
    for count, m, n, k, second, read, write in op.products:
        weights = _stored_bits(op, sparsity, n, k, metadata) / 8 if second is None else second
        yield count, m, n, k, weights, read, write, keep, group


def _stored_bits(op: Op, applied: Sparsity, rows: int, cols: int, metadata: str) -> int:
    """Bits of a weight in the format that the op names, else as a machine with that ``metadata`` keeps it."""
    bits = op.w_dtype.bits
    if op.weight_format != USUAL:
        return op.weight_sparsity.stored_bits(rows, cols, bits, op.weight_format)
    storage = USUAL if applied.is_dense or metadata == "least" else METADATA[metadata][0]
    return applied.stored_bits(rows, cols, bits, storage)


def check_walk(op: Op, elements: int) -> None:
    """Raises MappingError when an operand of ``elements`` is too large for the patterns that cycle cores walk."""
    if elements > MAX_WALKED:
        raise MappingError(f"an operand of {elements} elements; cycle cores walk at most {MAX_WALKED}", key=op.name)


def single_product(op: Op) -> tuple[int, int, int]:
    """(m, n, k) of an op that is one product with a weight: a linear op, or a convolution without groups as its im2col.

    Raises MappingError for others, and for operands that are too large to walk.
    """
    if Operand.WEIGHT not in op.definition.masked:
        raise MappingError(f"a cycle core takes masks of linear ops and convolutions, not of {op.kind}", key=op.name)
    if op.weight_sparsity.is_factored:
        raise MappingError(f"{op.weight_sparsity} weights are several products, not one with a mask", key=op.name)
    ((count, m, n, k),) = op.gemms
    if count != 1:
        word = "convolution" if op.kind == OpKind.CONV2D else f"{op.kind} op"
        raise MappingError(f"a {word} with groups is no single product", key=op.name)
    check_walk(op, max(m * k, n * k))
    return m, n, k
