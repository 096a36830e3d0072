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

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

from simsparse.config.layout import Layout
from simsparse.core import Op, OpKind, Trace
from simsparse.core.kinds.collective import collective
from simsparse.errors import MappingError
from simsparse.lowering.kept import UPDATE
from simsparse.lowering.parallel.experts import expert_ops, weight_gradients
from simsparse.lowering.parallel.shares import BACKWARD_WEIGHT, context_share, divided, scaled, tensor_roles
from simsparse.lowering.parallel.shares import TensorRole as Role
from simsparse.lowering.trace_index import layer_of


def rank_trace(trace: Trace, layout: Layout) -> Trace:
    """The trace of one rank, of all stages. Raises MappingError when an op can't be divided so."""
    if layout.tp == layout.cp == layout.expert_ranks == 1:
        return trace
    whole = {OpKind.COLLECTIVE, OpKind.TRANSFER}
    if already := next((op for op in trace.ops if op.kind in whole), None):
        raise MappingError(f"the trace is of several devices already: {already.kind}", key=already.name)
    roles = tensor_roles(trace, layout.tp)
    renamed: dict[str, str] = {}
    made: list[Op] = []
    experts = _expert_weights(trace)
    layer: int | None = None
    begins: tuple[str, ...] = ()
    for op in trace.ops:
        if roles[op.name] is not Role.PARTIAL:
            made += _sums_before(op, roles, renamed, made, layout)
        deps = tuple(renamed.get(dep, dep) for dep in op.deps)
        if layer_of(op) != layer:
            layer, begins = layer_of(op), deps
        if op.label == UPDATE and op.weight in experts:
            parts = max(layout.tp if layout.ep == 1 else 1, layout.expert_ranks)
            made.append(scaled(op.with_(deps=deps), Fraction(1, parts)))
        else:
            made += _of(op.with_(deps=deps), roles[op.name], layout, begins)
        renamed[op.name] = made[-1].name
    return replace(trace, ops=tuple(made), meta={**trace.meta, "parallel": str(layout)})


def _expert_weights(trace: Trace) -> frozenset[str]:
    """Names of parameters of experts that an optimizer updates."""
    modules = tuple(op.module for op in trace.ops if op.kind == OpKind.MOE_FFN)
    updated = (op.weight for op in trace.ops if op.label == UPDATE and op.weight)
    return frozenset(weight for weight in updated if weight.rpartition(".")[0] in modules)


def _sums_before(
    op: Op, roles: Mapping[str, Role], renamed: dict[str, str], made: list[Op], layout: Layout
) -> Iterator[Op]:
    """An all-reduce of each summed gradient that ``op`` reads and no other op has read yet."""
    places = {each.name: each for each in made}
    for dep in op.deps:
        if roles[dep] is Role.PARTIAL and op.label != UPDATE and renamed[dep] == dep:
            size, name = places[dep].output_bytes, f"{dep}.all_reduce"
            yield _collective("all_reduce", size, "tp", layout.tp, name, places[dep], (dep,))
            renamed[dep] = name


def _of(op: Op, role: Role, layout: Layout, begins: tuple[str, ...]) -> Iterator[Op]:
    """An op's share and the collectives around it; the last has its result. ``begins``: what its layer waits for."""
    if op.kind == OpKind.MOE_FFN and op.label == BACKWARD_WEIGHT:
        yield from weight_gradients(op, layout)
        return
    if op.kind == OpKind.MOE_FFN:
        yield from expert_ops(op, layout, begins)
        return
    own = context_share(op, layout.cp)
    if layout.cp > 1 and op.kind == OpKind.ATTENTION and op.dims["q_len"] > 1 and not op.label.startswith("bwd"):
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
