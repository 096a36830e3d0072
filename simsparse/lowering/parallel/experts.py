# SPDX-License-Identifier: Apache-2.0
"""The experts of a layer over the ranks of a layout: who has which, and how tokens come to them and back.

Sources: expert sharding (``esp``), all-gather and reduce-scatter of a group's rows round experts of which each rank has
a part: Pan et al., FSMoE (ASPLOS 2025). ``materialized``, experts with most rows on every rank, gathered while what
comes before the layer's experts computes, their gradients reduced while what is below does: He et al., FasterMoE (PPoPP
2022), Qing et al., Hecate (2025). The others are then dealt out by their rows, the largest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from simsparse.config.layout import Layout
from simsparse.core import Op, Routing
from simsparse.core.kinds.collective import EXPERTS, collective
from simsparse.errors import MappingError


def expert_ops(op: Op, layout: Layout, begins: tuple[str, ...] = ()) -> Iterator[Op]:
    """What the rank with most rows runs of an expert layer, with its exchanges. Raises MappingError.

    ``begins``: what the layer's first op waits for; experts that every rank gets are gathered from then on.
    """
    if layout.expert_ranks == 1:
        yield from _each_divided(op, layout)
    elif layout.expert_ranks <= layout.tp:
        yield from _summed(op, layout)
    else:
        yield from _exchanged(op, layout, begins)


def _each_divided(op: Op, layout: Layout) -> Iterator[Op]:
    """Every rank of a tensor-parallel group has its part of each expert; the results are added up."""
    tokens = -(-op.dims["tokens"] // layout.cp)
    if layout.tp == 1 and layout.cp == 1:
        yield op
        return
    if op.dims["d_ff"] < layout.tp:
        raise MappingError(f"d_ff {op.dims['d_ff']} can't be divided by tp {layout.tp}", key=op.name)
    own = with_rows(op, _of_tokens(op, layout.cp), op.dims["experts"], -(-op.dims["d_ff"] // layout.tp))
    yield own
    if layout.tp > 1:
        yield _over("all_reduce", tokens * _row_bytes(op), "tp", layout.tp, op, "all_reduce", (op.name,))


def _summed(op: Op, layout: Layout) -> Iterator[Op]:
    """Every rank has all tokens and some of the experts: it computes their rows, and the results are added up."""
    inner = layout.tp // layout.ep
    counts = heaviest(op, layout.ep)
    yield with_rows(op, counts, len(counts), -(-op.dims["d_ff"] // inner))
    tokens = -(-op.dims["tokens"] // layout.cp)
    yield _over("all_reduce", tokens * _row_bytes(op), "tp", layout.tp, op, "all_reduce", (op.name,))


class ExpertRows(NamedTuple):
    """Rows of each expert that the rank with most rows computes: those that come to it, and those of its own tokens.

    ``sent``: rows that each rank sends.
    """

    come: tuple[int, ...]
    stay: tuple[int, ...]
    sent: int


def _rows(op: Op, layout: Layout) -> ExpertRows:
    ways = layout.tp * layout.cp
    if not layout.materialized:
        replicas = layout.expert_ranks / ways
        come = tuple(round(count * replicas) for count in heaviest(op, layout.ep))
        return ExpertRows(come, (), -(-op.dims["tokens"] * op.dims["top_k"] // ways))
    counts = sorted(_counts(op, layout.ep), reverse=True)
    hot, others = counts[: layout.materialized], counts[layout.materialized :]
    come = tuple(round(count * layout.ep / ways) for count in _dealt(others, layout.ep))
    return ExpertRows(come, tuple(-(-count // ways) for count in hot), -(-sum(others) // ways))


def _dealt(counts: Sequence[int], ranks: int) -> list[int]:
    """Those of the rank with most rows when each expert goes to the rank that has fewest so far."""
    parts: list[list[int]] = [[] for _ in range(ranks)]
    for count in counts:
        min(parts, key=sum).append(count)
    return max(parts, key=sum)


def _exchanged(op: Op, layout: Layout, begins: tuple[str, ...]) -> Iterator[Op]:
    """Tokens of several replicas go to the ranks of their experts and back: an all-to-all each way, by counts.

    An exchange ends when the rank with most rows has sent or received its own. In ``degree`` pieces, the exchanges of
    one run beside the experts of another.
    """
    rows = _rows(op, layout)
    if layout.materialized and not op.label.startswith("bwd"):
        size = len(rows.stay) * op.definition.expert_bytes(op)
        yield _over("all_gather", size // layout.ep, "ep", layout.ep, op, "materialize", begins)
        op = op.with_(deps=(*op.deps, f"{op.name}.materialize"))
    yield from _in_pieces(op, rows, layout)
    if layout.tp > 1:
        part = -(-op.dims["tokens"] // (layout.tp * layout.cp)) * _row_bytes(op)
        yield _over("all_gather", part, "tp", layout.tp, op, "all_gather", (_piece(op, "combine", layout.degree - 1),))


def _in_pieces(op: Op, rows: ExpertRows, layout: Layout) -> Iterator[Op]:
    """Dispatches first, then experts, then combines, piece by piece; the last combine ends the layer."""
    counts = tuple(-(-count // layout.degree) for count in (*rows.come, *rows.stay))
    come = -(-sum(rows.come) // layout.esp)
    size = -(-max(rows.sent, come) * _row_bytes(op) // layout.degree)
    shared = -(-come * _row_bytes(op) // layout.degree)
    inner, pieces = -(-op.dims["d_ff"] // layout.esp), range(layout.degree)
    names = [op.name if i == 0 else _piece(op, "experts", i) for i in pieces]
    for i in pieces:
        yield _over("all_to_all", size, "ep", layout.ep, op, _place("dispatch", i), op.deps)
        if layout.esp > 1:
            yield _over("all_gather", shared, "esp", layout.esp, op, _place("gather", i), (_piece(op, "dispatch", i),))
    last = "gather" if layout.esp > 1 else "dispatch"
    for i in pieces:
        own = with_rows(op, counts, len(counts), inner)
        yield own.with_(name=names[i], deps=(_piece(op, last, i),), weight=op.weight or op.name)
    for i in pieces:
        before = [_piece(op, "combine", earlier) for earlier in range(i)]
        ready = names[i]
        if layout.esp > 1:
            whole = shared * layout.esp
            yield _over("reduce_scatter", whole, "esp", layout.esp, op, _place("scatter", i), (ready,))
            ready = _piece(op, "scatter", i)
        yield _over("all_to_all", size, "ep", layout.ep, op, _place("combine", i), (ready, *before))


def _place(what: str, i: int) -> str:
    return what if i == 0 else f"{what}.{i}"


def _piece(op: Op, what: str, i: int) -> str:
    return f"{op.name}.{_place(what, i)}"


def weight_gradients(op: Op, layout: Layout) -> Iterator[Op]:
    """The gradients of a rank's experts, from rows and gradients that are there; those that every rank has are reduced
    to their owners."""
    if layout.expert_ranks == 1:
        yield with_rows(op, _of_tokens(op, layout.cp), op.dims["experts"], -(-op.dims["d_ff"] // layout.tp))
        return
    if layout.expert_ranks <= layout.tp:
        counts = heaviest(op, layout.ep)
        yield with_rows(op, counts, len(counts), -(-op.dims["d_ff"] // (layout.tp // layout.ep)))
        return
    rows = _rows(op, layout)
    counts = (*rows.come, *rows.stay)
    yield with_rows(op, counts, len(counts), -(-op.dims["d_ff"] // layout.esp))
    if rows.stay:
        size = len(rows.stay) * op.definition.expert_bytes(op)
        yield _over("reduce_scatter", size, "ep", layout.ep, op, "owners", (op.name,))


def heaviest(op: Op, ranks: int) -> tuple[int, ...]:
    """Tokens of each expert of the rank that has most; experts are dealt out in order. Raises MappingError."""
    counts = _counts(op, ranks)
    own = len(counts) // ranks
    parts = [counts[i * own : (i + 1) * own] for i in range(ranks)]
    return max(parts, key=sum)


def _counts(op: Op, ranks: int) -> tuple[int, ...]:
    if op.routing is None or op.dims["experts"] % ranks:
        raise MappingError(f"{op.dims['experts']} experts can't be dealt out to {ranks} ranks", key=op.name)
    return op.routing.counts


def with_rows(op: Op, counts: tuple[int, ...], experts: int, d_ff: int) -> Op:
    """The layer with the rows of ``counts`` alone, each a token with one expert."""
    kept = counts if any(counts) else (1, *counts[1:])
    dims = {**op.dims, "tokens": sum(kept), "top_k": 1, "experts": experts, "d_ff": d_ff}
    routing = Routing(kept, (), op.routing.origin if op.routing else "generated:unspecified")
    return op.with_(dims=dims, routing=routing)


def _of_tokens(op: Op, parts: int) -> tuple[int, ...]:
    assert op.routing is not None
    return tuple(-(-count // parts) for count in op.routing.counts)


def _row_bytes(op: Op) -> int:
    return op.dims["d_model"] * op.dtype.bits // 8


def _over(label: str, size: int, span: str, ranks: int, op: Op, name: str, deps: tuple[str, ...]) -> Op:
    facts = {EXPERTS: op.dims["experts"]} if label == "all_to_all" else {}
    return collective(label, max(1, size), ranks, group=span, name=f"{op.name}.{name}", dtype=op.dtype,
                      module=op.module, deps=deps, stats=facts)  # fmt: skip
