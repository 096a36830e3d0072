# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts that a model writes by hand, as one op each.

Batched: products with a weight per expert, an activation and a product back to the width of the first are the experts
of a layer, each on the rows that the model gives it. Looped: feed-forward networks of equal shapes, whose weights
differ in one number of their names or in their place in one parameter, and which read rows of one value, chosen by an
index after a router, are the experts of a layer too. Of a training step the gradients become one op each as well.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simsparse.core import Op, OpKind, Routing
from simsparse.core.kinds.moe_ffn import moe_ffn
from simsparse.trace.capture.aten_names import CHOICES
from simsparse.trace.capture.event import Access, Event, EventRole, Recording
from simsparse.trace.capture.experts import gradient_op
from simsparse.trace.capture.feed_forward import EventGraph, FeedForward, biases, feed_forwards, layer

ORIGIN = "batched"
"""Origin of the routing of experts that all run on as many rows."""
_SHARES = {"_softmax", "sigmoid"}
"""Operations that weigh experts, all of which run."""
Ids = NDArray[np.int64]
Router = Callable[[Sequence[int], int, Ids | None], Routing]
"""The routing of experts on so many rows each, of so many tokens; 0 where tokens go to different numbers of experts.
With the experts of each token where the model showed them."""


@dataclass(frozen=True)
class _Layer:
    """Networks that are the experts of one layer: their number, the tokens and rows per expert; names of weights.

    ``ids``: the experts of each token (tokens, top_k), where the model showed them.
    """

    path: str
    experts: int
    tokens: int
    rows: tuple[int, ...]
    networks: tuple[FeedForward, ...]
    names: frozenset[str]
    ids: Ids | None = None


def with_mixtures(recording: Recording, route: Router) -> Recording:
    """``recording`` with each layer of experts as one MOE_FFN event, and its gradients as one each."""
    graph = EventGraph.of(recording)
    found = list(feed_forwards(graph))
    mixtures = [*_batched(graph, found), *_looped(graph, found)]
    recording = replace(recording, events=_unrouted(graph, found))
    graph = replace(graph, events=recording.events)
    for mixture in mixtures:
        recording = _merged(recording, mixture, route, graph)
    return recording


def _unrouted(graph: EventGraph, found: Sequence[FeedForward]) -> list[Event]:
    """The events, with no layer of a feed-forward network called a router: ``gate`` names both."""
    ups = {i for network in found for i in network.ups}

    def named(event: Event) -> Event:
        op = event.op
        return event if op is None else replace(event, op=op.with_(label=op.label.replace("router", "").strip()))

    return [named(event) if i in ups else event for i, event in enumerate(graph.events)]


def _batched(graph: EventGraph, found: Sequence[FeedForward]) -> list[_Layer]:
    layers = []
    for network in found:
        op = layer(graph.events[network.down])
        if op is None or op.dims.get("groups", 1) < 2:
            continue
        first = graph.events[network.ups[0]].op
        assert first is not None
        experts, rows = op.dims["groups"], op.dims["m"]
        path = (first.weight or "").rpartition(".")[0] or first.module or "experts"
        layers.append(_Layer(path, experts, experts * rows, (rows,) * experts, (network,), _names(graph, [network])))
    return layers


def _looped(graph: EventGraph, found: Sequence[FeedForward]) -> list[_Layer]:
    groups: dict[tuple[object, ...], list[tuple[str, FeedForward]]] = defaultdict(list)
    for network in found:
        op, first = layer(graph.events[network.down]), layer(graph.events[network.ups[0]])
        expert = expert_of(graph, network)
        if op is None or first is None or op.dims.get("groups", 1) > 1 or expert is None:
            continue
        template, number = expert
        shape = op.dims["n"], op.dims["k"], len(network.ups), first.dtype, first.weight_dtype
        groups[(template, graph.root(network.source)[0], shape)].append((number, network))
    return [made for key, members in groups.items() if (made := _loop(graph, str(key[0]), members)) is not None]


