# SPDX-License-Identifier: Apache-2.0
"""PyTorch as Hugging Face models run it: every aten call is a kernel of its own.

Attention that the model calls by itself has the mask that the model gives. Else it has one as transformers 5.17 builds
it: in decode, for the static cache that a captured graph needs, and in prefill that is captured. With a mask, PyTorch
has no kernel for grouped queries, so keys and values are copied out to all heads first, and no block of scores is
skipped for being masked. Experts run as transformers' ``grouped_mm``: sort, gather, two grouped products, activation,
weighting, scatter back and a sum. Source: the code of transformers 5.17.

Left out: the cache is one that is written in place; transformers' default cache copies itself at every step.
"""

from __future__ import annotations

from collections.abc import Iterator

from simsparse.core import DType, KernelCall, Op, OpKind, Trace
from simsparse.core.kinds.attention import GIVEN_MASK, MASK_BYTES
from simsparse.core.kinds.conv2d import CONV2D
from simsparse.core.kinds.launched import launched
from simsparse.errors import TraceError
from simsparse.lowering.stacks.base import STACKS, Stack, called, expanded
from simsparse.lowering.stacks.transposed import Layouts, composite_attention, layouts_of

INDEX_BYTES = 8
"""Of an element of torch's default index type."""
INSIDE = ("batch_norm_cast", "batch_norm_scale", "mask_fill", "mask_where", "nchw_to_nhwc", "nhwc_to_nchw")
"""Kernels that are launched inside the call of the kernel that needs them."""


COPIED_FIRST = ("index_add", "index_copy", "index_put", "masked_fill", "scatter", "scatter_add")
"""Functions that torch does on a copy of their first operand."""
CONTIGUOUS = Layouts({}, frozenset())
"""All tensors lie in the order of their dimensions."""


@STACKS.register("eager")
class Eager(Stack):
    """One kernel per aten call."""

    name = "eager"
    follows_layouts = True

    def launched(self, trace: Trace) -> Trace:
        layouts = layouts_of(trace.ops) if self.sparse24 else CONTIGUOUS
        kernels = expanded(trace, lambda op: kernels_of(op, self.graph, layouts))
        return kernels if self.graph else called(kernels, INSIDE)


def kernels_of(op: Op, graph: bool, layouts: Layouts = CONTIGUOUS) -> Iterator[Op]:
    """The kernels of one op. Raises TraceError for an op whose kernels the trace does not keep."""
    match op.kind:
        case OpKind.ATTENTION:
            yield from _attention(op, graph, op.name in layouts.composite)
        case OpKind.MOE_FFN:
            yield from _experts(op)
        case OpKind.ELEMENTWISE | OpKind.OTHER:
            if not op.kernels:
                raise TraceError("the trace keeps no kernels of it, as a stack that does not fuse needs", key=op.name)
            crossed = layouts.crossed.get(op.name, (False,) * len(op.kernels))
            for call, across in zip(op.kernels, crossed, strict=True):
                for kernel in _calls(call):
                    yield launched(kernel, crossed=kernel.rows if across else 0)
        case OpKind.CONV2D:
            yield from _convolution(op)
        case _:
            yield op


