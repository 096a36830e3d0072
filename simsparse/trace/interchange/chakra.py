# SPDX-License-Identifier: Apache-2.0
"""Chakra execution traces (.et), which ASTRA-sim reads: import and export.

Schema: MLCommons Chakra, et_def.proto of mlc-chakra 1.0.0: a GlobalMetadata message, then Node
messages. The attributes that ASTRA-sim reads (``num_ops``, ``tensor_size``, ``is_cpu_op``,
``comm_type``, ``comm_size``) carry an op's FLOPs and bytes; what the schema has no place for stands
in an attribute ``simsparse`` as JSON, so that a file written here is read back exactly.
"""

from __future__ import annotations

import ast
import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simsparse.core import Op, OpKind, Trace, TraceBuilder, ops
from simsparse.core.tensor import DType
from simsparse.errors import TraceError
from simsparse.limits import Limits
from simsparse.trace.file import replace_file
from simsparse.trace.interchange import wire
from simsparse.trace.interchange.aten_nodes import Lowering
from simsparse.trace.interchange.aten_tensors import AtenNode
from simsparse.trace.interchange.base import (
    TRACE_FORMATS,
    Imported,
    ImportOptions,
    Notes,
    TraceFormat,
    printable,
    read_bounded,
)
from simsparse.trace.interchange.collectives import collective
from simsparse.trace.interchange.embedded import MARK, OpReader, header_of, header_text, op_texts

VERSION = "1.0.0"
METADATA, MEM_LOAD, MEM_STORE, COMP, SEND, RECV, COLLECTIVE = range(1, 8)
_COLLECTIVES = ("all_reduce", "reduce", "all_gather", "gather", "scatter", "broadcast", "all_to_all",
                "reduce_scatter", "reduce_scatter_block", "barrier")  # fmt: skip
_GROUPS = ("pg_name", "comm_group", "involved_dim")
"""Attributes that name the ranks of a collective, which stand in another file."""
GROUP_FILE, GROUPS = ".groups.json", "groups"
"""End of the name of that file, a mapping of names to lists of ranks as ASTRA-sim reads it, and a fact of traces."""

_SIGNED, _DOUBLES, _ZIGZAG = {7, 9}, {3, 5}, {15, 17}
_LONGEST_LITERAL = 1_000_000
Groups = Mapping[str, list[int]]
NODE_VALUES = 16
"""Values that a node counts as: it takes some 500 bytes of memory, and the time of as many fields, before any field of
it."""


@dataclass
class ChakraNode:
    """A Node message; ``sides`` are inputs and outputs as (values, shapes, types) texts."""

    id: int = 0
    name: str = ""
    type: int = 0
    ctrl_deps: list[int] = field(default_factory=list)
    data_deps: list[int] = field(default_factory=list)
    sides: dict[int, dict[int, str]] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    def number(self, name: str, default: int = 0) -> int:
        """A whole attribute. Raises TraceError when it is something else or below zero."""
        value = self.attrs.get(name, default)
        if not isinstance(value, int) or value < 0:
            raise TraceError(f"{value!r:.40} is not a whole number", key=name)
        return value


def read_chakra(path: Path, options: ImportOptions) -> Imported:
    """The trace of a .et file, plain or gzip'd: one written here, one converted from torch, or any other.

    Limits: bytes; values, of which a node counts as ``NODE_VALUES``, a dependency, an attribute and any other field
    as one; seconds.
    """
    found = wire.messages(read_bounded(path, options.limits), options.limits)
    if (first := next(found, None)) is None:
        raise TraceError("is empty")
    metadata, counted = _metadata(first[1]), Counted(options.limits)
    nodes = [_node(message, at, counted) for at, message in found]
    name = path.name.split(".")[0]
    if MARK in metadata:
        return _embedded(metadata[MARK], nodes)
    if any("op_schema" in node.attrs for node in nodes):
        meta = {"source": "Chakra execution trace of torch"}
        trace, notes = Lowering(name, options, meta).run(_aten(nodes))
        return Imported(trace, notes.lines())
    return _generic(name, nodes, options, read_groups(path, options))


def group_path(path: Path) -> Path:
    """Where the groups of a .et file stand: beside it, NAME.groups.json."""
    return path.with_name(path.name.split(".et")[0] + GROUP_FILE)