def _loop(graph: EventGraph, template: str, members: Sequence[tuple[str, FeedForward]]) -> _Layer | None:
    """The layer that ``members`` are; None where they are no experts behind a router."""
    networks = tuple(network for _, network in members)
    rows: Counter[str] = Counter()
    for number, network in members:
        down = layer(graph.events[network.down])
        rows[number] += down.dims["m"] if down is not None else 0
    first = graph.events[networks[0].ups[0]].op
    assert first is not None
    numbers = _numbers(graph, first, template)
    source, _ = graph.root(networks[0].source)
    chosen = all(graph.root(network.source)[1] for network in networks)
    begun = graph.makers.get(source, -1)
    before = {event.aten for event in graph.events[begun + 1 : networks[0].down]}
    every = len(rows) == len(numbers) and before & (CHOICES | _SHARES)
    if len(numbers) < 2 or not (every or (before & CHOICES and (chosen or len(networks) > 1))):
        return None
    width = first.dims["k"] * first.dtype.bits // 8
    tokens = graph.recording.value_bytes[source] // max(1, width)
    path = template.partition("*")[0].rstrip("._") if "*" in template else first.module or template
    counts = tuple(rows.get(number, 0) for number in numbers)
    ids = _chosen_ids(graph, range(begun + 1, networks[0].down), counts, tokens)
    return _Layer(path or "experts", len(numbers), tokens, counts, networks, _names(graph, networks), ids)


def _chosen_ids(graph: EventGraph, places: Iterable[int], counts: Sequence[int], tokens: int) -> Ids | None:
    """The last choice among events that sends as many tokens to each expert as it ran on."""
    found = None
    for value in graph.made(places):
        rows = graph.recording.choices.get(value)
        if rows is None or rows.size != sum(counts) or tokens < 1 or rows.size % tokens or rows.min() < 0:
            continue
        if np.array_equal(np.bincount(rows.reshape(-1), minlength=len(counts)), counts):
            found = rows.reshape(tokens, -1)
    return found


def expert_of(graph: EventGraph, network: FeedForward) -> tuple[str, str] | None:
    """What the names of the weights of one network are but for its number, a ``*`` in its place, and the number.

    Of networks whose weights lie in one parameter each, the names and the places of the parts. None of other networks.
    """
    ops = [op for i in (*network.ups, network.down) if (op := graph.events[i].op) is not None]
    names, parts = [op.weight or "" for op in ops], [op.stats.get("weight_part") for op in ops]
    if all(part is not None for part in parts) and all(len(_shape(graph, name)) > 2 for name in names):
        return ",".join(dict.fromkeys(names)), str(parts[0])
    words = [re.split(r"[._]", name) for name in names]
    common = 0
    while all(len(each) > common and each[common] == words[0][common] for each in words):
        common += 1
    numbers = [i for i, word in enumerate(words[0][:common]) if word.isdigit()]
    if numbers:
        return _template(names[0], numbers[-1]), words[0][numbers[-1]]
    places = [max((i for i, word in enumerate(each) if word.isdigit()), default=-1) for each in words]
    if min(places) < 0 or len({each[place] for each, place in zip(words, places, strict=True)}) > 1:
        return None
    return _template(names[0], places[0]), words[0][places[0]]


def _template(name: str, place: int) -> str:
    """``name`` with a star in place of its word number ``place``."""
    words = re.split(r"([._])", name)
    return "".join("*" if i == 2 * place else word for i, word in enumerate(words))


def _numbers(graph: EventGraph, first: Op, template: str) -> list[str]:
    """The numbers of all experts, those without tokens too, in order."""
    shape = _shape(graph, first.weight or "")
    if "*" not in template:
        return [str(expert * first.dims["n"] * first.dims["k"]) for expert in range(shape[0])]
    form = re.compile(re.escape(template).replace(r"\*", r"(\d+)"))
    shapes = graph.recording.shapes
    found = [match[1] for name in shapes if (match := form.fullmatch(name)) and shapes[name] == shape]
    return sorted(found, key=int)


def _shape(graph: EventGraph, name: str) -> tuple[int, ...]:
    return graph.recording.shapes.get(name, ())


def _names(graph: EventGraph, networks: Iterable[FeedForward]) -> frozenset[str]:
    places = [i for network in networks for i in (*network.ups, network.down)]
    return frozenset(op.weight for i in places if (op := graph.events[i].op) is not None and op.weight)


