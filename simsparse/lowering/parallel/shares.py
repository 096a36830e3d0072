# SPDX-License-Identifier: Apache-2.0
"""What part of an op a rank of a tensor- or context-parallel group has."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from fractions import Fraction
from math import ceil

from simsparse.core import KernelCall, Op, OpKind, Trace
from simsparse.errors import MappingError
from simsparse.lowering.kept import PARAMETER_BYTES, STATE_BYTES, UPDATE
from simsparse.lowering.trace_index import layer_of

HEAD, ROUTER, EMBEDDING = "lm_head", "router", "embedding"
FORWARD, TRAIN = "fwd", "train"
"""How labels of a training step's forward pass begin, and the phase of its trace."""
SIZES = (STATE_BYTES, PARAMETER_BYTES)
"""Facts that shrink with the share of a parameter."""
ADD, NORM = "add", "norm"
"""Words of labels at which the divided part of a layer ends; a norm ends it on the way to a matrix, not of heads."""
BACKWARD_WEIGHT = "bwd_weight"


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
    PARTIAL = auto()
    """A gradient of which every rank has a summand: added up before anything but a sum reads it."""


def tensor_roles(trace: Trace, ranks: int) -> Mapping[str, TensorRole]:
    """The role of each op, by name."""
    if ranks == 1:
        return dict.fromkeys((op.name for op in trace.ops), TensorRole.WHOLE)
    training = trace.meta.get("phase") == TRAIN
    leads = _leads_to_product(trace, training)
    found: dict[str, TensorRole] = {}
    weights: dict[str, TensorRole] = {}
    for op in trace.ops:
        reads = {found[dep] for dep in op.deps}
        if training and not op.label.startswith(FORWARD):
            found[op.name] = _backward_role(op, reads, weights)
            continue
        found[op.name] = _role(op, TensorRole.DIVIDED in reads, op.name in leads, training)
        if op.weight:
            weights[op.weight] = found[op.name]
    return found


def _backward_role(op: Op, reads: set[TensorRole], weights: Mapping[str, TensorRole]) -> TensorRole:
    """The role of an op of the backward pass or the optimizer, from that of its weight in the forward pass."""
    if op.label == UPDATE:
        whole = weights.get(op.weight or "", TensorRole.WHOLE) is TensorRole.WHOLE
        return TensorRole.WHOLE if whole else TensorRole.DIVIDED
    if op.weight and op.weight in weights and op.kind in (OpKind.LINEAR, OpKind.MATMUL):
        forward = weights[op.weight]
        if op.kind == OpKind.LINEAR and forward is TensorRole.DIVIDED:
            return TensorRole.PARTIAL
        return TensorRole.DIVIDED if forward is TensorRole.SUMMED else forward
    if TensorRole.PARTIAL in reads and ADD in op.label.split():
        return TensorRole.PARTIAL
    return TensorRole.DIVIDED if TensorRole.DIVIDED in reads and not op.weight else TensorRole.WHOLE


def _role(op: Op, reads_part: bool, leads: bool, training: bool) -> TensorRole:
    label = op.label.split()
    if op.kind == OpKind.LINEAR:
        if reads_part:
            return TensorRole.SUMMED
        if HEAD in label or (training and op.module == HEAD):
            return TensorRole.DIVIDED if training else TensorRole.GATHERED
        return TensorRole.DIVIDED if leads and ROUTER not in label else TensorRole.WHOLE
    if EMBEDDING in label and op.weight:
        return TensorRole.WHOLE
    return TensorRole.DIVIDED if reads_part else TensorRole.WHOLE


def _leads_to_product(trace: Trace, training: bool) -> frozenset[str]:
    """Linear ops from which a path of element-wise work and attention leads to another linear op of the layer."""
    products, heads = set[str](), set[str]()
    for op in reversed(trace.ops):
        if layer_of(op) is None or (training and not op.label.startswith(FORWARD)):
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
    if role is TensorRole.WHOLE or ranks == 1 or (role is TensorRole.PARTIAL and op.kind != OpKind.LINEAR):
        return op
    match op.kind:
        case OpKind.LINEAR:
            return _with(op, "k" if role in (TensorRole.SUMMED, TensorRole.PARTIAL) else "n", ranks)
        case OpKind.MATMUL if op.label == BACKWARD_WEIGHT:
            return _with(op, "m", ranks)
        case OpKind.ATTENTION:
            heads = _part(op, "heads", ranks)
            return op.with_(dims={**op.dims, "heads": heads, "kv_heads": max(1, op.dims["kv_heads"] // ranks)})
        case _:
            return scaled(op, Fraction(1, ranks))


def _with(op: Op, key: str, ranks: int) -> Op:
    stats = {name: int(value) // ranks if name in SIZES else value for name, value in op.stats.items()}
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
        case OpKind.MATMUL if op.label == BACKWARD_WEIGHT:
            return op.with_(dims={**op.dims, "k": -(-op.dims["k"] // ranks)})
        case _ if op.label == UPDATE:
            return op
        case OpKind.ATTENTION:
            queries = -(-op.dims["q_len"] // ranks)
            return op.with_(dims={**op.dims, "q_len": queries})
        case _:
            return scaled(op, Fraction(1, ranks))


def scaled(op: Op, ratio: Fraction) -> Op:
    """Element-wise work on a part of the elements: bytes, operations and rows in proportion."""
    names = [key for key in op.definition.batch_dims if key in op.dims]
    stats = {name: ceil(int(value) * ratio) if name in SIZES else value for name, value in op.stats.items()}
    sizes = {key: max(1 if op.dims[key] else 0, ceil(op.dims[key] * ratio)) for key in names}
    return op.with_(
        stats=stats, dims={**op.dims, **sizes}, kernels=tuple(_scaled(kernel, ratio) for kernel in op.kernels)
    )


def _scaled(kernel: KernelCall, ratio: Fraction) -> KernelCall:
    sizes = {key: ceil(getattr(kernel, key) * ratio) for key in ("read_bytes", "write_bytes", "flops")}
    return kernel._replace(**sizes)
