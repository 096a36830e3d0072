# SPDX-License-Identifier: Apache-2.0
"""Loops and branches of an ONNX model written out, so that the work inside them is counted as often as it runs.

A Loop runs as often as its trip count says where that is a constant or follows from shapes, a Scan once for each slice
of what it walks over, an If the branch that a constant chooses. A Loop that ends by a condition alone takes its trips
from a size with its name (``--dim NAME=TRIPS``). What stays unknown stays a node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simsparse.errors import TraceError
from simsparse.trace.interchange import onnx_names as names
from simsparse.trace.interchange.base import ImportOptions, Notes, printable
from simsparse.trace.interchange.onnx_nodes import constant, node_of, nodes_within, unsqueezed
from simsparse.trace.interchange.onnx_products import CONTRIBUTED

DEPTH = 16
"""Loops within loops that are written out at most."""
SCANS_WITHOUT_BATCH = 9
"""The opset from which a Scan has no batch axis."""
Infer = Callable[[Any], Any]
"""From a model to a graph with the shapes of its values."""


@dataclass
class WrittenOut:
    """What a model becomes: ``weights`` are tensors that lay in the body of a loop or branch, by their new name, and
    ``views`` values that are slices of others, moved nowhere."""

    model: Any
    options: ImportOptions
    notes: Notes
    weights: dict[str, Any] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)
    _left: set[str] = field(default_factory=set)
    _written: int = 0

    def all(self, infer: Infer) -> None:
        """Write out loops and branches, those inside others after these. Raises TraceError beyond the limits."""
        for _ in range(DEPTH):
            found = [node for node in self.model.graph.node if _is_control(node) and node.output[0] not in self._left]
            if not found:
                return
            sizes = _sizes(self.model, found, infer)
            nodes = [made for node in self.model.graph.node for made in self._made(node, sizes)]
            del self.model.graph.node[:]
            self.model.graph.node.extend(nodes)

    def _made(self, node: Any, sizes: Mapping[str, int]) -> Sequence[Any]:
        """A node, or what it is written out to."""
        if not _is_control(node) or node.output[0] in self._left:
            return [node]
        body = self._body(node, sizes)
        if opset_of(self.model) < SCANS_WITHOUT_BATCH and node.op_type == "Scan":
            body = None
        trips = 1 if node.op_type == "If" else self._trips(node, sizes)
        if body is None or trips is None:
            self._left.add(node.output[0])
            return [node]
        copier = _Copier(node, body, self)
        self._count(node, len(copier.moving), trips)
        return _UNROLLED[node.op_type](copier, trips)

    def _count(self, node: Any, body: int, trips: int) -> None:
        most = self.options.limits.values
        self._written += (body + 2) * trips
        if self._written > most:
            raise TraceError(f"{trips} trips of {body} nodes, more than {most} nodes with loops written out; raise the "
                             "limit with limit values=...", key=f"node {_label(node)}")  # fmt: skip

    def _body(self, node: Any, sizes: Mapping[str, int]) -> Any:
        graphs = {attr.name: attr.g for attr in node.attribute if attr.HasField("g")}
        if node.op_type != "If":
            return graphs.get("body")
        branches = [graphs.get("else_branch"), graphs.get("then_branch")]
        if None in branches:
            return None
        if node.input[0] in sizes:
            return branches[bool(sizes[node.input[0]])]
        self.notes.add("of branches whose condition is not known, the one with more products runs", _label(node))
        return max(reversed(branches), key=_work)

    def _trips(self, node: Any, sizes: Mapping[str, int]) -> int | None:
        given = self.options.dims.get(node.name)
        if given is not None:
            return given
        counted = node.input[0] if node.op_type == "Loop" else _walked(node)[0]
        trips = sizes.get(counted)
        if trips is None or trips >= 2**31:
            return None
        if node.op_type == "Loop" and node.input[1:] and node.input[1] and _ends_early(node):
            self.notes.add("loops that a condition may end run all of their trips", _label(node))
        return max(0, trips)


def opset_of(model: Any) -> int:
    """The opset of the standard domain; that which is taken where a model names none."""
    return next((each.version for each in model.opset_import if each.domain in names.STANDARD), 0) or names.OPSET


def _is_control(node: Any) -> bool:
    return node.op_type in names.CONTROL and node.domain in names.STANDARD and bool(node.output and node.input)


def _label(node: Any) -> str:
    return printable(node.name, 60) or str(node.op_type)


def _work(graph: Any) -> tuple[int, int]:
    """Products and nodes of a branch."""
    kinds = [node.op_type for node in nodes_within(graph.node)]
    return sum(kind in CONTRIBUTED or kind == "Einsum" for kind in kinds), len(kinds)


def _walked(node: Any) -> tuple[str, int]:
    """The first value that a Scan walks over, and the axis."""
    count = next((attr.i for attr in node.attribute if attr.name == "num_scan_inputs"), 0)
    axes = _integers(node, "scan_input_axes")
    if not 0 < count <= len(node.input):
        raise TraceError(f"num_scan_inputs {count} does not fit {len(node.input)} inputs", key=f"node {_label(node)}")
    return node.input[len(node.input) - count], axes[0] if axes else 0


def _integers(node: Any, name: str) -> Sequence[int]:
    return next((list(attr.ints) for attr in node.attribute if attr.name == name), [])


def _ends_early(node: Any) -> bool:
    """Whether the condition of a loop is computed anew in its body, and not handed on."""
    body = next(attr.g for attr in node.attribute if attr.name == "body")
    makers = {name: each for each in body.node for name in each.output}
    name = body.output[0].name if body.output else ""
    while (maker := makers.get(name)) is not None and maker.op_type in ("Identity", "Cast"):
        name = maker.input[0]
    return maker is not None and maker.op_type != "Constant"


def _sizes(model: Any, found: Sequence[Any], infer: Infer) -> dict[str, int]:
    """Trip counts and conditions by the name of their value, lengths of what Scans walk over by its name.

    Constants are read; other counts are inferred as the size of a tensor that a count shapes.
    """
    known = _constants(model)
    wanted = [node.input[0] for node in found if node.op_type != "Scan" and node.input[0]]
    sizes = {name: known[name] for name in wanted if name in known}
    scans = [_walked(node) for node in found if node.op_type == "Scan"]
    counts = {node.input[0] for node in found if node.op_type == "Loop" and node.input[0]} - set(sizes)
    if not counts and not scans:
        return sizes
    probed = type(model)()
    probed.CopyFrom(model)
    probes = {name: f"{name}/trips" for name in counts}
    for name, probe in probes.items():
        probed.graph.node.append(node_of("Squeeze", [name], [f"{probe}/one"]))
        probed.graph.node.extend(unsqueezed(f"{probe}/one", f"{probe}/row", 0, opset_of(model)))
        probed.graph.node.append(node_of("ConstantOfShape", [f"{probe}/row"], [probe]))
    shapes = _shapes(infer(probed))
    sizes |= {name: shapes[probe][0] for name, probe in probes.items() if shapes.get(probe, (-1,))[0] >= 0}
    for name, axis in scans:
        shape = shapes.get(name, ())
        if -len(shape) <= axis < len(shape) and shape[axis] >= 0:
            sizes[name] = shape[axis]
    return sizes


def _constants(model: Any) -> dict[str, int]:
    """Single numbers among the initializers and constants of a graph."""
    from onnx import numpy_helper

    tensors = [(tensor.name, tensor) for tensor in model.graph.initializer if tensor.data_location != 1]
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output:
            tensors += [(node.output[0], attr.t) for attr in node.attribute if attr.name == "value"]
    single = [
        (name, tensor) for name, tensor in tensors if tensor.data_type in (6, 7, 9) and list(tensor.dims) in ([], [1])
    ]
    found = {}
    for name, tensor in single:
        try:
            found[name] = int(numpy_helper.to_array(tensor).reshape(-1)[0])
        except (ValueError, TypeError, IndexError) as error:
            raise TraceError(f"{printable(name, 60)} is damaged: {error!s:.120}") from error
    return found


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by name; -1 for a dim that is not known."""
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            found[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
    return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


class _Copier:
    """Copies of the body of a loop or branch: what depends on weights alone is written once, the rest for each trip."""

    def __init__(self, node: Any, body: Any, written: WrittenOut) -> None:
        self.node, self.body, self.written = node, body, written
        self.prefix = f"{_label(node)}:{node.output[0]}"
        graph = written.model.graph
        fixed = {tensor.name for tensor in graph.initializer} | set(written.weights)
        self._names: dict[str, str] = {}
        self._lift()
        fixed |= set(self._names)
        self.still: list[Any] = []
        self.moving: list[Any] = []
        given = {value.name for value in body.input}
        for each in body.node:
            inside = not any(attr.HasField("g") or attr.graphs for attr in each.attribute)
            if inside and all(name in fixed and name not in given for name in each.input if name):
                fixed |= set(each.output)
                self._names |= {name: f"{self.prefix}/{name}" for name in each.output if name}
                self.still.append(each)
            else:
                self.moving.append(each)

    def _lift(self) -> None:
        """Move the weights of the body to the graph around it."""
        import onnx

        graph = self.written.model.graph
        for tensor in self.body.initializer:
            name = self._names[tensor.name] = f"{self.prefix}/{tensor.name}"
            self.written.weights[name] = tensor
            small = sum(tensor.dims) <= 64 and tensor.data_location != 1
            if small:
                graph.initializer.append(tensor)
                graph.initializer[-1].name = name
            else:
                graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))

    def once(self) -> list[Any]:
        """The nodes that depend on weights alone."""
        return [self._copy(node, self._names, "") for node in self.still]

    def trip(self, number: int, inputs: Mapping[str, str]) -> tuple[list[Any], list[str]]:
        """The other nodes of one trip, and the names of its results. ``inputs``: what the body's inputs are."""
        own = {**self._names, **inputs}
        for node in self.moving:
            own |= {name: f"{self.prefix}/{number}/{name}" for name in node.output if name}
        nodes = [self._copy(node, own, f"{number}/") for node in self.moving]
        return nodes, [own.get(value.name, value.name) for value in self.body.output]

    def _copy(self, node: Any, renamed: Mapping[str, str], trip: str) -> Any:
        made = type(node)()
        made.CopyFrom(node)
        made.name = f"{_label(self.node)}/{trip}{node.name or node.op_type}"
        made.output[:] = [renamed.get(name, name) for name in node.output]
        for each in nodes_within([made]):
            each.input[:] = [renamed.get(name, name) for name in each.input]
            for graph in (attr.g for attr in each.attribute if attr.HasField("g")):
                for value in graph.output:
                    value.name = renamed.get(value.name, value.name)
        return made

    def slices(self, source: str, trips: int, axis: int, reverse: bool) -> tuple[list[Any], list[str]]:
        """Nodes that cut ``source`` along ``axis``, and the name of each piece; the pieces stay where they are."""
        made, pieces = [], []
        for i in range(trips):
            place, piece = (f"{self.prefix}/{source}/{what}{i}" for what in ("place", "slice"))
            made += [
                constant(place, trips - 1 - i if reverse else i),
                node_of("Gather", [source, place], [piece], axis=axis),
            ]
            pieces.append(piece)
        self.written.views |= set(pieces)
        return made, pieces


