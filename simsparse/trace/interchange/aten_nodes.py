# SPDX-License-Identifier: Apache-2.0
"""Ops from the nodes of a torch execution trace: names, shapes and storages, without torch.

A trace nests: ``aten::linear`` holds ``aten::addmm``. The outermost node whose meaning is known
becomes an op; its insides are skipped. Values are followed by storage, so that views cost nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simsparse.core import DType, Op, OpKind, Trace, TraceBuilder, ops
from simsparse.core.tensor import bytes_of
from simsparse.errors import TraceError
from simsparse.trace.interchange import aten_names as names
from simsparse.trace.interchange.base import ImportOptions, Notes, printable
from simsparse.trace.interchange.collectives import collective

_TENSOR = re.compile(r"Tensor\(([^()]*)\)")
_ALIAS = re.compile(r"-> \(?Tensor\([a-z]+\)(\[\])?\)?$")
_MAX_DIM = 2**40
_ASSUMED = (
    "an operand of a product that nothing in the file wrote is taken for a weight",
    "each operator is an op of its own: nothing is fused, and weights are dense",
)


@dataclass(frozen=True)
class AtenTensor:
    """A tensor argument; ``storage`` is None where the file does not say which."""

    shape: tuple[int, ...]
    dtype: DType
    storage: int | None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return bytes_of(self.numel, self.dtype)


@dataclass(frozen=True)
class AtenNode:
    """A node of an execution trace; ``inputs`` and ``outputs`` are (value, shape, type) a slot.

    ``flat`` nodes stand directly in the outermost operator, whatever lies between was lost.
    """

    id: int
    parent: int
    name: str
    schema: str = ""
    inputs: Sequence[tuple[Any, Any, str]] = ()
    outputs: Sequence[tuple[Any, Any, str]] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    flat: bool = False

    @property
    def short(self) -> str:
        """``add`` for ``aten::add_``; "" for what is no operator."""
        space, _, name = self.name.rpartition("::")
        return name.partition(".")[0].rstrip("_") if space else ""

    @property
    def is_view(self) -> bool:
        """Whether the schema's result is its input: ``Tensor(a)``, and not written to."""
        return bool(_ALIAS.search(self.schema))


def tensors_of(slots: Iterable[tuple[Any, Any, str]]) -> list[AtenTensor]:
    """The tensors in argument slots, those of lists in order. Raises TraceError on impossible shapes."""
    found: list[AtenTensor] = []
    for value, shape, type_ in slots:
        types = _TENSOR.findall(type_) if isinstance(type_, str) else []
        if not types:
            continue
        many = type_.startswith("GenericList")
        values = value if many and isinstance(value, list) else [value] * len(types) if many else [value]
        shapes = shape if many else [shape]
        if not isinstance(shapes, list) or len(shapes) != len(types) or len(values) != len(types):
            raise TraceError(f"{len(types)} tensors with other shapes or values")
        found += [_tensor(*each) for each in zip(values, shapes, types, strict=True) if each[2].lower() in names.DTYPES]
    return found


def _tensor(value: Any, shape: Any, type_: str) -> AtenTensor:
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < _MAX_DIM for size in shape):
        raise TraceError(f"{shape!r:.80} is not a shape")
    known = isinstance(value, (list, tuple)) and len(value) >= 2 and type(value[1]) is int
    return AtenTensor(tuple(shape), DType(names.DTYPES[type_.lower()]), value[1] if known else None)


