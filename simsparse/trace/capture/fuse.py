# SPDX-License-Identifier: Apache-2.0
"""From recorded events to operators: what a good kernel fuses becomes one op."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from simsparse.core import DType, KernelCall, Op, OpKind, TraceBuilder
from simsparse.core.kinds.elementwise import elementwise
from simsparse.trace.capture.aten_names import REDUCTION, ROWWISE
from simsparse.trace.capture.event import Access, Event, EventRole, Recording
from simsparse.trace.capture.label import label_of

BESIDE = "parameters beside"
"""The fact of an op that lists parameters and buffers that it reads beside its weight, until their bytes are known."""
CACHE_BYTES = "cache_bytes"
"""The fact of an op that writes a state of a recurrence: its bytes in the cache."""
_FUSIBLE = (EventRole.FUSED, EventRole.APPEND)


@dataclass(eq=False)
class EventGroup:
    """Events that one kernel runs. ``read_outside``: another group has read one of its values."""

    scope: str
    role: EventRole
    stage: str = ""
    events: list[int] = field(default_factory=list)
    read_outside: bool = False
    joined: EventGroup | None = None

    def now(self) -> EventGroup:
        """The group that this one has become part of, or itself."""
        return self if self.joined is None else self.joined.now()


def group_events(recording: Recording) -> list[EventGroup]:
    """Groups in an order in which each runs after what it reads.

    An event joins the groups of its scope that produced its inputs, and the group of the event
    right before it, as long as no other group has read their values: so running a whole group at
    the place of its last event never runs anything before its inputs.
    """
    producer: dict[int, EventGroup] = {}
    groups: list[EventGroup] = []
    before: list[EventGroup] = []
    for i, event in enumerate(recording.events):
        read = [producer[access.value].now() for access in event.reads if access.value in producer]
        group = _join(event, read + before, groups)
        before = [group]
        group.events.append(i)
        for source in read:
            source.read_outside |= source.now() is not group
        producer.update((access.value, group) for access in event.writes)
    return groups_in_order({group for group in groups if group.joined is None})


def groups_in_order(groups: set[EventGroup]) -> list[EventGroup]:
    """``groups`` by the place of their last event."""
    return sorted(groups, key=lambda group: group.events[-1])


def _join(event: Event, near: list[EventGroup], groups: list[EventGroup]) -> EventGroup:
    mine = [
        group for group in dict.fromkeys(near)
        if event.role in _FUSIBLE and not group.read_outside
        and (group.scope, group.role, group.stage) == (event.scope, event.role, event.stage)
    ]  # fmt: skip
    if not mine:
        groups.append(EventGroup(event.scope, event.role, event.stage))
        return groups[-1]
    first = mine[0]
    for other in mine[1:]:
        first.events = sorted(first.events + other.events)
        other.joined = first
    return first


def build(recording: Recording, builder: TraceBuilder, prefix: str = "") -> TraceBuilder:
    """Add the ops of ``recording`` to ``builder``, dependencies from the tensors that flow.

    With ``prefix``, which their names start with, they come after all that the builder holds: ops
    without an earlier one of the recording depend on its last.
    """
    before = [builder.last] if prefix else []
    groups = group_events(recording)
    writer = {
        access.value: group for group in groups for i in group.events for access in recording.events[i].writes
    }  # fmt: skip
    used = _used_outside(recording, groups, writer)
    names: dict[EventGroup, str] = {}
    readers = _parameter_readers(recording, groups)
    for group in groups:
        op = _op(recording, group, used)
        deps = {writer[access.value] for access in _outer_reads(recording, group) if access.value in writer}
        if group.stage == "update":
            deps |= readers[op.weight] - {group}
        builder.add(op.with_(name=prefix + op.name), [names[dep] for dep in groups_in_order(deps)] or before)
        names[group] = builder.last
    return builder


def _parameter_readers(recording: Recording, groups: list[EventGroup]) -> dict[str | None, set[EventGroup]]:
    """The groups that read each parameter: an update waits for them."""
    readers: dict[str | None, set[EventGroup]] = defaultdict(set)
    for group in groups:
        for access in _outer_reads(recording, group):
            if access.value in recording.parameters:
                readers[recording.parameters[access.value]].add(group)
    return readers


def _outer_reads(recording: Recording, group: EventGroup) -> Iterator[Access]:
    inner = {access.value for i in group.events for access in recording.events[i].writes}
    for i in group.events:
        yield from (access for access in recording.events[i].reads if access.value not in inner)


def _used_outside(recording: Recording, groups: list[EventGroup], writer: dict[int, EventGroup]) -> set[int]:
    used = set(recording.returned)
    for group in groups:
        used |= {access.value for access in _outer_reads(recording, group) if access.value in writer}
    for written, before in sorted(recording.updated.items(), reverse=True):
        if written in used:
            used.add(before)
    return used


def _op(recording: Recording, group: EventGroup, used: set[int]) -> Op:
    events = [recording.events[i] for i in group.events]
    states = {access.value for event in events for access in event.writes if access.value in recording.states}
    kept = {CACHE_BYTES: sum(recording.states[value] for value in states)} if states else {}
    if (op := events[-1].op) is not None:
        return op.with_(stats={**op.stats, **kept}) if kept and not op.resident_kv_bytes else op
    reads = list(_outer_reads(recording, group))
    writes = [access for event in events for access in event.writes]
    shown = [access for access in writes if access.value in used] or writes
    label, named_by_module = label_of(recording, events)
    tables = [recording.made_weights.get(value) for event in events for value in event.weights]
    weights = list(dict.fromkeys([*_weight_names(recording, reads, writes), *filter(None, tables)]))
    beside = [*weights[1:], *_buffer_names(recording, reads)] if weights else []
    op = elementwise(
        recording.size(reads), recording.size(shown), sum(event.flops for event in events), DType(events[-1].dtype),
        label=f"{group.stage} {label}".strip(), name=_name(group, label, named_by_module), module=group.scope,
        weight=weights[0] if weights else None, stats={**({BESIDE: beside} if beside else {}), **kept},
    )  # fmt: skip
    kernels = tuple(_kernel(recording, event) for event in events)
    return op.with_(kernels=kernels, **({"kind": OpKind.OTHER} if group.role is EventRole.UNKNOWN else {}))


def _weight_names(recording: Recording, reads: list[Access], writes: list[Access]) -> list[str]:
    """Parameters that a group reads; where it makes a weight, the largest of what it is made of."""
    if writes and all(recording.made_weights.get(access.value, "") != "" for access in writes):
        stored = {recording.stored[access.value] for access in reads if access.value in recording.stored}
        return [name for name, _ in sorted(stored, key=lambda found: -found[1])]
    return [recording.parameters[access.value] for access in reads if access.value in recording.parameters]


def _buffer_names(recording: Recording, reads: list[Access]) -> list[str]:
    """Tensors of modules that are no parameters, such as the running means of a norm."""
    found = [access.value for access in reads if access.value not in recording.parameters]
    return [recording.stored[value][0] for value in found if value in recording.stored]


def _kernel(recording: Recording, event: Event) -> KernelCall:
    """The kernel that torch launched for an event; of a reduction, the elements that an output reduces."""
    read, written = recording.size(event.reads), recording.size(event.writes)
    dtype = DType(event.dtype)
    outputs = max(1, written * 8 // dtype.bits)
    taken = max((access.elements for access in event.reads), default=0)
    cols = max(1, taken // outputs) if event.aten in REDUCTION else 1
    if event.aten in ROWWISE:
        cols = max((access.last_dim for access in event.reads), default=1)
        outputs = max(1, taken // cols)
    if event.role is EventRole.GATHER:
        cols = event.writes[0].last_dim
        outputs = max(1, outputs // cols)
    return KernelCall(event.aten, read, written, event.flops, dtype, outputs, cols, _strided(event))


def _strided(event: Event) -> bool:
    """Whether torch has to compute addresses operand by operand: one is spread over the output, or lies otherwise."""
    tensors = [access for access in event.reads if access.elements > 1]
    if event.aten in REDUCTION or event.aten in ROWWISE or not event.writes:
        return any(access.is_strided for access in tensors)
    out = event.writes[0]
    return any(access.is_strided or not access.lies_as(out) for access in tensors)


def _name(group: EventGroup, label: str, named_by_module: bool) -> str:
    words = (group.stage if group.stage == "bwd" else "", "" if named_by_module else label)
    return ".".join(filter(None, (group.scope, *words))) or label