def _merged(recording: Recording, mixture: _Layer, route: Router, first: EventGraph) -> Recording:
    """``recording`` with one event for the networks of ``mixture``; itself where their insides are used elsewhere."""
    graph = EventGraph.of(recording)
    places = {id(event): i for i, event in enumerate(recording.events)}
    members = {places[id(first.events[i])] for network in mixture.networks for i in network.members}
    ends = {places[id(first.events[network.last])] for network in mixture.networks}
    op = _op(first, mixture, route)
    shown = _shown(graph, members)
    inside = graph.made(members - ends)
    users = {i for value in inside & shown for i in graph.readers[value]} - members
    if inside & recording.returned or any(graph.events[i].stage != "bwd" for i in users):
        return recording
    merged = _replaced(graph, members, [(op, shown | graph.made(ends))])
    if merged is None:
        return recording
    return _with_gradients(merged, mixture, op) if op.label == "fwd" else merged


def _op(graph: EventGraph, mixture: _Layer, route: Router) -> Op:
    network = mixture.networks[0]
    places = [i for each in mixture.networks for i in (*each.ups, each.down)]
    layers = [op for i in places if (op := layer(graph.events[i])) is not None]
    first, down = layers[0], layers[len(network.ups)]
    routed, tokens = sum(mixture.rows), mixture.tokens
    fits = tokens > 0 and not routed % tokens and routed // tokens <= mixture.experts
    batched = first.dims.get("groups", 1) > 1
    routing = (
        Routing(mixture.rows, (), ORIGIN)
        if batched
        else route(mixture.rows, tokens if fits else 0, mixture.ids if fits else None)
    )
    stats = {key: fact for key, fact in down.stats.items() if key not in ("weight_part", "weight_mask", "input_mask")}
    added = network.bias is not None or any(biases(graph, i, op) for i in network.inner for op in layers[:1])
    return moe_ffn(
        tokens if fits else routed, first.dims["k"], down.dims["k"], mixture.experts,
        sum(op.dims["n"] for op in layers[: len(network.ups)]) == 2 * down.dims["k"], first.dtype, routing=routing,
        weight_sparsity=max((op.weight_sparsity for op in layers), key=lambda pattern: pattern.density),
        weight_dtype=first.weight_dtype, name=mixture.path, module=first.module, weight=mixture.path,
        bias=added or any(op.bias for op in layers), label=first.label, stats=stats,
    )  # fmt: skip


def _shown(graph: EventGraph, members: set[int]) -> set[int]:
    """The values made by ``members`` that others read or the model returns."""
    made = graph.made(members)
    return {
        value for value in made
        if value in graph.recording.returned or any(i not in members for i in graph.readers[value])
    }  # fmt: skip


def _replaced(graph: EventGraph, members: set[int], ops: Sequence[tuple[Op, set[int]]]) -> Recording | None:
    """The recording with an event for each of ``ops``, which makes the values beside it, in place of ``members``.

    What lies among the members and depends on them comes after, the rest before; None where that is not possible.
    """
    first, last, made = min(members), max(members), graph.made(members)
    late, before, after = set(made), list[Event](), list[Event]()
    for i in range(first, last + 1):
        event = graph.events[i]
        if i in members:
            if any(access.value in late - made for access in event.reads):
                return None
        elif any(access.value in late for access in event.reads):
            late |= {access.value for access in event.writes}
            after.append(event)
        else:
            before.append(event)
    chosen = [graph.events[i] for i in sorted(members)]
    reads = tuple(dict.fromkeys(access for event in chosen for access in event.reads if access.value not in made))
    weights = tuple(dict.fromkeys(value for event in chosen for value in event.weights))
    writes = [access for event in chosen for access in event.writes]
    new = [replace(chosen[-1], aten="experts", role=EventRole.OWN, reads=reads, op=op, weights=weights,
                   writes=_of(writes, values)) for op, values in ops]  # fmt: skip
    events = [*graph.events[:first], *before, *new, *after, *graph.events[last + 1 :]]
    return replace(graph.recording, events=events)


def _of(accesses: Sequence[Access], values: set[int]) -> tuple[Access, ...]:
    return tuple(access for access in accesses if access.value in values)