def read_groups(path: Path, options: ImportOptions) -> Mapping[str, list[int]]:
    """Ranks by name of a group, none where there is no such file. Raises TraceError when it is of another form."""
    beside = group_path(path)
    if not beside.is_file():
        return {}
    try:
        found = json.loads(read_bounded(beside, options.limits))
    except ValueError as error:
        raise TraceError(f"is no JSON: {error}", file=str(beside)) from None
    whole = isinstance(found, dict) and all(
        isinstance(ranks, list) and ranks and all(type(rank) is int and rank >= 0 for rank in ranks)
        for ranks in found.values())  # fmt: skip
    if not whole:
        raise TraceError("expected a mapping of names to lists of ranks", file=str(beside))
    return {str(name): ranks for name, ranks in found.items()}


def _metadata(message: bytes) -> dict[str, Any]:
    attrs = {}
    for number, _, value in wire.fields(message):
        if number == 2 and isinstance(value, bytes):
            key, content = _attribute(value)
            attrs[key] = content
    return attrs


class Counted:
    """Counts values as they are read. Raises TraceError beyond the limit."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._values = limits, 0

    def add(self, values: int) -> None:
        self._values += values
        if self._values > self._limits.values:
            self._limits.check("values", self._values)


def _node(message: bytes, at: int, counted: Counted) -> ChakraNode:
    node = ChakraNode()
    counted.add(NODE_VALUES)
    try:
        for number, kind, value in wire.fields(message):
            counted.add(len(value) if number in (4, 5) and isinstance(value, bytes) else 1)
            _take(node, number, kind, value)
    except (TraceError, UnicodeDecodeError) as error:
        raise TraceError(f"a node is damaged: {error}", key=f"byte {at}") from error
    return node


def _take(node: ChakraNode, number: int, kind: int, value: wire.WireValue) -> None:
    if number == 1 and isinstance(value, int):
        node.id = value
    elif number == 2:
        node.name = wire.text(value)
    elif number == 3 and isinstance(value, int):
        node.type = value
    elif number in (4, 5):
        (node.ctrl_deps if number == 4 else node.data_deps).extend(wire.numbers(kind, value))
    elif number in (8, 9) and isinstance(value, bytes):
        node.sides[number] = {key: wire.text(part) for key, _, part in wire.fields(value)}
    elif number == 10 and isinstance(value, bytes):
        key, content = _attribute(value)
        node.attrs[key] = content


def _attribute(message: bytes) -> tuple[str, Any]:
    """Name and value of an AttributeProto; lists, which nothing here reads, are None."""
    name = ""
    content: Any = None
    for number, _, value in wire.fields(message):
        if number == 1:
            name = wire.text(value)
        elif number == 29:
            content = wire.text(value)
        elif number in _DOUBLES:
            content = wire.double(value)
        elif number == 27:
            content = bool(value)
        elif isinstance(value, int) and number != 2:
            content = _whole(number, value)
    return name, content


def _whole(number: int, value: int) -> int:
    if number in _ZIGZAG:
        return (value >> 1) ^ -(value & 1)
    return wire.signed(value) if number in _SIGNED else value


def _embedded(header: Any, nodes: Sequence[ChakraNode]) -> Imported:
    name, meta = header_of(str(header))
    reader = OpReader()
    for node in nodes:
        reader.add(str(node.attrs.get(MARK, "")), f"node {node.id}")
    return Imported(reader.trace(name, meta))


def _aten(nodes: Sequence[ChakraNode]) -> list[AtenNode]:
    """Torch's nodes. Chakra's converter keeps the parents of the outermost operators only.

    A node without one belongs to the last outermost operator before it.
    """
    if not any(node.ctrl_deps for node in nodes):
        raise TraceError("no node has ctrl_deps, so that operators and their insides can't be told apart; "
                         "import the JSON that torch wrote")  # fmt: skip
    found, outermost = [], -1
    for node in sorted(nodes, key=lambda node: node.id):
        inside = not node.ctrl_deps and not node.name.startswith("[")
        outermost = outermost if inside else node.id
        parent = outermost if inside else (node.ctrl_deps or [-1])[0]
        schema = str(node.attrs.get("op_schema", ""))
        sides = (_slots(node, 8), _slots(node, 9))
        found.append(AtenNode(node.id, parent, node.name, schema, *sides, node.attrs, flat=inside))
    return found


def _slots(node: ChakraNode, side: int) -> list[tuple[Any, Any, str]]:
    """Slots from texts such as ``[[2, 8], []]``; values that are no literals are taken as unknown."""
    texts = node.sides.get(side, {})
    shapes, types = (_literal(texts.get(part, "[]"), node) for part in (2, 3))
    try:
        values = _literal(texts.get(1, "[]"), node)
    except TraceError:
        values = []
    if not isinstance(shapes, list) or not isinstance(types, list) or len(shapes) != len(types):
        raise TraceError("shapes and types differ in number", key=f"node {node.id}")
    if not isinstance(values, list) or len(values) != len(shapes):
        values = [None] * len(shapes)
    return list(zip(values, shapes, types, strict=True))


def _literal(text: str, node: ChakraNode) -> Any:
    if len(text) > _LONGEST_LITERAL:
        raise TraceError(f"a list of {len(text)} characters", key=f"node {node.id}")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise TraceError(f"{text!r:.60} is not a list", key=f"node {node.id}") from error


def _generic(name: str, nodes: Sequence[ChakraNode], options: ImportOptions, groups: Groups) -> Imported:
    """Nodes of any other tool: FLOPs and bytes of compute, bytes of memory and communication."""
    builder, notes = TraceBuilder(printable(name) or "trace", source="Chakra execution trace"), Notes()
    dtype = options.dtype or DType.BF16
    names: dict[int, list[str]] = {}
    edges = 0
    for node in _ordered(nodes):
        deps = list(dict.fromkeys(dep for each in (*node.data_deps, *node.ctrl_deps) for dep in names[each]))
        edges += len(deps)
        options.limits.check("values", edges)
        try:
            op = _op(node, options, dtype, notes, groups)
        except TraceError as error:
            place = f"node {node.id} {printable(node.name, 60)}"
            raise TraceError(f"{error.key or ''}{': ' * bool(error.key)}{error.message}", key=place) from error
        if op is None:
            names[node.id] = deps
            continue
        builder.add(op.with_(name=printable(node.name) or f"node.{node.id}"), deps)
        names[node.id] = [builder.last]
    notes.add("compute is known by FLOPs and bytes only, not by shape: no sparsity can be applied to it")
    if options.dtype is None:
        notes.add(f"the file has no element types; {dtype} is assumed")
    return Imported(builder.build(), notes.lines())


def _op(node: ChakraNode, options: ImportOptions, dtype: DType, notes: Notes, groups: Groups) -> Op | None:
    if node.type == COMP:
        dims = {"read_bytes": node.number("tensor_size"), "write_bytes": 0, "flops": node.number("num_ops")}
        if not any(dims.values()):
            notes.add("left out: compute without num_ops and tensor_size", printable(node.name))
            return None
        return Op(OpKind.OTHER, "op", dims, dtype, label="comp")
    if node.type in (MEM_LOAD, MEM_STORE):
        notes.add("memory nodes are taken for transfers between host and gpu0", printable(node.name))
        ends = ("host", "gpu0") if node.type == MEM_LOAD else ("gpu0", "host")
        return ops.transfer(node.number("tensor_size"), *ends)
    if node.type in (SEND, RECV):
        return collective("send_recv", node.number("comm_size"), 2, notes, printable(node.name))
    if node.type == COLLECTIVE:
        return _collective(node, options, notes, groups)
    notes.add(f"left out: nodes of type {node.type}", printable(node.name))
    return None


def _collective(node: ChakraNode, options: ImportOptions, notes: Notes, groups: Groups) -> Op | None:
    named = next((str(node.attrs[name]) for name in _GROUPS if name in node.attrs), "")
    members = groups.get(named, [])
    if not members and options.ranks is None:
        raise TraceError("a .et file holds one rank and does not say how many there are; give ranks")
    if named and not members:
        notes.add(f"process groups are left out: every collective joins all {options.ranks} ranks",
                  printable(node.name))  # fmt: skip
    type_ = node.number("comm_type")
    kind = _COLLECTIVES[type_] if type_ < len(_COLLECTIVES) else f"comm_type {type_}"
    ranks = len(members) or options.ranks or 0
    op = collective(kind.removesuffix("_block"), node.number("comm_size"), ranks, notes, printable(node.name))
    return op.with_(group=tuple(f"gpu{rank}" for rank in members)) if op and members else op


def _ordered(nodes: Sequence[ChakraNode]) -> list[ChakraNode]:
    """Every node after those it depends on, else as in the file.

    Raises TraceError on a cycle, an id that stands twice or one that is not in the file.
    """
    place = {node.id: i for i, node in enumerate(nodes)}
    if len(place) != len(nodes):
        raise TraceError("two nodes have one id")
    waiting, users = [0] * len(nodes), [[] for _ in nodes]  # type: tuple[list[int], list[list[int]]]
    for i, node in enumerate(nodes):
        for dep in {*node.data_deps, *node.ctrl_deps}:
            if dep not in place:
                raise TraceError(f"depends on node {dep}, which the file does not hold", key=f"node {node.id}")
            users[place[dep]].append(i)
            waiting[i] += 1
    ready = [i for i, count in enumerate(waiting) if not count]
    ordered = []
    while ready:
        i = heapq.heappop(ready)
        ordered.append(nodes[i])
        for user in users[i]:
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, user)
    if len(ordered) < len(nodes):
        raise TraceError("nodes depend on each other in a circle")
    return ordered


def write_chakra(trace: Trace, path: Path) -> tuple[str, ...]:
    """Write ``trace`` as one rank's .et file; returns what ASTRA-sim would see otherwise than simsparse."""
    notes = Notes()
    metadata = wire.put(1, VERSION) + wire.put(2, _attr(MARK, 29, header_text(trace)))
    content = [wire.put_message(metadata)]
    index = {op.name: i for i, op in enumerate(trace.ops)}
    for i, (op, text) in enumerate(zip(trace.ops, op_texts(trace), strict=True)):
        deps = b"".join(wire.put_varint(index[dep]) for dep in op.deps)
        node = wire.put(1, i) + wire.put(2, op.name) + wire.put(3, _type(op)) + (wire.put(5, deps) if deps else b"")
        attrs = [*_attrs(op, notes), _attr(MARK, 29, text)]
        content.append(wire.put_message(node + b"".join(wire.put(10, attr) for attr in attrs)))
    if groups := _groups_of(trace):
        replace_file(group_path(path), (json.dumps(groups, indent=1) + "\n").encode())
        notes.add(f"the ranks of groups stand in {group_path(path).name}")
    replace_file(path, b"".join(content))
    return notes.lines("sparsity, routing and shapes stand in the attribute simsparse, which other tools pass over")


