# SPDX-License-Identifier: Apache-2.0
"""ONNX models: import only, with the ``onnx`` extra. Weights in the file are measured for sparsity.

Shapes come from onnx's own shape inference. Nodes that only depend on weights (transposes and casts
of them, dequantisation) are taken as folded into the weights. What ONNX has no word for, such as
routing to experts, is not found either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simsparse.core import DENSE, DType, Op, OpKind, Sparsity, Trace, TraceBuilder, ops
from simsparse.core.tensor import bytes_of
from simsparse.errors import TraceError
from simsparse.trace.interchange import onnx_names as names
from simsparse.trace.interchange.base import (
    MAX_NODES,
    TRACE_FORMATS,
    Imported,
    ImportOptions,
    Notes,
    TraceFormat,
    printable,
)

MAX_MODEL_BYTES = 2 * 1024**3
_MAX_ELEMENTS = 2**40
Facts = tuple[Sparsity, dict[str, Any]]


@dataclass(frozen=True)
class OnnxTensor:
    """Shape and type of a value."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return bytes_of(self.numel, self.dtype)


def read_onnx(path: Path, options: ImportOptions) -> Imported:
    """The trace of an ONNX model. Raises TraceError, also when onnx is not installed."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise TraceError("onnx is not installed; pip install 'simsparse[onnx]'") from error
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise TraceError(f"is longer than {MAX_MODEL_BYTES} bytes")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise TraceError("is not an ONNX model, or damaged") from error
    if not model.graph.node or len(model.graph.node) > MAX_NODES:
        raise TraceError(f"{len(model.graph.node)} nodes; 1 to {MAX_NODES} are read", key="graph")
    trace, notes = _Graph(_inferred(model, options), path, options).trace()
    return Imported(trace, notes)


def _inferred(model: Any, options: ImportOptions) -> Any:
    """The model with functions inlined, the dims that the options name set, and all shapes inferred."""
    import onnx
    from onnx import inliner, shape_inference

    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in options.dims:
                dim.dim_value = options.dims[dim.dim_param]
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        return shape_inference.infer_shapes(model, data_prop=True)
    except (shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, TypeError) as error:
        raise TraceError(f"shapes can't be inferred: {error!s:.200}") from error


@dataclass
class _Graph:
    """One walk over a model's nodes."""

    model: Any
    path: Path
    options: ImportOptions
    notes: Notes = field(default_factory=Notes)
    writers: dict[str, str] = field(default_factory=dict)
    folded: dict[str, Any] = field(default_factory=dict)
    _facts: dict[str, Facts] = field(default_factory=dict)

    def trace(self) -> tuple[Trace, tuple[str, ...]]:
        """Raises TraceError naming the node."""
        graph = self.model.graph
        self.folded = {tensor.name: tensor for tensor in graph.initializer}
        self.tensors = self._tensors(graph)
        builder = TraceBuilder(printable(self.path.name.split(".")[0]) or "model", source="ONNX model",
                               producer=printable(self.model.producer_name, 60))  # fmt: skip
        for i, node in enumerate(graph.node):
            place = printable(node.name) or f"{node.op_type}.{i}"
            try:
                self._add(builder, node, place)
            except TraceError as error:
                raise TraceError(error.message, key=f"node {place} ({printable(node.op_type, 40)})") from error
        if not builder.build().ops:
            raise TraceError("holds no node that computes anything")
        self.notes.add("each node is an op of its own: nothing is fused")
        return builder.build(), self.notes.lines()

    def _tensors(self, graph: Any) -> dict[str, OnnxTensor]:
        known = {tensor.name: _shaped(tensor.dims, tensor.data_type) for tensor in graph.initializer}
        for value in graph.input:
            self._check_sizes(value)
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
            if kind.HasField("shape") and min(dims, default=0) >= 0:
                known.setdefault(value.name, _shaped(dims, kind.elem_type))
        return {name: tensor for name, tensor in known.items() if tensor is not None}

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
            self.folded |= {name: self._same_weight(node) for name in node.output if name}
            return
        op = None if node.op_type in names.VIEWS else self._op(node, place)
        deps = list(dict.fromkeys(self.writers[name] for name in sources if name in self.writers))
        if op is None:
            self.writers |= {name: deps[0] for name in node.output if name and deps}
            return
        builder.add(op.with_(name=place, deps=()), deps)
        self.writers |= {name: builder.last for name in node.output if name}

    def _same_weight(self, node: Any) -> Any:
        """The initializer behind a node that only moves or rescales it."""
        return self.folded.get(node.input[0]) if node.op_type in names.SAME_ZEROS and node.input else None

    def _op(self, node: Any, place: str) -> Op | None:
        slots = names.PRODUCTS.get(node.op_type)
        if slots is not None:
            shapes = [self.tensors.get(node.input[slot]) for slot in slots if slot < len(node.input)]
            if len(shapes) < len(slots) or None in shapes:
                raise TraceError("its operands' shapes can't be inferred; fold the model's constants first (onnxsim)")
            op = self._product(node, [each for each in shapes if each is not None], [node.input[i] for i in slots])
            if op is not None:
                return op
        return self._moved(node, place)

    def _product(self, node: Any, shapes: list[OnnxTensor], values: list[str]) -> Op | None:
        x, w = shapes[0], shapes[1]
        if node.op_type in names.CONVOLUTIONS:
            return self._convolution(node, x, w, values[1])
        attrs = {attr.name: attr.i for attr in node.attribute if attr.name in ("transA", "transB")}
        left = x.shape[::-1] if attrs.get("transA") else x.shape
        right = w.shape[::-1] if attrs.get("transB") else w.shape
        if not left or not right or not x.numel * w.numel:
            return None
        k, m = left[-1], math.prod(left[:-1])
        inner, n = (right[-2], right[-1]) if len(right) > 1 else (right[0], 1)
        if inner != k:
            raise TraceError(f"shapes {left} and {right} do not multiply")
        if values[1] in self.folded and len(right) <= 2:
            sparsity, stats = self._measured(values[1], transposed=not attrs.get("transB"))
            return ops.linear(m, n, k, x.dtype, weight_sparsity=sparsity, stats=stats, **self._weight(x, w, values[1]))
        batch = max(math.prod(left[:-2]), math.prod(right[:-2]))
        rows = left[-2] if len(left) > 1 else 1
        return ops.matmul(batch, rows, n, k, x.dtype)

    def _convolution(self, node: Any, x: OnnxTensor, w: OnnxTensor, name: str) -> Op | None:
        out = self.tensors.get(node.output[0])
        rank = len(x.shape)
        if out is None or rank not in (3, 4) or len(w.shape) != rank or not x.numel * w.numel * out.numel:
            return None
        groups = next((attr.i for attr in node.attribute if attr.name == "group"), 1)
        (h_in, w_in), (kh, kw) = [1, *x.shape[2:]][-2:], [1, *w.shape[2:]][-2:]
        h_out, w_out = [1, *out.shape[2:]][-2:]
        if groups < 1 or w.shape[1] * groups != x.shape[1] or out.shape[:2] != (x.shape[0], w.shape[0]):
            raise TraceError(f"shapes {x.shape}, {w.shape} and {out.shape} in {groups} groups do not fit")
        dims = {"batch": x.shape[0], "c_in": x.shape[1], "c_out": w.shape[0], "h_in": h_in, "w_in": w_in,
                "h_out": h_out, "w_out": w_out, "kh": kh, "kw": kw, "groups": groups}  # fmt: skip
        sparsity, stats = self._measured(name, transposed=False)
        fields = self._weight(x, w, name)
        weight_dtype = fields.pop("weight_dtype")
        return Op(OpKind.CONV2D, "conv", dims, x.dtype, weight_dtype, weight_sparsity=sparsity, stats=stats, **fields)

    def _weight(self, x: OnnxTensor, w: OnnxTensor, name: str) -> dict[str, Any]:
        return {"weight": printable(name), "weight_dtype": w.dtype if w.dtype is not x.dtype else None}

    def _measured(self, name: str, transposed: bool) -> Facts:
        """Pattern and facts of a weight whose values stand in the file; dense where they don't."""
        source = self.folded.get(name)
        if source is None:
            return DENSE, {}
        key = f"{source.name}{transposed}"
        if key not in self._facts:
            direct = source.name == name
            self._facts[key] = _weight_facts(source, transposed, self.path) if direct else (DENSE, {})
            if not direct:
                self.notes.add("weights that other nodes transform first are taken as dense", printable(name))
        return self._facts[key]

    def _moved(self, node: Any, place: str) -> Op | None:
        """An op bound by its bytes; ``other`` when its meaning is not known."""
        known = node.op_type in names.FLOPS_PER_OUTPUT or node.op_type in names.FLOPS_PER_INPUT
        outputs = self._all(node.output)
        if not outputs:
            self.notes.add("left out: nodes whose result has no known shape", place)
            return None
        inputs = self._all(dict.fromkeys(node.input))
        read = sum(tensor.bytes for tensor in inputs)
        written = sum(tensor.bytes for tensor in outputs)
        if node.op_type in names.GATHERS:
            read = written + sum(tensor.bytes for tensor in inputs[1:])
        flops = names.FLOPS_PER_OUTPUT.get(node.op_type, 0) * outputs[0].numel
        flops += names.FLOPS_PER_INPUT.get(node.op_type, 0) * max((tensor.numel for tensor in inputs), default=0)
        if not known:
            self.notes.add(f"kept as other, with its bytes: {printable(node.op_type, 40)}", place)
        dims = {"read_bytes": read, "write_bytes": written, "flops": flops}
        kind = OpKind.ELEMENTWISE if known else OpKind.OTHER
        return Op(kind, place, dims, outputs[0].dtype, label=printable(node.op_type, 40).lower())

    def _all(self, values: Iterable[str]) -> list[OnnxTensor]:
        return [self.tensors[name] for name in values if name in self.tensors]


