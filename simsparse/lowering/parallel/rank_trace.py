# SPDX-License-Identifier: Apache-2.0
"""What one rank of a layout runs: the ops of a trace with its share of each, and the collectives between them.

Tensor parallel: an attention has its heads divided; of matrices in one layer, those from which a path leads to another
product of the layer, past element-wise work alone, have their outputs divided, and those that read divided values
their inputs, after which an all-reduce adds up. The head has its words divided, and an all-gather follows. Source:
Shoeybi et al., Megatron-LM (2019). Experts: dealt out over ``ep`` ranks where that is above 1, else each divided over
``tp``. With ``ep`` beyond ``tp``, tokens of several replicas meet: an all-to-all brings them to the experts'
ranks and back; within ``tp`` every rank has all tokens, computes its experts, and an all-reduce adds up (vLLM). The
rank with most rows stands for all. Context parallel: queries are divided, and an all-gather brings keys and values.

A trace is what one replica runs: ``dp`` changes its inputs in nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from simsparse.config.layout import Layout
from simsparse.core import Op, OpKind, Trace
from simsparse.core.kinds.collective import collective
from simsparse.errors import MappingError
from simsparse.lowering.parallel.experts import expert_ops
from simsparse.lowering.parallel.shares import TensorRole as Role
from simsparse.lowering.parallel.shares import context_share, divided, tensor_roles


def rank_trace(trace: Trace, layout: Layout) -> Trace:
    """The trace of one rank, of all stages. Raises MappingError when an op can't be divided so."""
    if layout.tp == layout.cp == layout.ep == 1:
        return trace
    whole = {OpKind.COLLECTIVE, OpKind.TRANSFER}
    if already := next((op for op in trace.ops if op.kind in whole), None):
        raise MappingError(f"the trace is of several devices already: {already.kind}", key=already.name)
    roles = tensor_roles(trace, layout.tp)
    renamed: dict[str, str] = {}
    made: list[Op] = []
    for op in trace.ops:
        deps = tuple(renamed.get(dep, dep) for dep in op.deps)
        made += _of(op.with_(deps=deps), roles[op.name], layout)
        renamed[op.name] = made[-1].name
    return replace(trace, ops=tuple(made), meta={**trace.meta, "parallel": str(layout)})


def _of(op: Op, role: Role, layout: Layout) -> Iterator[Op]:
    """An op's share and the collectives around it; the last has its result."""
    if op.kind == OpKind.MOE_FFN:
        yield from expert_ops(op, layout)
        return
    own = context_share(op, layout.cp)
    if layout.cp > 1 and op.kind == OpKind.ATTENTION and op.dims["q_len"] > 1:
        d, kv = op.dims, divided(own, role, layout.tp).dims["kv_heads"]
        size = d["batch"] * own.dims["q_len"] * kv * (d["head_dim"] + d["v_head_dim"]) * op.dtype.bits // 8
        yield _collective("all_gather", size, "cp", layout.cp, f"{op.name}.gather_kv", op, op.deps)
        own = own.with_(deps=(f"{op.name}.gather_kv",))
    own = divided(own, role, layout.tp)
    yield own
    if role is Role.SUMMED:
        yield _collective("all_reduce", own.output_bytes, "tp", layout.tp, f"{op.name}.all_reduce", op, (op.name,))
    elif role is Role.GATHERED:
        yield _collective("all_gather", own.output_bytes, "tp", layout.tp, f"{op.name}.all_gather", op, (op.name,))


def _collective(label: str, size: int, span: str, ranks: int, name: str, op: Op, deps: tuple[str, ...]) -> Op:
    return collective(label, size, ranks, group=span, name=name, dtype=op.out_dtype, module=op.module, deps=deps)
