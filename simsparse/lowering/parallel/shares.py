# SPDX-License-Identifier: Apache-2.0
"""What part of an op a rank of a tensor- or context-parallel group has."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from fractions import Fraction
from math import ceil
from typing import Any

from simsparse.core import KernelCall, Op, OpKind, Trace
from simsparse.errors import MappingError
from simsparse.lowering.trace_index import layer_of

HEAD, ROUTER, EMBEDDING = "lm_head", "router", "embedding"
ADD, NORM = "add", "norm"
"""Words of labels at which the divided part of a layer ends; a norm ends it on the way to a matrix, not of heads."""
BACKWARD_WEIGHT, BACKWARD_INPUT = "bwd_weight", "bwd_input"


class TensorRole(Enum):
    """What tensor parallelism does to an op."""

    WHOLE = auto()
    """Every rank runs all of it."""
    DIVIDED = auto()
    """A matrix by its outputs, an attention by heads, element-wise work by elements."""
    SUMMED = auto()
    """A matrix by its inputs; the results are added up."""
    GATHERED = auto()
    """A matrix by its outputs, which every rank needs whole."""


def tensor_roles(trace: Trace, ranks: int) -> Mapping[str, TensorRole]:
    """The role of each op, by name."""
    if ranks == 1:
        return dict.fromkeys((op.name for op in trace.ops), TensorRole.WHOLE)
    leads = _leads_to_product(trace)
    found: dict[str, TensorRole] = {}
    for op in trace.ops:
        reads_part = any(found[dep] is TensorRole.DIVIDED for dep in op.deps)
        found[op.name] = _role(op, reads_part, op.name in leads)
    return found


def _role(op: Op, reads_part: bool, leads: bool) -> TensorRole:
    if op.kind == OpKind.LINEAR:
        if reads_part:
            return TensorRole.SUMMED
        if op.label == HEAD:
            return TensorRole.GATHERED
        return TensorRole.DIVIDED if leads and op.label != ROUTER else TensorRole.WHOLE
    if op.label == EMBEDDING and op.weight:
        return TensorRole.WHOLE
    return TensorRole.DIVIDED if reads_part else TensorRole.WHOLE


def _leads_to_product(trace: Trace) -> frozenset[str]:
    """Linear ops from which a path of element-wise work and attention leads to another linear op of the layer."""
    products, heads = set[str](), set[str]()
    for op in reversed(trace.ops):
        if layer_of(op) is None:
            continue
        if op.kind == OpKind.LINEAR or (op.name in products and not _holds(op, (ADD, NORM))):
            products.update(op.deps)
        if op.kind == OpKind.ATTENTION or (op.name in heads and op.kind != OpKind.LINEAR and not _holds(op, (ADD,))):
            heads.update(op.deps)
    return frozenset(op.name for op in trace.ops if layer_of(op) is not None and op.name in products | heads)


def _holds(op: Op, words: tuple[str, ...]) -> bool:
    return op.kind != OpKind.ATTENTION and any(word in f"{op.kind} {op.label}" for word in words)


def divided(op: Op, role: TensorRole, ranks: int) -> Op:
    """The share of one of ``ranks``. Raises MappingError when heads or sizes can't be divided."""
    if role is TensorRole.WHOLE or ranks == 1:
        return op
    match op.kind:
        case OpKind.LINEAR:
            return _with(op, "k" if role is TensorRole.SUMMED else "n", ranks)
        case OpKind.ATTENTION:
            heads = _part(op, "heads", ranks)
            return op.with_(dims={**op.dims, "heads": heads, "kv_heads": max(1, op.dims["kv_heads"] // ranks)})
        case _:
            return scaled(op, Fraction(1, ranks))


def _with(op: Op, key: str, ranks: int) -> Op:
    stats: dict[str, Any] = dict(op.stats)
    return op.with_(dims={**op.dims, key: _part(op, key, ranks)}, stats=stats)


def _part(op: Op, key: str, ranks: int) -> int:
    if op.dims[key] < ranks or (key == "heads" and op.dims[key] % ranks):
        raise MappingError(f"{key} {op.dims[key]} can't be divided by tp {ranks}", key=op.name)
    return -(-op.dims[key] // ranks)


def context_share(op: Op, ranks: int) -> Op:
    """The share of one of ``ranks`` that divide each sequence; decode steps, of one query, are not divided."""
    if ranks == 1 or op.kind == OpKind.MOE_FFN:
        return op
    match op.kind:
        case OpKind.LINEAR:
            return op if op.dims["m"] < ranks else op.with_(dims={**op.dims, "m": -(-op.dims["m"] // ranks)})
        case OpKind.ATTENTION:
            queries = -(-op.dims["q_len"] // ranks)
            return op.with_(dims={**op.dims, "q_len": queries})
        case _:
            return scaled(op, Fraction(1, ranks))


def scaled(op: Op, ratio: Fraction) -> Op:
    """Element-wise work on a part of the elements: bytes, operations and rows in proportion."""
    names = [key for key in op.definition.batch_dims if key in op.dims]
    sizes = {key: max(1 if op.dims[key] else 0, ceil(op.dims[key] * ratio)) for key in names}
    return op.with_(dims={**op.dims, **sizes}, kernels=tuple(_scaled(kernel, ratio) for kernel in op.kernels))


def _scaled(kernel: KernelCall, ratio: Fraction) -> KernelCall:
    sizes = {key: ceil(getattr(kernel, key) * ratio) for key in ("read_bytes", "write_bytes", "flops")}
    return kernel._replace(**sizes)
