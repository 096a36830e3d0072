# SPDX-License-Identifier: Apache-2.0
"""ONNX models: import only, with the ``onnx`` extra. Weights in the file are measured for sparsity.

Shapes come from onnx's own shape inference. Nodes that only depend on weights (transposes and casts
of them, dequantisation) are taken as folded into the weights; dequantised weights are stored as they
stand in the file. Loops and branches are written out where their trips are known. Routing to experts is not in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simsparse.core import DType, Op, OpKind, Trace, TraceBuilder, ops
from simsparse.core.tensor import TensorSpec
from simsparse.errors import SpecError, TraceError
from simsparse.limits import Limits
from simsparse.trace.interchange import onnx_names as names
from simsparse.trace.interchange.base import (
    TRACE_FORMATS,
    Imported,
    ImportOptions,
    Notes,
    TraceFormat,
    printable,
)
from simsparse.trace.interchange.onnx_control import opset_of
from simsparse.trace.interchange.onnx_einsum import einsum
from simsparse.trace.interchange.onnx_experts import EXPERTS
from simsparse.trace.interchange.onnx_more import MORE
from simsparse.trace.interchange.onnx_products import CONTRIBUTED, STANDARD, OnnxNode
from simsparse.trace.interchange.onnx_shapes import inferred
from simsparse.trace.interchange.onnx_weights import OnnxWeight, OnnxWeights, shaped

_STANDARD = {**STANDARD, **MORE, "Einsum": einsum}
_CONTRIBUTED = {**CONTRIBUTED, **EXPERTS}
USUAL_NODES, OPS_OF_A_NODE, NAMES_OF_A_NODE = 20_000, 2, 5
"""Nodes that a model may have, one to two seconds' work, and ops and names of values of a node on average at most."""
MAX_MODEL_BYTES = 2 * 1024**3