class Lowering:
    """Walks the nodes of one execution trace and builds the trace."""

    def __init__(self, name: str, options: ImportOptions, meta: Mapping[str, Any]) -> None:
        self.builder = TraceBuilder(printable(name) or "trace", **meta)
        self.options, self.notes = options, Notes()
        self._writers: dict[int, str] = {}
        self._written_at: dict[int, int] = {}
        self._inside: dict[int, set[int | None]] = {}
        self._count = 0

    def run(self, nodes: Sequence[AtenNode]) -> tuple[Trace, Notes]:
        """The trace of ``nodes``, in the order of their ids. Raises TraceError naming a node."""
        children = _children(nodes)
        pending: list[tuple[AtenNode, str, int | None]] = [(node, "", None) for node in children.get(-1, [])]
        while pending:
            node, module, entered = pending.pop()
            if entered is not None:
                self._leave(node, module, entered)
                continue
            inner = children.get(node.id, [])
            if self._enter(node, module, bool(inner)):
                below = module if node.short or node.name.startswith("[") else _joined(module, node.name)
                pending += [(node, module, self._count), *((child, below, None) for child in inner)]
        if not self._count:
            raise TraceError("holds no operator that reads or writes a tensor")
        for note in _ASSUMED:
            self.notes.add(note)
        return self.builder.build(), self.notes

    def _enter(self, node: AtenNode, module: str, has_inner: bool) -> bool:
        """Adds the op that ``node`` is, if it is one; returns whether to look at its insides instead."""
        short = node.short
        try:
            if node.flat and self._is_repeated(node):
                return False
            if short == "record_param_comms" or "collective_name" in node.attrs:
                return self._collective(node, module)
            lower = _LOWERINGS.get(short)
            if lower is not None and node.name.startswith("aten::"):
                op = lower(node)
                if op is not None:
                    self._add(node, op, module)
                    return False
            if has_inner or not self._computes(node):
                return has_inner
            self._keep(node, module)
        except TraceError as error:
            raise TraceError(error.message, key=f"node {node.id} {printable(node.name, 60)}") from error
        return False

    def _leave(self, node: AtenNode, module: str, entered: int) -> None:
        """Keeps an operator whose insides, ops from number ``entered`` on, wrote none of its results."""
        if self._computes(node):
            written = {tensor.storage for tensor in tensors_of(node.outputs)} - {None}
            if written and all(self._written_at.get(storage or 0, -1) <= entered for storage in written):
                self._keep(node, module)

    def _keep(self, node: AtenNode, module: str) -> None:
        self.notes.add(f"kept as other, with its bytes: {printable(node.name, 60)}", f"{node.short}.{node.id}")
        self._add(node, _moved(node, OpKind.OTHER, _backward_flops(node)), module)

    def _computes(self, node: AtenNode) -> bool:
        """Whether an operator that is in no table makes something new of its inputs."""
        return bool(node.short) and node.short not in names.EMPTY and not node.is_view and self._writes(node)

    def _is_repeated(self, node: AtenNode) -> bool:
        """Whether another operator in the same outermost one already stands for what ``node`` writes."""
        written = {tensor.storage for tensor in tensors_of(node.outputs)}
        return bool(written) and written <= self._inside.get(node.parent, set())

    def _writes(self, node: AtenNode) -> bool:
        """Whether the node gives a tensor that is not one of its inputs."""
        inputs = {tensor.storage for tensor in tensors_of(node.inputs)} - {None}
        return "!" in node.schema or any(tensor.storage not in inputs for tensor in tensors_of(node.outputs))

    def _add(self, node: AtenNode, op: Op, module: str) -> None:
        self._count += 1
        deps = dict.fromkeys(
            self._writers[tensor.storage] for tensor in tensors_of(node.inputs) if tensor.storage in self._writers
        )
        is_free, weight = self._weight(node, op)
        if op.kind == OpKind.LINEAR and not is_free:
            d = op.dims
            op = ops.matmul(1, d["m"], d["n"], d["k"], op.dtype)
        name = _joined(module, f"{node.short}.{node.id}")
        self.builder.add(op.with_(name=printable(name), module=printable(module), weight=weight), list(deps))
        written = {tensor.storage for tensor in tensors_of(node.outputs)} | _written_inputs(node)
        self._writers |= {storage: self.builder.last for storage in written if storage is not None}
        self._written_at |= {storage: self._count for storage in written if storage is not None}
        if node.flat:
            self._inside.setdefault(node.parent, set()).update(written)

    def _weight(self, node: AtenNode, op: Op) -> tuple[bool, str | None]:
        """Whether an operand is a parameter, which nothing in the file wrote, and its storage's name."""
        if op.kind == OpKind.CONV2D or node.short in names.LINEAR:
            candidates = tensors_of(node.inputs)[1:2]
        elif op.kind == OpKind.LINEAR:
            candidates = list(reversed(tensors_of(node.inputs)[-2:]))
        else:
            return False, None
        free = [tensor.storage for tensor in candidates if tensor.storage not in self._writers]
        return bool(free), f"storage.{free[0]}" if free and free[0] is not None else None

    def _collective(self, node: AtenNode, module: str) -> bool:
        raw = str(node.attrs.get("collective_name", ""))
        kind = names.COLLECTIVES.get(raw.lower())
        if kind is None:
            self.notes.add(f"left out: collective {printable(raw, 60) or 'without a name'}", f"node {node.id}")
            return False
        ranks = node.attrs.get("pg_size") or self.options.ranks or (2 if kind == "send_recv" else None)
        if not isinstance(ranks, int) or ranks < 1:
            raise TraceError("the file does not say how many ranks take part; give ranks")
        size = sum(tensor.bytes for tensor in tensors_of(node.inputs))
        op = collective(kind, size, ranks, self.notes, f"node {node.id}")
        if op is not None:
            self._add(node, op, module)
        return False


