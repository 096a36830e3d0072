# SPDX-License-Identifier: Apache-2.0
"""Ops from the nodes of a torch execution trace: names, shapes and storages, without torch.

A trace nests: ``aten::linear`` holds ``aten::addmm``. The outermost node whose meaning is known
becomes an op; its insides are skipped. Values are followed by storage, so that views cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simsparse.core import DType, Op, OpKind, Trace, TraceBuilder, ops
from simsparse.core.kinds.gather import GATHER
from simsparse.errors import TraceError
from simsparse.trace.interchange import aten_names as names
from simsparse.trace.interchange.aten_products import AtenOp, lower_product
from simsparse.trace.interchange.aten_tensors import AtenNode, AtenTensor, schema_arguments, tensors_of
from simsparse.trace.interchange.base import ImportOptions, Notes, printable
from simsparse.trace.interchange.collectives import collective

_ASSUMED = (
    "an operand of a product that nothing in the file wrote is taken for a weight",
    "each operator is an op of its own: nothing is fused, and weights are dense",
)


class Lowering:
    """Walks the nodes of one execution trace and builds the trace."""

    def __init__(self, name: str, options: ImportOptions, meta: Mapping[str, Any]) -> None:
        self.builder = TraceBuilder(printable(name) or "trace", **meta)
        self.options, self.notes = options, Notes()
        self._writers: dict[int, str] = {}
        self._written_at: dict[int, int] = {}
        self._inside: dict[int, set[int | None]] = {}
        self._weights: set[int] = set()
        self._inputs: set[int] = set()
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
            found = lower_product(node) or _plain(node)
            if found:
                self._add(node, found, module)
                return False
            if has_inner or not self._computes(node):
                return has_inner
            self._keep(node, module)
        except TraceError as error:
            raise TraceError(error.message, key=f"node {node.id} {printable(node.name, 60)}") from error
        return False

    def _leave(self, node: AtenNode, module: str, entered: int) -> None:
        """Keeps an operator whose insides, ops from number ``entered`` on, did not write all of its results."""
        if self._computes(node):
            given = {tensor.storage for tensor in node.taken} | {None}
            written = {tensor.storage for tensor in node.made} - given
            if any(self._written_at.get(storage or 0, -1) <= entered for storage in written):
                self._keep(node, module)

    def _keep(self, node: AtenNode, module: str) -> None:
        self.notes.add(f"kept as other, with its bytes: {printable(node.name, 60)}", f"{node.short}.{node.id}")
        self._add(node, [AtenOp(_moved(node, OpKind.OTHER, 0))], module)

    def _computes(self, node: AtenNode) -> bool:
        """Whether an operator that is in no table makes something new of its inputs."""
        return bool(node.short) and node.short not in names.EMPTY and not node.is_view and self._writes(node)

    def _is_repeated(self, node: AtenNode) -> bool:
        """Whether another operator in the same outermost one already stands for what ``node`` writes."""
        written = {tensor.storage for tensor in node.made}
        return bool(written) and written <= self._inside.get(node.parent, set())

    def _writes(self, node: AtenNode) -> bool:
        """Whether the node gives a tensor that is not one of its inputs."""
        inputs = {tensor.storage for tensor in node.taken} - {None}
        return "!" in node.schema or any(tensor.storage not in inputs for tensor in node.made)

    def _add(self, node: AtenNode, found: Sequence[AtenOp], module: str) -> None:
        """Adds what a node computes, each op after the one before it."""
        self._count += 1
        name = printable(_joined(module, f"{node.short}.{node.id}"))
        deps = list(dict.fromkeys(self._writers[each.storage] for each in node.taken if each.storage in self._writers))
        for each in found:
            op = self._with_weight(each)
            suffix = f".{each.op.label or each.op.name}" if len(found) > 1 else ""
            self.builder.add(op.with_(name=name + suffix, module=printable(module)), deps)
            deps = [self.builder.last]
        written = {tensor.storage for tensor in node.made} | _written_inputs(node)
        self._writers |= {storage: self.builder.last for storage in written if storage is not None}
        self._written_at |= {storage: self._count for storage in written if storage is not None}
        if node.flat:
            self._inside.setdefault(node.parent, set()).update(written)

    def _with_weight(self, each: AtenOp) -> Op:
        """The op with its weight: an operand that nothing in the file wrote, and that was no input of a product."""
        op, weight, other = each.op, each.weight, each.other
        if op.kind == OpKind.CONV2D:
            return op.with_(weight=self._parameter(weight), bias=self._free(each.bias))
        if op.kind == OpKind.LINEAR and (other is None or self._free(weight)):
            self._inputs |= {other.storage} if other is not None and other.storage is not None else set()
            return op.with_(weight=self._parameter(weight), bias=self._free(each.bias))
        if op.kind == OpKind.LINEAR:
            return _left(op, self._parameter(other)) if self._free(other) else _activations(op)
        if op.kind == GATHER.name:
            free = self._free(weight)
            return op.with_(weight=self._parameter(weight)) if free else op.with_(dims={**op.dims, "table_rows": 0})
        if op.kind == OpKind.MATMUL and weight is not None and other is not None:
            return self._batched(op, weight, other)
        return op

    def _batched(self, op: Op, weight: AtenTensor, other: AtenTensor) -> Op:
        """One weight for each of a batch, where just one operand is one; else a product of two activations."""
        d, free = op.dims, [self._free(weight), self._free(other)]
        if free[0] == free[1]:
            return op
        m, n, chosen = (d["m"], d["n"], weight) if free[0] else (d["n"], d["m"], other)
        return ops.linear(m, n, d["k"], op.dtype, groups=d["batch"], weight=self._parameter(chosen))

    def _free(self, tensor: AtenTensor | None) -> bool:
        """Whether ``tensor`` is there and may be a parameter."""
        if tensor is None:
            return False
        return tensor.storage in self._weights or not (
            tensor.storage in self._writers or tensor.storage in self._inputs
        )

    def _parameter(self, tensor: AtenTensor | None) -> str | None:
        if tensor is None or tensor.storage is None:
            return None
        self._weights.add(tensor.storage)
        return f"storage.{tensor.storage}"

    def _collective(self, node: AtenNode, module: str) -> bool:
        raw = str(node.attrs.get("collective_name", ""))
        kind = names.COLLECTIVES.get(raw.lower())
        if kind is None:
            self.notes.add(f"left out: collective {printable(raw, 60) or 'without a name'}", f"node {node.id}")
            return False
        ranks = node.attrs.get("pg_size") or self.options.ranks or (2 if kind == "send_recv" else None)
        if not isinstance(ranks, int) or ranks < 1:
            raise TraceError("the file does not say how many ranks take part; give ranks")
        size = sum(tensor.bytes for tensor in node.taken)
        op = collective(kind, size, ranks, self.notes, f"node {node.id}")
        if op is not None:
            self._add(node, [AtenOp(op)], module)
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
    """The path of a module within another, as long as a trace may hold it: deeper nesting adds nothing."""
    return printable(f"{module}.{name}" if module else name)


def _left(op: Op, weight: str | None) -> Op:
    """A product whose weight is the operand on the left: its rows are the outputs."""
    d = op.dims
    return op.with_(dims={**d, "m": d["n"], "n": d["m"]}, weight=weight)


def _activations(op: Op) -> Op:
    d, made = op.dims, op.out_dtype
    return ops.matmul(1, d["m"], d["n"], d["k"], op.dtype, output_dtype=made if made is not op.dtype else None)


def _written_inputs(node: AtenNode) -> set[int | None]:
    """Storages of the arguments that the schema marks as written, ``Tensor(a!)``."""
    marked = [text.partition(")")[0].endswith("!") for text in node.schema.partition("->")[0].split("Tensor(")[1:]]
    if not any(marked):
        return set()
    given = schema_arguments(node.schema)
    only = [slot for slot, (_, is_out) in zip(node.inputs, given, strict=False) if is_out]
    return {tensor.storage for tensor in (tensors_of(only) if only else node.taken[:1])}


def _plain(node: AtenNode) -> Sequence[AtenOp]:
    """An operator that moves bytes and is in a table; none of others, or of one without a result."""
    short = node.short
    if not node.name.startswith("aten::") or not (node.made or "!" in node.schema):
        return ()
    if short in names.GATHER:
        return _gathered(node)
    known = short in names.FUSED or short.removesuffix("_backward") in names.FUSED or short.startswith(names.RESAMPLING)
    return [AtenOp(_moved(node, OpKind.ELEMENTWISE, _flops(node)))] if known else ()


def _gathered(node: AtenNode) -> Sequence[AtenOp]:
    """Rows by index; of an embedding, which has one table and one index, as a GATHER op that may be of a parameter."""
    taken = sum(tensor.bytes for tensor in node.made[:1])
    if not taken:
        return ()
    table, indexes = node.read[0] if node.read else None, node.read[1:]
    if node.short in names.EMBEDDING and table is not None and len(table.shape) == 2 and indexes and table.elements:
        row = table.bytes // table.shape[0]
        if row:
            rows = indexes[0].elements if node.short == "embedding_bag" else -(-taken // row)
            return [
                AtenOp(ops.gather(max(rows, 1), row, table.dtype, label=node.short, table_rows=table.shape[0]), table)
            ]
    return [AtenOp(ops.elementwise(taken + sum(t.bytes for t in indexes), taken, 0, _dtype(node), label=node.short))]


def _flops(node: AtenNode) -> int:
    short = node.short
    read = max((tensor.elements for tensor in node.read), default=0)
    if short.startswith("_fft"):
        return 5 * read * max(max(node.read[0].shape, default=1) - 1, 1).bit_length() if node.read else 0
    if short in names.FLOPS_PER_INPUT:
        return read * names.FLOPS_PER_INPUT[short]
    if short in names.COPY:
        return 0
    return (
        read
        if short in names.REDUCTION or short.startswith(names.RESAMPLING)
        else max((tensor.elements for tensor in node.made), default=0)
    )


def _moved(node: AtenNode, kind: str, flops: int) -> Op:
    """An op bound by its bytes: each input read once, the first output written; a copy's target is not read."""
    inputs = list(dict.fromkeys(node.read))
    if node.short in ("copy", "fill", "zero"):
        inputs = inputs[1:]
    read = sum(tensor.bytes for tensor in inputs)
    written = sum(tensor.bytes for tensor in dict.fromkeys(node.made))
    dims = {"read_bytes": read, "write_bytes": written, "flops": flops}
    return Op(kind, node.short, dims, _dtype(node), label=printable(node.short, 60))


def _dtype(node: AtenNode) -> DType:
    found = [*node.made, *node.taken]
    return found[0].dtype if found else DType.FP32