def read_onnx(path: Path, options: ImportOptions) -> Imported:
    """The trace of an ONNX model. Raises TraceError, also when onnx is not installed.

    Limits: values are nodes, with functions written out, ops, and names of values that nodes read and write, 20,000,
    40,000 and 100,000 unless the limit of values is another than usual; a model may have 2 GiB, or more where the limit
    of bytes is larger.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise TraceError("onnx is not installed; pip install 'simsparse[onnx]'") from error
    most = max(MAX_MODEL_BYTES, options.limits.bytes)
    if path.stat().st_size > most:
        raise TraceError(f"is longer than {most} bytes; raise the limit with limit bytes=...")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise TraceError("is not an ONNX model, or damaged") from error
    if not model.graph.node:
        raise TraceError("holds no node", key="graph")
    usual = options.limits.values == Limits.values
    limits = replace(options.limits, values=USUAL_NODES) if usual else options.limits
    limits.check("values", len(model.graph.node))
    limits.check("values", sum(len(node.input) + len(node.output) for node in model.graph.node) // NAMES_OF_A_NODE)
    options = replace(options, limits=limits)
    notes = Notes()
    nodes, shapes, written = inferred(model, options, notes)
    graph = _Graph(model, nodes, shapes, OnnxWeights(path, notes), notes, written.weights, written.views, limits)
    name = printable(path.name.split(".")[0]) or "model"
    return Imported(graph.trace(name), notes.lines())


@dataclass
class _Graph:
    """One walk over a model's nodes: ``model`` has the weights, ``shapes`` the shapes of values.

    ``inner`` are weights from the bodies of loops, ``views`` values that are parts of others;
    ``made`` counts ops.
    """

    model: Any
    nodes: Sequence[Any]
    shapes: Any
    weights: OnnxWeights
    notes: Notes
    inner: Mapping[str, Any]
    views: Set[str]
    limits: Limits
    made: int = 0
    writers: dict[str, str] = field(default_factory=dict)
    folded: dict[str, OnnxWeight] = field(default_factory=dict)
    tensors: dict[str, TensorSpec] = field(default_factory=dict)
    _stored: dict[str, DType] = field(default_factory=dict)

    def trace(self, name: str) -> Trace:
        """Raises TraceError naming the node."""
        self._read_initializers()
        self._read_shapes()
        builder = TraceBuilder(name, source="ONNX model", producer=printable(self.model.producer_name, 60))
        for i, node in enumerate(self.nodes):
            place = printable(node.name) or f"{node.op_type}.{i}"
            try:
                self._add(builder, node, place)
            except (SpecError, TraceError) as error:
                said = f"{error.key}: {error.message}" if error.key else error.message
                raise TraceError(said, key=f"node {place} ({printable(node.op_type, 40)})") from error
        trace = builder.build()
        if not trace.ops:
            raise TraceError("holds no node that computes anything")
        self.notes.add("each node is an op of its own: nothing is fused")
        return trace

    @property
    def opset(self) -> int:
        """The opset of the standard domain."""
        return opset_of(self.model)

    def stored(self, name: str) -> DType | None:
        """The type in which an activation that was just dequantised is stored; None of any other."""
        return self._stored.get(name)

    def _read_initializers(self) -> None:
        for tensor in self.model.graph.initializer:
            self._keep(tensor.name, shaped(tensor.dims, tensor.data_type), tensor)
        for name, tensor in self.inner.items():
            self._keep(name, shaped(tensor.dims, tensor.data_type), tensor)
        for sparse in self.model.graph.sparse_initializer:
            self.notes.add("weights in a sparse form are taken as dense", printable(sparse.values.name))
            self._keep(sparse.values.name, shaped(sparse.dims, sparse.values.data_type), None)

    def _keep(self, name: str, tensor: TensorSpec | None, source: Any) -> None:
        self.folded[name] = OnnxWeight(source, tensor.dtype if tensor else None)
        if tensor is not None:
            self.tensors[name] = tensor

    def _read_shapes(self) -> None:
        graph = self.shapes
        for value in self.model.graph.input:
            self._check_sizes(value)
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
            tensor = shaped(dims, kind.elem_type) if kind.HasField("shape") and min(dims, default=0) >= 0 else None
            if tensor is not None:
                self.tensors.setdefault(value.name, tensor)

    def _check_sizes(self, value: Any) -> None:
        """Raises TraceError when an input that is no weight has a dim without size."""
        unknown = [dim.dim_param for dim in value.type.tensor_type.shape.dim if not dim.HasField("dim_value")]
        if unknown and value.name not in self.folded:
            name = printable(unknown[0], 60)
            raise TraceError(f"dim {name or 'without a name'} has no size; give one, such as {name or 'batch'}=1",
                             key=f"input {printable(value.name, 60)}")  # fmt: skip

    def _add(self, builder: TraceBuilder, node: Any, place: str) -> None:
        sources = [name for name in node.input if name]
        if node.op_type == "Constant" or (sources and all(name in self.folded for name in sources)):
            weight = self._moved_weight(node)
            self.folded |= {name: weight for name in node.output if name}
            return
        if node.op_type == "DequantizeLinear" and node.input[0] in self.tensors:
            self._stored[node.output[0]] = self.tensors[node.input[0]].dtype
        moved = node.op_type not in names.VIEWS and not (node.output and node.output[0] in self.views)
        found = self._ops(node, place) if moved else []
        self.made += len(found)
        self.limits.check("values", self.made // OPS_OF_A_NODE)
        deps = list(dict.fromkeys(self.writers[name] for name in sources if name in self.writers))
        if not found:
            self.writers |= {name: deps[0] for name in node.output if name and deps}
            return
        for op in found:
            own = place + f".{op.label or op.name}" if len(found) > 1 else place
            builder.add(op if op.name == own else op.with_(name=own), deps)
            deps = [builder.last]
        self.writers |= {name: builder.last for name in node.output if name}

    def _moved_weight(self, node: Any) -> OnnxWeight:
        """The weight behind a node that only moves, recasts or rescales one; one without values behind others."""
        nothing = OnnxWeight(None, None)
        if node.op_type == "Constant":
            tensor = next((attr.t for attr in node.attribute if attr.name == "value"), None)
            return nothing if tensor is None else self._constant(node, tensor)
        if node.op_type not in names.SAME_ZEROS or not node.input or not node.output:
            return nothing
        before, after = self.folded[node.input[0]], self.tensors.get(node.output[0])
        if node.op_type == "DequantizeLinear":
            zero = self.folded[node.input[2]].tensor if len(node.input) > 2 and node.input[2] else None
            axis = next((attr.i for attr in node.attribute if attr.name == "axis"), 1)
            return OnnxWeight(before.tensor, before.dtype, before.steps, zero, axis)
        if node.op_type == "Transpose":
            rank = len(after.shape) if after else 0
            order = next((list(attr.ints) for attr in node.attribute if attr.name == "perm"), [*range(rank)][::-1])
            return before.moved("transpose", order)
        if node.op_type == "Cast" and after is not None and before.zero is None:
            return OnnxWeight(before.tensor, after.dtype, before.steps)
        if node.op_type in names.RESHAPES:
            return before.moved("reshape", after.shape) if after is not None else nothing
        return before

    def _constant(self, node: Any, tensor: Any) -> OnnxWeight:
        kept = shaped(tensor.dims, tensor.data_type)
        if kept is not None:
            self.tensors.setdefault(node.output[0], kept)
        return OnnxWeight(tensor, kept.dtype if kept else None)

    def _ops(self, node: Any, place: str) -> Sequence[Op]:
        contributed = node.domain in names.CONTRIBUTED
        table = _CONTRIBUTED if contributed else _STANDARD if node.domain in names.STANDARD else {}
        lower = table.get(node.op_type)
        found = lower(OnnxNode(node, self)) if lower is not None else ()
        return found or self._moved(node, place)

    def _moved(self, node: Any, place: str) -> Sequence[Op]:
        """An op bound by its bytes; ``other`` when its meaning is not known."""
        if node.op_type in names.CONTROL:
            self.notes.add(f"the work inside loops of unknown length is not counted; {names.TRIPS}", place)
        known = node.op_type in names.FLOPS_PER_OUTPUT or node.op_type in names.FLOPS_PER_INPUT
        outputs = self._all(node.output)
        if not outputs:
            self.notes.add("left out: nodes whose result has no known shape", place)
            return ()
        inputs = self._all(dict.fromkeys(node.input))
        read = sum(tensor.bytes for tensor in inputs)
        written = sum(tensor.bytes for tensor in outputs)
        if node.op_type in names.GATHERS:
            if rows := self._rows(node, outputs[0]):
                return rows
            read = written + sum(tensor.bytes for tensor in inputs[1:])
        if node.op_type == "RotaryEmbedding":  # of its tables, the rows of the positions
            read = inputs[0].bytes + min(read - inputs[0].bytes, inputs[0].bytes)
        flops = names.FLOPS_PER_OUTPUT.get(node.op_type, 0) * outputs[0].elements
        flops += names.FLOPS_PER_INPUT.get(node.op_type, 0) * max((tensor.elements for tensor in inputs), default=0)
        if not known:
            self.notes.add(f"kept as other, with its bytes: {printable(node.op_type, 40)}", place)
        dims = {"read_bytes": read, "write_bytes": written, "flops": flops}
        kind = OpKind.ELEMENTWISE if known else OpKind.OTHER
        return [Op(kind, place, dims, outputs[0].dtype, label=printable(node.op_type, 40).lower())]

    def _rows(self, node: Any, made: TensorSpec) -> Sequence[Op]:
        """Rows of an embedding: a Gather along the first axis of a weight."""
        table = self.tensors.get(node.input[0])
        axis = next((attr.i for attr in node.attribute if attr.name == "axis"), 0)
        if node.op_type != "Gather" or axis or table is None or node.input[0] not in self.folded:
            return ()
        row = table.bytes // table.shape[0] if table.shape and table.shape[0] else 0
        if not row or not made.bytes:
            return ()
        return [ops.gather(max(made.bytes // row, 1), row, table.dtype, label="gather", table_rows=table.shape[0],
                           weight=printable(node.input[0]))]  # fmt: skip

    def _all(self, values: Iterable[str]) -> list[TensorSpec]:
        return [self.tensors[name] for name in values if name in self.tensors]


TRACE_FORMATS.register("onnx")(TraceFormat("onnx", (".onnx",), "ONNX model", read=read_onnx))