def _with_gradients(recording: Recording, mixture: _Layer, op: Op) -> Recording:
    """The gradients of the experts' inputs as one event, and those of their weights as another."""
    graph = EventGraph.of(recording)
    own: Mapping[str, set[int]] = {"bwd_input": set(), "bwd_weight": set()}
    for i, event in enumerate(recording.events):
        if event.op is not None and event.op.label in own and event.op.weight in mixture.names:
            own[event.op.label].add(i)
    members = own["bwd_input"] | own["bwd_weight"]
    if not own["bwd_weight"]:
        return recording
    inner, biases_of = _between(graph, members)
    members |= inner | biases_of
    shown = _shown(graph, members)
    weights = graph.made(own["bwd_weight"] | biases_of) & shown
    parts = [("bwd_input", shown - weights), ("bwd_weight", weights)]
    made = [(gradient_op(op, label), values) for label, values in parts if own[label]]
    return _replaced(graph, members, made) or recording


def _between(graph: EventGraph, members: set[int]) -> tuple[set[int], set[int]]:
    """The pointwise operations of a backward pass that stand between ``members``, and their sums, as for biases.

    The former are made of members and read by them and the sums alone.
    """
    made, behind = graph.made(members), list[int]()
    for i in range(min(members), len(graph.events)):
        event = graph.events[i]
        if event.role is EventRole.FUSED and event.stage == "bwd" and any(a.value in made for a in event.reads):
            made |= {access.value for access in event.writes}
            behind.append(i)
    inner, sums = set[int](), set[int]()
    for i in reversed(behind):
        uses = [j for access in graph.events[i].writes for j in graph.readers[access.value]]
        if graph.events[i].aten == "sum":
            sums.add(i)
        elif uses and all(j in members or j in inner or j in sums for j in uses):
            inner.add(i)
    made = graph.made(members | inner)
    return inner, {i for i in sums if all(access.value in made for access in graph.events[i].reads)}


def unmerged_experts(recording: Recording) -> dict[str, list[str]]:
    """What looks like experts and is none of the ops above: lists of networks in a loop, and layers with a weight each.

    ``looped_experts``: paths of lists whose modules each run two layers or more of equal shapes on rows of one value.
    ``batched_experts``: weights of products with a matrix per group. ``gathered_experts``: parameters whose matrices
    are copied for each token by a router's choice, and then multiplied like activations.
    """
    graph = EventGraph.of(recording)
    lists: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    grouped = set[str]()
    for i, event in enumerate(recording.events):
        op = event.op if event.op is not None and event.op.kind == OpKind.LINEAR and event.stage != "bwd" else None
        parts = ((op.weight if op else None) or "").split(".")
        for place, part in enumerate(parts):
            if place and part.isdigit():
                lists[".".join(parts[:place])][part].append(i)
        if op is not None and op.weight and op.dims.get("groups", 1) > 1 and not op.stats.get("weight_part"):
            grouped.add(op.weight)
    looped = sorted(path for path, members in lists.items() if _are_experts(graph, list(members.values())))
    return {"looped_experts": looped, "batched_experts": sorted(grouped), "gathered_experts": _gathered(graph)}


def _gathered(graph: EventGraph) -> list[str]:
    """Names of the parameters with a matrix per expert that an index takes apart for products of activations."""
    reads = [
        graph.root(access) for event in graph.events if event.op is not None and event.op.kind == OpKind.MATMUL
        for access in event.reads
    ]  # fmt: skip
    names = {graph.recording.parameters.get(value, "") for value, chosen in reads if chosen}
    return sorted(name for name in names if len(_shape(graph, name)) > 2)


def _are_experts(graph: EventGraph, members: Sequence[Sequence[int]]) -> bool:
    ops = [[op for i in places if (op := graph.events[i].op) is not None] for places in members]
    shapes = {tuple((op.dims["n"], op.dims["k"]) for op in each) for each in ops}
    if len(members) < 2 or len(shapes) > 1 or len(members[0]) < 2:
        return False
    firsts = [graph.events[places[0]] for places in members]
    reads = [next(access for access in event.reads if access.value not in event.weights) for event in firsts]
    return len({graph.root(access)[0] for access in reads}) == 1