def _joined(copier: _Copier, pieces: Sequence[str], output: str, axis: int = 0) -> list[Any]:
    """Nodes that stack ``pieces`` along a new axis."""
    rows = [f"{output}/{i}" for i in range(len(pieces))]
    opset = opset_of(copier.written.model)
    each = [made for piece, row in zip(pieces, rows, strict=True) for made in unsqueezed(piece, row, axis, opset)]
    return [*each, node_of("Concat", rows, [output], axis=axis)]


def _renamed(sources: Iterable[str], outputs: Iterable[str]) -> list[Any]:
    return [node_of("Identity", [source], [output]) for source, output in zip(sources, outputs, strict=False) if output]


def _branch(copier: _Copier, trips: int) -> list[Any]:
    del trips
    nodes, results = copier.trip(0, {})
    return [*copier.once(), *nodes, *_renamed(results, copier.node.output)]


def _loop(copier: _Copier, trips: int) -> list[Any]:
    """Body: (trip, condition, states...) to (condition, states..., rows of stacked results...)."""
    node, body = copier.node, copier.body
    inside, states = [value.name for value in body.input], list(node.input[2:])
    if len(inside) != len(states) + 2 or len(body.output) < len(states) + 1:
        raise TraceError(f"the body takes {len(inside)} values; expected {len(states) + 2}", key=f"node {_label(node)}")
    made, condition = copier.once(), node.input[1] if len(node.input) > 1 else ""
    if not condition:
        condition = f"{copier.prefix}/always"
        made.append(constant(condition, True))
    rows: list[list[str]] = [[] for _ in body.output[len(states) + 1 :]]
    for i in range(trips):
        place = f"{copier.prefix}/{i}/trip"
        nodes, results = copier.trip(i, dict(zip(inside, [place, condition, *states], strict=True)))
        made += [constant(place, i), *nodes]
        condition, states = results[0], results[1 : len(states) + 1]
        for stack, row in zip(rows, results[len(states) + 1 :], strict=True):
            stack.append(row)
    made += _renamed(states, node.output[: len(states)])
    pairs = zip(rows, node.output[len(states) :], strict=False)
    return made + [each for stack, output in pairs if output and stack for each in _joined(copier, stack, output)]