def _groups_of(trace: Trace) -> dict[str, list[int]]:
    """Ranks of the groups that collectives name: those that the trace states, and devices gpu0 and on."""
    stated, found = trace.meta.get(GROUPS, {}), dict[str, list[int]]()
    for op in trace.ops:
        name = ",".join(op.group)
        if op.kind != OpKind.COLLECTIVE or not name or name in found:
            continue
        if isinstance(stated, dict) and name in stated:
            found[name] = list(stated[name])
        elif all(member.startswith("gpu") and member[3:].isdigit() for member in op.group):
            found[name] = [int(member[3:]) for member in op.group][: op.dims["ranks"]]
    return found


def _type(op: Op) -> int:
    if op.kind == OpKind.TRANSFER:
        return MEM_STORE if op.dst == "host" else MEM_LOAD
    if op.kind == OpKind.COLLECTIVE:
        return SEND if op.label == "send_recv" else COLLECTIVE
    return COMP


def _attrs(op: Op, notes: Notes) -> list[bytes]:
    """The attributes that ASTRA-sim reads, with the field numbers that Chakra's feeder expects."""
    cpu = _attr("is_cpu_op", 27, 0)
    if op.kind == OpKind.TRANSFER:
        return [cpu, _attr("tensor_size", 13, op.dims["bytes"])]
    if op.kind == OpKind.COLLECTIVE:
        size = _attr("comm_size", 9, op.dims["bytes"])
        if op.label == "send_recv":
            notes.add("a trace does not say between which ranks data is sent: comm_src and comm_dst are left out",
                      op.name)  # fmt: skip
            return [cpu, size]
        named = [_attr("pg_name", 29, ",".join(op.group))] if op.group else []
        return [cpu, _attr("comm_type", 9, _COLLECTIVES.index(op.label)), size, *named]
    if not op.flops:
        notes.add("written with one FLOP: ASTRA-sim takes time from FLOPs alone, copies would cost nothing", op.name)
    return [cpu, _attr("num_ops", 9, max(op.flops, 1)), _attr("tensor_size", 13, op.min_bytes)]


def _attr(name: str, number: int, value: int | str) -> bytes:
    return wire.put(1, name) + wire.put(number, value)


TRACE_FORMATS.register("chakra")(
    TraceFormat("chakra", (".et", ".et.gz"), "Chakra execution trace, for ASTRA-sim", read_chakra, write_chakra)
)