def _calls(call: KernelCall) -> tuple[KernelCall, ...]:
    """The kernels of one aten call: three of a batch norm that is not trained, which first inverts the deviations; a
    copy and the change of it where torch has a kernel in place alone."""
    if call.name in COPIED_FIRST:
        copy = KernelCall("clone", call.write_bytes, call.write_bytes, 0, call.dtype, call.rows * call.cols)
        return copy, call._replace(name=f"{call.name}_")
    if "batch_norm" not in call.name or "backward" in call.name:
        return (call,)
    channels = 4 * max(1, (call.read_bytes - call.write_bytes) // 8)
    small = KernelCall("batch_norm_scale", channels, channels, 0, DType.FP32, channels // 4)
    return (small._replace(name="batch_norm_cast", read_bytes=channels // 2), small, call._replace(name="batch_norm"))


def _convolution(op: Op) -> Iterator[Op]:
    """cuDNN's kernels want channels last: all but products of single pixels convert to them and back."""
    d, size = op.dims, op.dtype.bits // 8
    if CONV2D.taps(op) == 1 and d["h_in"] == d["h_out"]:
        yield op
        return
    taken, weights, made = op.input_bytes, op.weight_bytes, op.output_bytes
    yield launched(KernelCall("nchw_to_nhwc", taken, taken, 0, op.dtype, max(1, taken // size), 1, True))
    yield launched(KernelCall("nchw_to_nhwc", weights, weights, 0, op.dtype, max(1, weights // size), 1, True))
    yield op
    yield launched(KernelCall("nhwc_to_nchw", made, made, 0, op.dtype, max(1, made // size), 1, True))


def _attention(op: Op, graph: bool, composite: bool) -> Iterator[Op]:
    d, given = op.dims, op.stats.get(GIVEN_MASK)
    masked = d["q_len"] == 1 or graph if given is None else given != "none"
    if not masked:
        yield from composite_attention(op, False) if composite else (op,)
        return
    if d["heads"] != d["kv_heads"]:
        for width in (d["head_dim"], d["v_head_dim"]):
            held = d["batch"] * d["kv_len"] * width * op.dtype.bits // 8
            yield launched(KernelCall(
                "repeat_kv", held * d["kv_heads"], held * d["heads"], 0, op.dtype,
                d["batch"] * d["kv_len"] * width * d["heads"], 1, True,
            ))  # fmt: skip
    if composite:
        yield from composite_attention(op, True)
        return
    if given != "float":
        yield from _mask(op)
    dims, stats = {**d, "kv_heads": d["heads"], "causal": 0}, {**op.stats, MASK_BYTES: op.dtype.bits // 8}
    yield op.with_(dims=dims, label="masked", stats=stats)


def _mask(op: Op) -> Iterator[Op]:
    """The mask of zeros and minus infinity that SDPA makes of a mask of truths in every layer."""
    d, dtype = op.dims, op.dtype
    elements = d["batch"] * d["q_len"] * d["kv_len"]
    for _ in range(2):
        yield launched(KernelCall("mask_fill", 0, dtype.bits // 8, 0, dtype))
    yield launched(KernelCall("mask_where", elements, elements * dtype.bits // 8, elements, dtype, elements, 1, True))


def _experts(op: Op) -> Iterator[Op]:
    """The two grouped products are the op itself, labelled ``grouped_mm``; what lies between them follows it."""
    d, size, dtype = op.dims, op.dtype.bits // 8, op.dtype
    rows, experts, inner = d["tokens"] * d["top_k"], d["experts"], d["tokens"] * d["top_k"] * d["d_ff"]
    wide, index, up = rows * d["d_model"], rows * INDEX_BYTES, inner * (2 if d["gated"] else 1)
    long, fp32 = DType.INT64, DType.FP32
    before = (
        KernelCall("sort", index, 2 * index, rows, long, 1, rows),
        KernelCall("floor_divide", index, index, rows, long, rows),
        KernelCall("index", wide * size + index, wide * size, 0, dtype, rows, d["d_model"]),
        KernelCall("index", rows * size + index, rows * size, 0, dtype, rows),
        KernelCall("_to_copy", index, rows * 4, 0, DType.INT32, rows),
        KernelCall("histc", rows * 4, experts * 4, rows, DType.INT32, experts),
        KernelCall("cumsum", experts * 4, experts * 4, experts, DType.INT32, 1, experts),
        KernelCall("ge", index, rows, rows, DType.BOOL, rows),
        KernelCall("clamp_", index, index, rows, long, rows),
        KernelCall("masked_fill_", wide * size + rows, wide * size, wide, dtype, wide, 1, True),
    )
    gate = (
        KernelCall("silu", inner * size, inner * size, inner, dtype, inner, 1, True),
        KernelCall("mul", 2 * inner * size, inner * size, inner, dtype, inner, 1, True),
    )
    plain = (KernelCall("relu", inner * size, inner * size, inner, dtype, inner),)
    between = (*_filled(up, size, rows, dtype), *(gate if d["gated"] else plain))
    out = wide // d["top_k"]
    after = (
        *_filled(wide, size, rows, dtype),
        KernelCall("mul", wide * size + rows * 4, wide * 4, wide, fp32, wide, 1, True),
        KernelCall("arange", 0, index, 0, long, rows),
        KernelCall("index_put_", 2 * index, index, 0, long, rows),
        KernelCall("index", wide * 4 + index, wide * 4, 0, fp32, rows, d["d_model"]),
        KernelCall("sum", wide * 4, out * 4, wide, fp32, out, d["top_k"]),
        KernelCall("_to_copy", out * 4, out * size, 0, dtype, out),
    )
    yield from map(launched, before)
    yield op.with_(label="grouped_mm")
    yield from map(launched, (*between, *after))


def _filled(elements: int, size: int, rows: int, dtype: DType) -> tuple[KernelCall, KernelCall]:
    """``masked_fill``, which blanks the rows of experts that lie elsewhere: a copy, then a fill under the mask."""
    moved = elements * size
    return (
        KernelCall("clone", moved, moved, 0, dtype, elements),
        KernelCall("masked_fill_", moved + rows, moved, elements, dtype, elements, 1, True),
    )
