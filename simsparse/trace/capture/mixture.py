# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts that a model writes by hand: as batched products they become one op, as a loop they are noted.

A batched product with a weight per expert, an activation and a second such product back to the width of the first are
the experts of a layer, each on the rows that the model gives it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from simsparse.core import Op, OpKind, Routing
from simsparse.core.kinds.moe_ffn import moe_ffn
from simsparse.trace.capture.event import Event, EventRole, Recording

ORIGIN = "batched"
"""Origin of the routing of experts that all run on as many rows."""
_TAKES = {"index", "index_select", "gather", "clone", "_to_copy", "copy_"}
"""Operations that take or copy rows of their first input."""


def with_mixtures(recording: Recording) -> Recording:
    """``recording`` with each run of batched products that are experts as one MOE_FFN event."""
    events: list[Event] = []
    left = list(recording.events)
    while left:
        length = _mixture_length(recording, left)
        if length:
            events.append(_mixture(left[:length]))
        else:
            length = 1
            events.append(left[0])
        left = left[length:]
    return replace(recording, events=events)


def _mixture_length(recording: Recording, events: Sequence[Event]) -> int:
    """How many of the first ``events`` are one mixture; 0 where the first one starts none."""
    first = _layer(events[0])
    if first is None:
        return 0
    ups = 0
    for i, event in enumerate(events):
        op = _layer(event)
        if event.scope != events[0].scope or (op is None and event.role is not EventRole.FUSED):
            return 0
        if op is None:
            continue
        if (op.dims["groups"], op.dims["m"]) != (first.dims["groups"], first.dims["m"]):
            return 0
        if i and _is_down(first, op, ups):
            return i + 1 if _is_closed(recording, events[: i + 1], events[i + 1 :]) else 0
        ups += op.dims["n"]
    return 0


def _layer(event: Event) -> Op | None:
    """The grouped layer of an inference pass that ``event`` is."""
    op = event.op if event.role is EventRole.OWN and not event.stage else None
    plain = op is not None and op.kind == OpKind.LINEAR and not op.label and not op.bias
    return op if plain and op is not None and op.dims.get("groups", 1) > 1 else None


def _is_down(first: Op, op: Op, ups: int) -> bool:
    """Whether ``op`` is the way back from ``ups`` hidden elements, those of a gate included, to the width of before."""
    return op.dims["n"] == first.dims["k"] and ups in (op.dims["k"], 2 * op.dims["k"])


def _is_closed(recording: Recording, inside: Sequence[Event], after: Sequence[Event]) -> bool:
    """Whether nothing but the layers' inputs and weights comes in, and nothing but the last result goes out."""
    made = {access.value for event in inside[:-1] for access in event.writes}
    fused = [event for event in inside if event.role is EventRole.FUSED]
    outside = any(access.value not in made for event in fused for access in event.reads)
    used = recording.returned | {access.value for event in after for access in event.reads}
    return not outside and not made & used


def _mixture(events: Sequence[Event]) -> Event:
    layers = [op for event in events if (op := _layer(event)) is not None]
    first, down = layers[0], layers[-1]
    experts, rows, d_ff = first.dims["groups"], first.dims["m"], down.dims["k"]
    gated = sum(op.dims["n"] for op in layers[:-1]) == 2 * d_ff
    densest = max((op.weight_sparsity for op in layers), key=lambda pattern: pattern.density)
    path = (first.weight or "").rpartition(".")[0] or first.module or "experts"
    op = moe_ffn(
        experts * rows, first.dims["k"], d_ff, experts, gated, first.dtype,
        routing=Routing((rows,) * experts, (), ORIGIN), weight_sparsity=densest, weight_dtype=first.weight_dtype,
        name=path, module=first.module, weight=path, stats=dict(down.stats),
    )  # fmt: skip
    made = {access.value for event in events for access in event.writes}
    reads = tuple(access for event in events for access in event.reads if access.value not in made)
    weights = tuple(value for event in events for value in event.weights)
    return replace(events[-1], aten="experts", reads=reads, op=op, weights=weights)


def looped_mixtures(recording: Recording) -> list[str]:
    """Paths of the lists whose modules are experts that run one by one: each of two layers or more, on its own rows.

    The layers of all have the same shapes, and the first ones read rows of one value.
    """
    lists: dict[str, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in recording.events:
        layer = event.op if event.op is not None and event.op.kind == OpKind.LINEAR and event.stage != "bwd" else None
        parts = ((layer.weight if layer else None) or "").split(".")
        for i, part in enumerate(parts):
            if i and part.isdigit():
                lists[".".join(parts[:i])][part].append(event)
    makers = {access.value: event for event in recording.events for access in event.writes}
    return sorted(path for path, members in lists.items() if _are_experts(makers, list(members.values())))


def _are_experts(makers: Mapping[int, Event], members: Sequence[Sequence[Event]]) -> bool:
    shapes = {tuple((event.op.dims["n"], event.op.dims["k"]) for event in events if event.op) for events in members}
    if len(members) < 2 or len(shapes) > 1 or len(members[0]) < 2:
        return False
    return len({_source(makers, events[0]) for events in members}) == 1


def _source(makers: Mapping[int, Event], layer: Event) -> int:
    """The value whose rows a layer reads."""
    value = next(access.value for access in layer.reads if access.value not in layer.weights)
    while (made := makers.get(value)) is not None and made.aten in _TAKES and made.reads:
        value = made.reads[0].value
    return value
