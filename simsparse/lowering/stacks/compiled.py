"""torch.compile with Inductor: chains of elementwise work and reductions become one kernel between products.

Attention, experts and products are launched as in eager mode; a copy of keys and values to all heads stays, since it is
the input of a kernel that Inductor does not write. Source: derived from what Inductor fuses by default; not measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from simsparse.core import Op, OpKind, Trace
from simsparse.lowering.stacks.base import STACKS, Stack, expanded
from simsparse.lowering.stacks.eager import kernels_of


@STACKS.register("compiled")
class Compiled(Stack):
    """Elementwise chains fused, all else as in eager mode."""

    name = "compiled"

    def launched(self, trace: Trace) -> Trace:
        chained = Trace(trace.name, tuple(_chained(trace.ops)), trace.meta)
        return expanded(chained, lambda op: [op] if op.kind is OpKind.ELEMENTWISE else kernels_of(op, self.graph))


def _chained(ops: Sequence[Op]) -> Iterator[Op]:
    """``ops`` with each elementwise op joined to the one right before it where that is its input.

    What passes between the two is not read again; it is written only where a later op needs it too.
    """
    readers = Counter(dep for op in ops for dep in op.deps)
    into: dict[str, str] = {}
    held: Op | None = None
    for traced in ops:
        op = traced.with_(deps=tuple(dict.fromkeys(into.get(dep, dep) for dep in traced.deps)))
        if held is not None and op.kind is OpKind.ELEMENTWISE and held.name in op.deps:
            into[held.name] = op.name
            held = _joined(held, op, readers[held.name] > 1)
            continue
        if held is not None:
            yield held
        held = op if op.kind is OpKind.ELEMENTWISE else None
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