def _shaped(dims: Iterable[int], type_: int) -> OnnxTensor | None:
    shape, dtype = tuple(dims), names.DTYPES.get(type_)
    if min(shape, default=0) < 0 or math.prod(shape) > _MAX_ELEMENTS:
        raise TraceError(f"{shape!r:.80} is not a shape")
    return OnnxTensor(shape, DType(dtype)) if dtype else None


def _weight_facts(source: Any, transposed: bool, path: Path) -> Facts:
    """Measured on the values in the file: (n, k) with input channels innermost."""
    import numpy as np
    from onnx import numpy_helper

    from simsparse.trace.statistics.mask_facts import mask_facts, nm_patterns, pattern_of

    if source.data_location == 1:
        return DENSE, {}
    try:
        values = numpy_helper.to_array(source)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TraceError(f"{printable(source.name, 60)} is damaged: {error!s:.120}", file=str(path)) from error
    mask = np.asarray(values != 0)
    rows = np.moveaxis(mask, 1, -1).reshape(len(mask), -1) if mask.ndim > 2 else mask.T if transposed else mask
    rows = np.ascontiguousarray(rows if rows.ndim == 2 else rows.reshape(1, -1))
    facts: dict[str, Any] = {"density": round(int(np.count_nonzero(rows)) / rows.size, 6),
                             "nm": [str(pattern) for pattern in nm_patterns(rows)]}  # fmt: skip
    if not rows.all():
        facts["weight"] = mask_facts(rows)
    return pattern_of(rows, values.dtype.itemsize * 8), facts


TRACE_FORMATS.register("onnx")(TraceFormat("onnx", (".onnx",), "ONNX model", read=read_onnx))
