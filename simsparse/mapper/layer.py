# SPDX-License-Identifier: Apache-2.0
"""What is mapped: one product or convolution as a nest of seven loops."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.core import Op
from simsparse.errors import MappingError, SpecError
from simsparse.sparsity.patterns.nm import NM

DIMS = ("n", "k", "c", "p", "q", "r", "s")
"""Images, outputs, kept inputs, columns and rows of the result, columns and rows of the kernel."""
N, K, C, P, Q, R, S = range(7)
TENSORS = ("weights", "inputs", "outputs")
WEIGHTS, INPUTS, OUTPUTS = range(3)
RELEVANT = (frozenset((K, C, R, S)), frozenset((N, C, P, Q, R, S)), frozenset((N, K, P, Q)))
"""Loops that change which part of each tensor is used."""


@dataclass(frozen=True)
class LoopNest:
    """``output[n, q, p, k] += weight[s, r, c, k] * input[n, q * stride + s, p * stride + r, c]``.

    ``sizes``: the extents of DIMS; ``c`` counts kept weights where ``keep`` of ``group`` are kept along the inputs, so
    that a loop over c runs past no zero. ``strides`` of columns and rows. ``bits`` of an element of TENSORS.
    A matrix product ``y[m, n] = x[m, k] @ w[n, k].T`` has its tokens in p, its outputs in k and its inputs in c.

    Raises SpecError when a size is not positive.
    """

    name: str
    sizes: tuple[int, int, int, int, int, int, int]
    strides: tuple[int, int] = (1, 1)
    bits: tuple[int, int, int] = (8, 8, 8)
    keep: int = 1
    group: int = 1

    def __post_init__(self) -> None:
        if min(*self.sizes, *self.strides, *self.bits, self.keep) < 1 or self.keep > self.group:
            raise SpecError(f"{self.sizes} is no layer; expected positive sizes and keep <= group", key=self.name)

    @property
    def macs(self) -> int:
        """Multiply-accumulates with kept weights."""
        product = 1
        for size in self.sizes:
            product *= size
        return product

    @property
    def is_gemm(self) -> bool:
        """Whether the layer is a matrix product: its kernel has one position and its result one row."""
        return self.sizes[R] == self.sizes[S] == self.sizes[Q] == 1

    @property
    def channels(self) -> float:
        """Inputs over kept weights, along c."""
        return self.group / self.keep

    @property
    def weight_bits(self) -> float:
        """Bits of a stored weight: the value, and its share of its group's indexes or bitmap, whichever is smaller."""
        indexes = self.keep * (self.group - 1).bit_length()
        return self.bits[WEIGHTS] + (min(indexes, self.group) / self.keep if self.keep < self.group else 0)


def gemm(m: int, n: int, k: int, bits: int = 8, keep: int = 1, group: int = 1, name: str = "gemm") -> LoopNest:
    """``y[m, n] = x[m, k] @ w[n, k].T`` with elements of ``bits``. Raises SpecError."""
    return LoopNest(name, (1, n, kept(k, keep, group), m, 1, 1, 1), (1, 1), (bits, bits, bits), keep, group)


def kept(size: int, keep: int, group: int) -> int:
    """Kept weights among ``size``: ``keep`` of every whole group, and of a short last one what it has."""
    return size // group * keep + min(keep, size % group)


def layers_of(op: Op, patterns: frozenset[str] = frozenset()) -> list[tuple[int, LoopNest]]:
    """The layers in ``op`` and how often each runs; N:M weights of other than ``patterns`` are taken as dense.

    Raises MappingError for transposed convolutions and those over three axes, whose loops are others.
    """
    if op.kind == "conv2d":
        return [_convolution(op, patterns)]
    keep, group = _pattern(op, patterns)
    found = []
    for product in op.products:
        bits = (op.w_dtype.bits, op.dtype.bits, op.out_dtype.bits)
        layer = LoopNest(op.name, (1, product.n, kept(product.k, keep, group), product.m, 1, 1, 1), (1, 1), bits,
                      keep, group)  # fmt: skip
        found.append((product.times, layer))
    return found


def _convolution(op: Op, patterns: frozenset[str]) -> tuple[int, LoopNest]:
    d = op.definition.all_dims(op)
    if d["transposed"] or (d["d_in"], d["kd"]) != (1, 1):
        raise MappingError("the mapper takes convolutions over one or two axes that are not transposed", key=op.name)
    keep, group = _pattern(op, patterns)
    groups = d["groups"]
    sizes = (d["batch"], d["c_out"] // groups, kept(d["c_in"] // groups, keep, group), d["w_out"], d["h_out"], d["kw"],
             d["kh"])  # fmt: skip
    bits = (op.w_dtype.bits, op.dtype.bits, op.out_dtype.bits)
    strides = (d["stride_w"] or max(1, d["w_in"] // d["w_out"]), d["stride_h"] or max(1, d["h_in"] // d["h_out"]))
    return groups, LoopNest(op.name, sizes, strides, bits, keep, group)


def _pattern(op: Op, patterns: frozenset[str]) -> tuple[int, int]:
    """(N, M) of the op's weights where the machine runs that pattern, else those of dense ones."""
    pattern = op.weight_sparsity
    return (pattern.n, pattern.m) if isinstance(pattern, NM) and str(pattern) in patterns else (1, 1)
