# SPDX-License-Identifier: Apache-2.0
"""Feed-forward networks in a recording: one or two layers up, an activation, and a layer back to the first width."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from simsparse.core import Op, OpKind
from simsparse.trace.capture.event import Access, Event, EventRole, Recording

_MOST_BETWEEN = 16
"""Operations between the layers up and the layer down."""
_TAKES = {"index", "index_select", "gather", "_unsafe_index", "masked_select", "embedding"}
_COPIES = {"clone", "_to_copy", "copy_", "repeat", "cat", "constant_pad_nd", "mul", "mul_"}
"""Operations whose rows are those of their first input; a token may be scaled by its share before its expert."""


@dataclass
class EventGraph:
    """Who makes and who reads each value of a recording."""

    recording: Recording
    events: list[Event]
    makers: dict[int, int] = field(default_factory=dict)
    readers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, recording: Recording) -> EventGraph:
        """The graph of ``recording``."""
        graph = cls(recording, recording.events)
        for i, event in enumerate(recording.events):
            graph.makers |= {access.value: i for access in event.writes}
            for value in {access.value for access in event.reads}:
                graph.readers[value].append(i)
        return graph

    def made(self, members: Iterable[int]) -> set[int]:
        """The values that the events ``members`` make."""
        return {access.value for i in members for access in self.events[i].writes}

    def is_stored(self, value: int) -> bool:
        """Whether a value is a parameter, a buffer or made of them alone."""
        found = self.recording
        return value in found.parameters or value in found.stored or value in found.made_weights

    def root(self, access: Access) -> tuple[int, bool]:
        """The value whose rows ``access`` shows, and whether an index chose them or it is a part of that value."""
        value, chosen = access.value, 0 < access.bytes < self.recording.value_bytes[access.value]
        while (i := self.makers.get(value)) is not None and self.events[i].reads:
            event = self.events[i]
            if event.aten not in _TAKES | _COPIES or event.op is not None:
                break
            chosen |= event.aten in _TAKES
            value = event.reads[0].value
        return value, chosen


@dataclass(frozen=True)
class FeedForward:
    """Places of the layers up and down and of what is between them; ``source`` is what the layers up read.

    ``bias`` is the place where a bias is added to the result, None where the layer does so itself or there is none.
    """

    ups: tuple[int, ...]
    down: int
    inner: frozenset[int]
    source: Access
    bias: int | None = None

    @property
    def members(self) -> set[int]:
        """The places of all its events."""
        return {*self.ups, self.down, *self.inner, self.last}

    @property
    def last(self) -> int:
        """The place of the event that makes its result."""
        return self.down if self.bias is None else self.bias


def layer(event: Event) -> Op | None:
    """The layer of a forward pass that ``event`` is."""
    op = event.op if event.role is EventRole.OWN and event.stage != "bwd" else None
    named = op.label.removeprefix("fwd").strip() if op is not None else ""
    return op if op is not None and op.kind == OpKind.LINEAR and named in ("", "router") else None


def data_of(graph: EventGraph, place: int) -> Access | None:
    """What a layer reads beside its weight and bias; None where that can't be told."""
    event = graph.events[place]
    found = [a for a in event.reads if a.value not in event.weights and not graph.is_stored(a.value)]
    return found[0] if len(found) == 1 else None


def feed_forwards(graph: EventGraph) -> Iterator[FeedForward]:
    """Every network whose layers fit together, in the order of its layers down."""
    for place, event in enumerate(graph.events):
        if layer(event) is not None and (found := _ending_at(graph, place)) is not None:
            yield found


def _ending_at(graph: EventGraph, place: int) -> FeedForward | None:
    hidden = data_of(graph, place)
    if hidden is None:
        return None
    ups, inner = _between(graph, hidden)
    sources = [data_of(graph, up) for up in sorted(ups)]
    layers = [op for up in sorted(ups) if (op := layer(graph.events[up])) is not None]
    if (
        not ups
        or not inner
        or any(source is None for source in sources)
        or not _fit(layers, layer(graph.events[place]))
    ):
        return None
    first = sources[0]
    if first is None or len({graph.root(source)[0] for source in sources if source is not None}) > 1:
        return None
    return FeedForward(tuple(sorted(ups)), place, frozenset(inner), first, _bias_after(graph, place))


def _bias_after(graph: EventGraph, down: int) -> int | None:
    """The place of the addition of one number per output and matrix to the result of a layer, where that is all."""
    (made, *_), op = graph.events[down].writes, layer(graph.events[down])
    users = graph.readers[made.value]
    if len(users) != 1 or made.value in graph.recording.returned or op is None or op.bias:
        return None
    return users[0] if biases(graph, users[0], op) else None


def biases(graph: EventGraph, place: int, op: Op) -> bool:
    """Whether an event adds a parameter with one number per output of each matrix of ``op``."""
    event, wanted = graph.events[place], op.dims["n"] * op.dims.get("groups", 1)
    if event.aten.removesuffix("_") != "add":
        return False
    return any(graph.is_stored(access.value) and access.elements == wanted for access in event.reads)


def _between(graph: EventGraph, hidden: Access) -> tuple[set[int], set[int]]:
    """The layers that ``hidden`` is made of, and the pointwise operations on the way."""
    ups, seen, left = set[int](), set[int](), [hidden.value]
    while left and len(seen) < _MOST_BETWEEN:
        i = graph.makers.get(left.pop())
        if i is None or i in ups or i in seen:
            continue
        if layer(graph.events[i]) is not None:
            ups.add(i)
        elif graph.events[i].role is EventRole.FUSED:
            seen.add(i)
            left += [access.value for access in graph.events[i].reads if not graph.is_stored(access.value)]
    inner, made = set[int](), graph.made(ups)
    for i in sorted(seen):
        if any(access.value in made for access in graph.events[i].reads):
            inner.add(i)
            made |= graph.made([i])
    return ups, inner


def _fit(ups: list[Op], down: Op | None) -> bool:
    """Whether the layers have one width outside and one inside, those of a gate beside them or in one."""
    if down is None or not ups:
        return False
    d, widths = down.dims, sum(op.dims["n"] for op in ups)
    same = all(
        (op.dims["k"], op.dims["m"], op.dims.get("groups", 1)) == (d["n"], d["m"], d.get("groups", 1)) for op in ups
    )
    return same and len({op.dims["n"] for op in ups}) == 1 and widths in (d["k"], 2 * d["k"]) and len(ups) <= 2