def _children(nodes: Sequence[AtenNode]) -> dict[int, list[AtenNode]]:
    """Nodes by parent, last ids first; those without a parent in the file under -1. Raises TraceError on a circle."""
    known = {node.id for node in nodes} - {-1}
    if len(known) != len(nodes):
        raise TraceError("two nodes have one id, or one is -1")
    children: dict[int, list[AtenNode]] = {}
    for node in sorted(nodes, key=lambda node: -node.id):
        children.setdefault(node.parent if node.parent in known and node.parent != node.id else -1, []).append(node)
    reached = list(children.get(-1, []))
    for node in reached:
        reached += children.get(node.id, [])
    if len(reached) < len(nodes):
        raise TraceError("nodes contain each other in a circle")
    return children


def _joined(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _written_inputs(node: AtenNode) -> set[int | None]:
    """Storages of the arguments that the schema marks as written, ``Tensor(a!)``."""
    arguments = node.schema.partition("->")[0].split("Tensor(")[1:]
    marked = [text.partition(")")[0].endswith("!") for text in arguments]
    if not any(marked):
        return set()
    return {tensor.storage for tensor in tensors_of(node.inputs)[:1]}


def _operands(node: AtenNode, count: int, ranks: tuple[int, ...]) -> list[AtenTensor]:
    found = tensors_of(node.inputs)
    if len(found) < count or len(found[0].shape) not in ranks:
        raise TraceError(f"has no {count} operands of {' or '.join(map(str, ranks))} dims")
    return found


def _nonempty(*sizes: int) -> bool:
    return all(sizes)


def _linear(node: AtenNode) -> Op | None:
    found = tensors_of(node.inputs)
    if len(found) < 2 or len(found[1].shape) != 2 or not found[0].shape:
        return None
    (n, k), m = found[1].shape, math.prod(found[0].shape[:-1])
    if found[0].shape[-1] != k:
        raise TraceError(f"shapes {found[0].shape} and {found[1].shape} do not multiply")
    return _product(m, n, k, found[0], found[1]) if _nonempty(m, n, k) else None


def _matrix(node: AtenNode) -> Op | None:
    first, second = _pair(node, 2)
    (m, k), (inner, n) = first.shape, second.shape
    if k != inner:
        raise TraceError(f"shapes {first.shape} and {second.shape} do not multiply")
    return _product(m, n, k, first, second) if _nonempty(m, n, k) else None


def _product(m: int, n: int, k: int, x: AtenTensor, weight: AtenTensor) -> Op:
    return ops.linear(m, n, k, x.dtype, weight_dtype=weight.dtype if weight.dtype is not x.dtype else None)


def _batched(node: AtenNode) -> Op | None:
    first, second = _pair(node, 3)
    (batch, m, k), n = first.shape, second.shape[2]
    if second.shape[:2] != (batch, k):
        raise TraceError(f"shapes {first.shape} and {second.shape} do not multiply")
    return ops.matmul(batch, m, n, k, first.dtype) if _nonempty(batch, m, n, k) else None


def _pair(node: AtenNode, rank: int) -> tuple[AtenTensor, AtenTensor]:
    found = tensors_of(node.inputs)
    if len(found) < 2 or {len(tensor.shape) for tensor in found[-2:]} != {rank}:
        raise TraceError(f"has no two operands of {rank} dims")
    return found[-2], found[-1]


def _convolution(node: AtenNode) -> Op | None:
    x, weight = _operands(node, 2, (2, 3, 4, 5))[:2]
    outputs = tensors_of(node.outputs)
    rank = len(x.shape)
    if rank not in (3, 4) or len(weight.shape) != rank or len(outputs) != 1 or len(outputs[0].shape) != rank:
        return None
    batch, c_in, *size = x.shape
    c_out, per_group, *kernel = weight.shape
    h_out, w_out = ([1, *outputs[0].shape[2:]])[-2:]
    (h_in, w_in), (kh, kw) = [1, *size][-2:], [1, *kernel][-2:]
    if not per_group or c_in % per_group or outputs[0].shape[1] != c_out or c_out % max(c_in // per_group, 1):
        return None
    dims = {"batch": batch, "c_in": c_in, "c_out": c_out, "h_in": h_in, "w_in": w_in, "h_out": h_out, "w_out": w_out,
            "kh": kh, "kw": kw, "groups": c_in // per_group}  # fmt: skip
    return Op(OpKind.CONV2D, "conv", dims, x.dtype) if _nonempty(*dims.values()) else None


def _attention(node: AtenNode) -> Op | None:
    found = tensors_of(node.inputs)
    if len(found) < 3 or {len(tensor.shape) for tensor in found[:3]} - {3, 4}:
        return None
    query, key, value = ((1,) * (4 - len(t.shape)) + t.shape for t in found[:3])
    batch, heads, q_len, head_dim = query
    if not _nonempty(*query, *key, *value) or heads % key[1]:
        return None
    causal = _argument(node, "is_causal") is True
    return ops.attention(batch, heads, key[1], head_dim, q_len, key[2], causal, found[0].dtype, v_head_dim=value[3])


def _argument(node: AtenNode, name: str) -> Any:
    """The value of the argument called ``name`` in the schema; None when it is not there."""
    arguments = node.schema.partition("(")[2].partition(") ->")[0].split(",")
    places = [i for i, text in enumerate(arg for arg in arguments if arg.strip() != "*")
              if text.partition("=")[0].split()[-1:] == [name]]  # fmt: skip
    return node.inputs[places[0]][0] if places and places[0] < len(node.inputs) else None


def _gather(node: AtenNode) -> Op | None:
    taken = sum(tensor.bytes for tensor in tensors_of(node.outputs)[:1])
    indexes = sum(tensor.bytes for tensor in tensors_of(node.inputs)[1:])
    return ops.elementwise(taken + indexes, taken, 0, _dtype(node), label=node.short) if taken else None


def _fused(node: AtenNode) -> Op | None:
    return _moved(node, OpKind.ELEMENTWISE, _flops(node)) if tensors_of(node.outputs) or "!" in node.schema else None


def _flops(node: AtenNode) -> int:
    short = node.short
    read = max((tensor.numel for tensor in tensors_of(node.inputs)), default=0)
    if short in names.FLOPS_PER_INPUT:
        return read * names.FLOPS_PER_INPUT[short]
    if short in names.COPY:
        return 0
    return read if short in names.REDUCTION else max((tensor.numel for tensor in tensors_of(node.outputs)), default=0)


def _moved(node: AtenNode, kind: str, flops: int) -> Op:
    """An op bound by its bytes: each input read once, the first output written; a copy's target is not read."""
    inputs = list(dict.fromkeys(tensors_of(node.inputs)))
    if node.short in ("copy", "fill", "zero"):
        inputs = inputs[1:]
    read = sum(tensor.bytes for tensor in inputs)
    written = sum(tensor.bytes for tensor in dict.fromkeys(tensors_of(node.outputs)))
    dims = {"read_bytes": read, "write_bytes": written, "flops": flops}
    return Op(kind, node.short, dims, _dtype(node), label=printable(node.short, 60))


def _backward_flops(node: AtenNode) -> int:
    """FLOPs of a convolution's backward pass, a forward pass for each gradient of input and weight; 0 of all else."""
    found = tensors_of(node.inputs)
    if node.short != "convolution_backward" or len(found) < 3:
        return 0
    gradients = sum(len(tensor.shape) == len(found[2].shape) for tensor in tensors_of(node.outputs))
    return 2 * gradients * found[0].numel * math.prod(found[2].shape[1:])


def _dtype(node: AtenNode) -> DType:
    found = [*tensors_of(node.outputs), *tensors_of(node.inputs)]
    return found[0].dtype if found else DType.FP32


_LOWERINGS: dict[str, Callable[[AtenNode], Op | None]] = {
    **dict.fromkeys(names.FUSED, _fused), **dict.fromkeys(names.GATHER, _gather),
    **dict.fromkeys(names.LINEAR, _linear), **dict.fromkeys(names.MATRIX, _matrix),
    **dict.fromkeys(names.BATCHED, _batched), **dict.fromkeys(names.CONVOLUTION, _convolution),
    **dict.fromkeys(names.ATTENTION, _attention),
}  # fmt: skip
