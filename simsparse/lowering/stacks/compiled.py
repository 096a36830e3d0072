# SPDX-License-Identifier: Apache-2.0
"""torch.compile with Inductor: chains of elementwise work and reductions become one kernel between products.

Attention, products and the sort of the experts' tokens are launched as in eager mode. A copy of keys and values to all
heads stays, since it is the input of a kernel that Inductor does not write, but its addresses are known when it is
compiled. Source: kernels that torch.compile of PyTorch 2.11 launched for layers of Llama-3-8B, Qwen3-30B-A3B and
Mixtral-8x7B on an H200, looked at by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from simsparse.core import DType, KernelCall, Op, OpKind, Trace
from simsparse.core.kinds.launched import launched
from simsparse.lowering.stacks.base import STACKS, Stack, called, expanded
from simsparse.lowering.stacks.eager import INDEX_BYTES, kernels_of


@STACKS.register("compiled")
class Compiled(Stack):
    """Elementwise chains fused, all else as in eager mode."""

    name = "compiled"

    def launched(self, trace: Trace) -> Trace:
        chained = Trace(trace.name, tuple(_chained(trace.ops)), trace.meta)
        kernels = expanded(chained, self._kernels)
        return kernels if self.graph else called(kernels)

    def _kernels(self, op: Op) -> Iterator[Op]:
        match op.kind:
            case OpKind.ELEMENTWISE:
                d = op.dims
                elements = max(1, max(d["read_bytes"], d["write_bytes"]) * 8 // op.dtype.bits)
                yield launched(
                    KernelCall("compiled", d["read_bytes"], d["write_bytes"], d["flops"], op.dtype, elements)
                )
            case OpKind.MOE_FFN:
                yield from _experts(op)
            case _:
                yield from map(_placed, kernels_of(op, self.graph))


def _placed(op: Op) -> Op:
    """A kernel whose addresses are compiled into it, where Inductor writes it."""
    if op.kind != OpKind.LAUNCHED:
        return op
    return op.with_(
        label="compiled", dims={**op.dims, "strided": 0, "rows": op.dims["rows"] * op.dims["cols"], "cols": 1}
    )


def _experts(op: Op) -> Iterator[Op]:
    """Sorting, histogram and sums of counts, then one kernel before, between and after the grouped products."""
    d, size, dtype = op.dims, op.dtype.bits // 8, op.dtype
    rows, inner = d["tokens"] * d["top_k"], d["tokens"] * d["top_k"] * d["d_ff"]
    wide, out, index = rows * d["d_model"], d["tokens"] * d["d_model"], rows * INDEX_BYTES
    yield launched(KernelCall("sort", index, 2 * index, rows, DType.INT64, 1, rows))
    yield launched(KernelCall("histc", rows * 4, d["experts"] * 4, rows, DType.INT32, d["experts"]))
    yield launched(KernelCall("cumsum", d["experts"] * 4, d["experts"] * 4, 0, DType.INT32, 1, d["experts"]))
    yield launched(KernelCall("index", wide * size + index, wide * size, 0, dtype, rows, d["d_model"]))
    yield op.with_(label="grouped_mm")
    yield launched(KernelCall("gate", (1 + d["gated"]) * inner * size, inner * size, 2 * inner, dtype, inner))
    yield launched(KernelCall("sum", wide * size + index, out * size, 2 * wide, dtype, out, d["top_k"]))


def _chained(ops: Sequence[Op]) -> Iterator[Op]:
    """``ops`` with each elementwise op joined to the one right before it where that is its input.

    What passes between the two is not read again; it is written only where a later op needs it too.
    """
    readers = Counter(dep for op in ops for dep in op.deps)
    into: dict[str, str] = {}
    held: Op | None = None
    for traced in ops:
        op = traced.with_(deps=tuple(dict.fromkeys(into.get(dep, dep) for dep in traced.deps)))
        if held is not None and op.kind == OpKind.ELEMENTWISE and held.name in op.deps:
            into[held.name] = op.name
            held = _joined(held, op, readers[held.name] > 1)
            continue
        if held is not None:
            yield held
        held = op if op.kind == OpKind.ELEMENTWISE else None
        if held is None:
            yield op
    if held is not None:
        yield held


def _joined(first: Op, second: Op, kept: bool) -> Op:
    between = first.dims["write_bytes"]
    dims = {
        "read_bytes": first.dims["read_bytes"] + max(0, second.dims["read_bytes"] - between),
        "write_bytes": second.dims["write_bytes"] + (between if kept else 0),
        "flops": first.dims["flops"] + second.dims["flops"],
    }
    deps = tuple(dict.fromkeys((*first.deps, *(dep for dep in second.deps if dep != first.name))))
    return second.with_(dims=dims, deps=deps, kernels=(), label=f"{first.label} {second.label}".strip())
