# SPDX-License-Identifier: Apache-2.0
"""The matrix products in a trace, which is all that dataflow tools such as SCALE-Sim and Timeloop take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from simsparse.core import DENSE, Op, OpKind, Sparsity, Trace
from simsparse.core.kinds.conv2d import CONV2D
from simsparse.errors import TraceError
from simsparse.sparsity import USUAL
from simsparse.trace.interchange.base import Notes

_MOST = 1_000_000


@dataclass(frozen=True)
class TraceGemm:
    """``times`` equal products of ``batch`` pairs of matrices: ``y[m, n] = x[m, k] w[n, k]``.

    ``batch`` pairs each have their own second operand (attention); ``sparsity`` is the second
    operand's.
    """

    op: Op
    name: str
    times: int
    batch: int
    m: int
    n: int
    k: int
    sparsity: Sparsity = DENSE

    @property
    def is_conv(self) -> bool:
        """Whether it is a plain convolution over one or two axes; transposed and 3-D ones are written as products."""
        return self.op.kind == OpKind.CONV2D and CONV2D.is_plane(self.op)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, dense."""
        return self.times * self.batch * self.m * self.n * self.k


def products(trace: Trace, notes: Notes) -> list[TraceGemm]:
    """Every product of ``trace`` in order; ``notes`` say what is left out.

    Attention is its two products with all pairs of queries and keys; an expert is its two or three.
    Raises TraceError when there is none.
    """
    found: list[TraceGemm] = []
    for op in trace.ops:
        found += _products(op, notes)
        if len(found) > _MOST:
            raise TraceError(f"more than {_MOST} products", key=trace.name)
    if not found:
        raise TraceError("holds no matrix product that could be exported", key=trace.name)
    notes.add("dependencies, residency and element types of operators are left out")
    return found


def _products(op: Op, notes: Notes) -> Iterator[TraceGemm]:
    d = op.dims
    if not op.input_sparsity.is_dense:
        notes.add("the sparsity of inputs is left out", op.name)
    if op.weight_format != USUAL:
        notes.add("the format of weights is left out", op.name)
    if op.weight_sparsity.is_factored:
        notes.add("factored weights are written as dense ones", op.name)
        op = op.with_(weight_sparsity=DENSE)
    if op.kind == OpKind.LINEAR:
        yield TraceGemm(op, op.name, 1, d.get("groups", 1), d["m"], d["n"], d["k"], op.weight_sparsity)
    elif op.kind == OpKind.MATMUL:
        yield TraceGemm(op, op.name, 1, d["batch"], d["m"], d["n"], d["k"])
    elif op.kind == OpKind.CONV2D:
        ((groups, m, n, k),) = op.gemms
        if not CONV2D.is_plane(op):
            notes.add("transposed and 3-D convolutions are written as their products of matrices", op.name)
        yield TraceGemm(op, op.name, groups, 1, m, n, k, op.weight_sparsity)
    elif op.kind == OpKind.ATTENTION:
        yield from _attention(op, notes)
    elif op.kind == OpKind.MOE_FFN:
        yield from _experts(op)
    else:
        why = "which products they keep can't be said" if op.products else "they are no matrix products"
        notes.add(f"{op.kind} ops are left out: {why}", op.name)


def _attention(op: Op, notes: Notes) -> Iterator[TraceGemm]:
    d = op.dims
    if d["causal"] and d["q_len"] > 1:
        notes.add("the causal mask is left out: products with all pairs of queries and keys", op.name)
    notes.add("softmax between the products of attention is left out", op.name)
    pairs = d["batch"] * d["heads"]
    yield TraceGemm(op, f"{op.name}.scores", 1, pairs, d["q_len"], d["kv_len"], d["head_dim"])
    yield TraceGemm(op, f"{op.name}.values", 1, pairs, d["q_len"], d["v_head_dim"], d["kv_len"])


def _experts(op: Op) -> Iterator[TraceGemm]:
    """One product for all experts with the same number of tokens."""
    for i, (times, m, n, k) in enumerate(op.gemms):
        role = "down" if i % 2 else "up"
        yield TraceGemm(op, f"{op.name}.{role}.t{m}", times, 1, m, n, k, op.weight_sparsity)


def identifier(name: str) -> str:
    """``name`` in letters, digits and underscores, starting with a letter."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return word if word[:1].isalpha() else f"op_{word}"


def unique(name: str, taken: set[str]) -> str:
    """``name``, with a number behind it where ``taken`` holds it already; it is added to ``taken``."""
    word, i = name, 1
    while word in taken:
        i += 1
        word = f"{name}_{i}"
    taken.add(word)
    return word