def _scan(copier: _Copier, trips: int) -> list[Any]:
    """Body: (states..., slices...) to (states..., rows of stacked results...)."""
    node, body = copier.node, copier.body
    count = next((attr.i for attr in node.attribute if attr.name == "num_scan_inputs"), 0)
    inside, states, walked = [value.name for value in body.input], list(node.input[:-count]), node.input[-count:]
    if len(inside) != len(node.input) or len(body.output) < len(states):
        raise TraceError(f"the body takes {len(inside)} values; expected {len(node.input)}", key=f"node {_label(node)}")
    made, cut = copier.once(), []
    axes, back = _integers(node, "scan_input_axes"), _integers(node, "scan_input_directions")
    for i, source in enumerate(walked):
        nodes, pieces = copier.slices(source, trips, axes[i] if i < len(axes) else 0, bool(i < len(back) and back[i]))
        made += nodes
        cut.append(pieces)
    rows: list[list[str]] = [[] for _ in body.output[len(states) :]]
    for i in range(trips):
        nodes, results = copier.trip(i, dict(zip(inside, [*states, *(pieces[i] for pieces in cut)], strict=True)))
        made += nodes
        states = results[: len(states)]
        for stack, row in zip(rows, results[len(states) :], strict=True):
            stack.append(row)
    made += _renamed(states, node.output[: len(states)])
    outward = _integers(node, "scan_output_axes")
    for i, (stack, output) in enumerate(zip(rows, node.output[len(states) :], strict=False)):
        if output and stack:
            made += _joined(copier, stack, output, outward[i] if i < len(outward) else 0)
    return made


_UNROLLED = {"If": _branch, "Loop": _loop, "Scan": _scan}
