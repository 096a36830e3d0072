# SPDX-License-Identifier: Apache-2.0
"""The experts of a layer over the ranks of a layout: who has which, and how tokens come to them and back."""

from __future__ import annotations

from collections.abc import Iterator

from simsparse.config.layout import Layout
from simsparse.core import Op, Routing
from simsparse.core.kinds.collective import EXPERTS, collective
from simsparse.errors import MappingError


def expert_ops(op: Op, layout: Layout) -> Iterator[Op]:
    """What the rank with most rows runs of an expert layer, with its exchanges. Raises MappingError."""
    if layout.ep == 1:
        yield from _each_divided(op, layout)
    elif layout.ep <= layout.tp:
        yield from _summed(op, layout)
    else:
        yield from _exchanged(op, layout)


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


def _exchanged(op: Op, layout: Layout) -> Iterator[Op]:
    """Tokens of several replicas go to the ranks of their experts and back: an all-to-all each way, by counts.

    An exchange ends when the rank with most rows has sent or received its own. In ``degree`` pieces, the exchanges of
    one run beside the experts of another.
    """
    replicas = layout.ep / (layout.tp * layout.cp)
    counts = tuple(round(count * replicas) for count in heaviest(op, layout.ep))
    sent = -(-op.dims["tokens"] * op.dims["top_k"] // (layout.tp * layout.cp))
    rows = max(sent, sum(counts))
    yield from _in_pieces(op, counts, -(-rows * _row_bytes(op) // layout.degree), layout)
    if layout.tp > 1:
        part = -(-op.dims["tokens"] // (layout.tp * layout.cp)) * _row_bytes(op)
        yield _over("all_gather", part, "tp", layout.tp, op, "all_gather", (_piece(op, "combine", layout.degree - 1),))


def _in_pieces(op: Op, counts: tuple[int, ...], size: int, layout: Layout) -> Iterator[Op]:
    """Dispatches first, then experts, then combines, piece by piece; the last combine ends the layer."""
    part, pieces = tuple(-(-count // layout.degree) for count in counts), range(layout.degree)
    names = [op.name if i == 0 else _piece(op, "experts", i) for i in pieces]
    for i in pieces:
        yield _over("all_to_all", size, "ep", layout.ep, op, _place("dispatch", i), op.deps)
    for i in pieces:
        own = with_rows(op, part, len(part), op.dims["d_ff"])
        yield own.with_(name=names[i], deps=(_piece(op, "dispatch", i),), weight=op.weight or op.name)
    for i in pieces:
        before = [_piece(op, "combine", earlier) for earlier in range(i)]
        yield _over("all_to_all", size, "ep", layout.ep, op, _place("combine", i), (names[i], *before))


def _place(what: str, i: int) -> str:
    return what if i == 0 else f"{what}.{i}"


def _piece(op: Op, what: str, i: int) -> str:
    return f"{op.name}.{_place(what, i)}"


def weight_gradients(op: Op, layout: Layout) -> Op:
    """The gradients of a rank's experts, from rows and gradients that are there."""
    if layout.ep == 1:
        return with_rows(op, _of_tokens(op, layout.cp), op.dims["experts"], -(-op.dims["d_ff"] // layout.tp))
    beyond = max(1, layout.ep // (layout.tp * layout.cp))
    counts = tuple(beyond * count for count in heaviest(op, layout.ep))
    return with_rows(op, counts, len(counts), -(-op.dims["d_ff"] // max(1, layout.tp // layout.ep)))


def heaviest(op: Op, ranks: int) -> tuple[int, ...]:
    """Tokens of each expert of the rank that has most; experts are dealt out in order. Raises MappingError."""
    if op.routing is None or op.dims["experts"] % ranks:
        raise MappingError(f"{op.dims['experts']} experts can't be dealt out to {ranks} ranks", key=op.name)
    own = op.dims["experts"] // ranks
    parts = [op.routing.counts[i * own : (i + 1) * own] for i in range(ranks)]
    return max(parts, key=sum)


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
    size, name, facts = max(1, size), f"{op.name}.{name}", {EXPERTS: op.dims["experts"]} if span == "ep" else {}
    return collective(
        label, size, ranks, group=span, name=name, dtype=op.dtype, module=op.module, deps=deps, stats=facts
    )
