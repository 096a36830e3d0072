# SPDX-License-Identifier: Apache-2.0
"""A trace in another element type or for another batch: the same operators with other sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

from simsparse.core.kernel import KernelCall
from simsparse.core.op import Op
from simsparse.core.routing import Routing
from simsparse.core.tensor import DType, whole
from simsparse.errors import SpecError, TraceError
from simsparse.registry import Registry

if TYPE_CHECKING:
    from simsparse.core.trace import Trace

ROUTERS: Registry[Callable[[str, int, int, int, int, int], Routing]] = Registry("router", ("simsparse.trace.routing",))
"""Draws a process: (text, tokens, experts, top_k, layer, seed); the module of the processes registers itself."""
_FLOATS = {DType.FP64, DType.FP32, DType.TF32, DType.BF16, DType.FP16, DType.FP8}
_UNTYPED = {"transfer", "collective"}
"""Kinds that move bytes of whatever type the trace has."""


def cast(trace: Trace, dtype: str | DType) -> Trace:
    """``trace`` with ``dtype`` in place of its main type, that of most of its products, or of most of its ops.

    Weights, inputs and results that have the main type change, and so do the bytes of what is known by bytes; other
    types (indexes, a router in fp32) stay. Raises SpecError on an unknown type.
    """
    new, main = DType.parse(dtype), main_type(trace)
    if main is None or new is main:
        return trace
    ratio = Fraction(new.bits, main.bits)

    def changed(op: Op) -> Op:
        if op.dtype is not main and op.kind not in _UNTYPED:
            return op.with_(kernels=_kernels(op, main, new, ratio)) if op.kernels else op
        scale = {key: ceil(size * ratio) for key, size in op.dims.items() if key.endswith("bytes")}
        types = {key: new for key in ("weight_dtype", "output_dtype") if getattr(op, key) is main}
        own = {} if op.kind in _UNTYPED else {"dtype": new}
        return op.with_(dims={**op.dims, **scale}, kernels=_kernels(op, main, new, ratio), **own, **types)

    return replace(trace.map(changed), meta={**trace.meta, "dtype": str(new)})


def main_type(trace: Trace) -> DType | None:
    """The floating type of most products of ``trace``, else of most of its ops; None where there is none."""
    for weigh in (lambda op: op.dense_macs, lambda op: op.kind not in _UNTYPED):
        counted: Counter[DType] = Counter()
        for op in trace.ops:
            counted[op.dtype] += int(weigh(op)) if op.dtype in _FLOATS else 0
        if counted.total():
            return counted.most_common(1)[0][0]
    return None


def _kernels(op: Op, main: DType, new: DType, ratio: Fraction) -> tuple[KernelCall, ...]:
    return tuple(
        kernel._replace(
            read_bytes=ceil(kernel.read_bytes * ratio), write_bytes=ceil(kernel.write_bytes * ratio), dtype=new
        ) if kernel.dtype is main else kernel
        for kernel in op.kernels
    )  # fmt: skip


def resize(trace: Trace, batch: int) -> Trace:
    """``trace`` for ``batch`` sequences or images in place of those that its ``meta`` names.

    Tokens, images and bytes grow in proportion; drawn routing is drawn anew for the tokens that there are. What an
    element-wise op reads of parameters grows too, which is a small part. Raises TraceError when the trace does not say
    its batch, is of a training step, holds recorded routing, or an op can't be divided so.
    """
    before, now = whole(trace.meta.get("batch")), whole(batch)
    if now is None or now < 1:
        raise SpecError(f"{batch!r:.80} is not a positive whole number", key="batch")
    if before == now:
        return trace
    if before is None or before < 1:
        raise TraceError("does not say its batch, so that it can't be changed", key=f"{trace.name}.batch")
    if trace.meta.get("phase") == "train":
        raise TraceError("is a training step, whose batch can't be changed", key=f"{trace.name}.batch")
    ratio, layer, ops = Fraction(now, before), 0, []
    for op in trace.ops:
        made = op.with_(dims=_resized(op, ratio), kernels=tuple(_grown(kernel, ratio) for kernel in op.kernels))
        if op.routing is not None:
            made, layer = made.with_(routing=_redrawn(made, layer, int(trace.meta.get("seed", 0)))), layer + 1
        ops.append(made)
    return replace(trace, ops=tuple(ops), meta={**trace.meta, "batch": now})


def _resized(op: Op, ratio: Fraction) -> Mapping[str, int]:
    names = op.definition.batch_dims
    if not names:
        raise TraceError(f"{op.kind} ops do not say what grows with the batch", key=op.name)
    exact = {key: op.dims[key] * ratio for key in names if key in op.dims}
    if op.kind == "matmul" and exact["batch"].denominator > 1:
        exact = {"m": op.dims["m"] * ratio}
    for key, size in exact.items():
        if size.denominator > 1 and not (key.endswith("bytes") or key == "flops"):
            raise TraceError(f"{key} {op.dims[key]} can't be {ratio} times as much", key=op.name)
    return {**op.dims, **{key: ceil(size) for key, size in exact.items()}}


def _grown(kernel: KernelCall, ratio: Fraction) -> KernelCall:
    sizes: dict[str, Any] = {
        key: ceil(getattr(kernel, key) * ratio) for key in ("read_bytes", "write_bytes", "flops", "rows")
    }  # fmt: skip
    return kernel._replace(**sizes)


def _redrawn(op: Op, layer: int, seed: int) -> Routing:
    assert op.routing is not None
    kind, _, process = op.routing.origin.partition(":")
    if kind != "generated" or not process:
        raise TraceError(f"its routing is {op.routing.origin}, which can't be drawn for another batch", key=op.name)
    d = op.dims
    return ROUTERS.get("process")(process, d["tokens"], d["experts"], d["top_k"], layer, seed)
