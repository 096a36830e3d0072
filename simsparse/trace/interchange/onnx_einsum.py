# SPDX-License-Identifier: Apache-2.0
"""Einsums of an ONNX model as products of two operands, the first two first."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simsparse.core import Op, ops
from simsparse.core.tensor import bytes_of
from simsparse.errors import TraceError
from simsparse.trace.interchange.onnx_products import OnnxNode


@dataclass(frozen=True)
class _EinsumOperand:
    """The letters of an operand's axes; ``place`` is that among the node's inputs, None of a product before."""

    letters: str
    place: int | None


def einsum(node: OnnxNode) -> Sequence[Op]:
    """Products of an einsum, none of one operand. Raises TraceError when the equation does not fit the shapes."""
    terms, result, sizes = _parsed(node)
    if not all(sizes.values()) or len(terms) < 2:
        return ()
    found: list[Op] = []
    operands = [_EinsumOperand(term, i) for i, term in enumerate(terms)]
    while len(operands) > 1:
        first, second, *rest = operands
        later = set(result).union(*(operand.letters for operand in rest))
        kept = "".join(dict.fromkeys(c for c in first.letters + second.letters if c in later))
        found.append(_product(node, first, second, kept, sizes))
        operands = [_EinsumOperand(kept, None), *rest]
    return found


def _parsed(node: OnnxNode) -> tuple[list[str], str, Mapping[str, int]]:
    """Letters of each operand and of the result, an ellipsis written out, and their sizes."""
    equation = node.text("equation").replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    shapes = [node.known(i).shape for i in range(len(node.inputs))]
    if len(terms) != len(shapes):
        raise TraceError(f"equation {equation!r:.80} has {len(terms)} operands, the node {len(shapes)}")
    free = [c for c in string.ascii_letters if c not in equation]
    widest = max(
        (len(s) - len(t.replace("...", "")) for t, s in zip(terms, shapes, strict=True) if "..." in t), default=0
    )
    if widest > len(free):
        raise TraceError(f"equation {equation!r:.80} has too many axes")
    more = "".join(free[:widest])
    sizes: dict[str, int] = {}
    letters = []
    for term, shape in zip(terms, shapes, strict=True):
        hidden = len(shape) - len(term.replace("...", ""))
        written = term.replace("...", more[widest - hidden :] if hidden > 0 else "")
        if len(written) != len(shape):
            raise TraceError(f"equation {equation!r:.80} does not fit shape {shape}")
        for c, size in zip(written, shape, strict=True):
            if sizes.setdefault(c, size) != size and 1 not in (size, sizes[c]):
                raise TraceError(f"equation {equation!r:.80}: {c} is {sizes[c]} and {size}")
            sizes[c] = max(sizes[c], size)
        letters.append(written)
    if not arrow:
        once = [c for c in sorted(set("".join(letters))) if "".join(letters).count(c) == 1 and c not in more]
        return letters, more + "".join(once), sizes
    return letters, result.replace("...", more), sizes


def _product(node: OnnxNode, first: _EinsumOperand, second: _EinsumOperand, kept: str, sizes: Mapping[str, int]) -> Op:
    """One product: letters in both operands and kept are a batch, those in both and not kept are reduced."""

    def size(letters: Sequence[str]) -> int:
        return math.prod(sizes[c] for c in letters)

    a, b = set(first.letters), set(second.letters)
    batch, reduced = sorted(a & b & set(kept)), sorted((a & b) - set(kept))
    rows, cols = sorted(a - b), sorted(b - a)
    x = node.known(0 if first.place is None else first.place)
    if not reduced:
        made = bytes_of(size(kept), x.dtype)
        read = bytes_of(size(sorted(a)) + size(sorted(b)), x.dtype)
        return ops.elementwise(read, made, size(sorted(a | b)), x.dtype, label="einsum", name="einsum")
    for weight, others, own in ((second, rows, cols), (first, cols, rows)):
        if (
            weight.place is not None
            and node.is_weight(weight.place)
            and len(set(weight.letters)) == len(weight.letters)
        ):
            arrange = [weight.letters.index(c) for c in (*batch, *own, *reduced)]
            fields = node.fields(weight.place, arrange, len(reduced))
            stored = fields.pop("weight_dtype")
            return ops.linear(
                size(others), size(own), size(reduced), x.dtype, groups=size(batch),
                weight_dtype=stored if stored is not x.dtype else None, **fields,
            )  # fmt: skip
    return ops.matmul(size(batch), size(rows), size(cols), size(reduced), x.dtype)
