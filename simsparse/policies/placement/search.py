# SPDX-License-Identifier: Apache-2.0
"""The search for a placement: which device runs each op, so that all of them end soonest.

Ops are placed in program order. A partial placement keeps the times at which lanes become free and at
which what was written is where, as the closed form computes them (simsparse.lowering.run): work waits
for a busy lane, copies for a busy copy engine. Each op is tried on each device that takes it and has
room for what it keeps, after each partial placement in view. Of two partial placements the one that is
later in everything is dropped; of the others those that end soonest stay in view, as many as EFFORT
allows. All ops on one device are tried too. So the answer is never slower than the best device alone,
and it is the best of all placements where none had to leave the view.

Room is left for the activations of the op that has most. Left out: room that later ops will need beside that, copies of
streamed weights, and what copies that share a link take of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simsparse.core import Op, OpKind, Unit
from simsparse.errors import MappingError, SimulationError
from simsparse.lowering.collectives import collective_fs, results_of
from simsparse.lowering.held import HeldWeights
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.units import bytes_text, seconds_to_fs

EFFORT = 4096
"""Trials of an op on a device in one search; each op is tried on each device once at least."""
MAX_WIDTH = 32
"""Partial placements in view at most."""

BusyLane = tuple[str, str]
Choice = tuple[str, Any]
"""The device of the op placed last, and the Choice of the ops before it."""


@dataclass(slots=True, eq=False)
class _Partial:
    """Devices of the first ops, and the times in femtoseconds that the next ones depend on.

    ``free``: when a lane is free; ``issued``: when a copy may follow the one before on its lane;
    ``landed[op][device]``: when what an op wrote is on a device, its own first, of ops that are still to
    be read. ``room``: bytes left, None without limit. ``end``: when everything is done; ``busy``: sum of
    ``free``.
    """

    chosen: Choice | None = None
    free: dict[BusyLane, int] = field(default_factory=dict)
    issued: dict[BusyLane, int] = field(default_factory=dict)
    landed: dict[int, dict[str, int]] = field(default_factory=dict)
    room: dict[str, int | None] = field(default_factory=dict)
    end: int = 0
    busy: int = 0

    def no_later_than(self, other: _Partial) -> bool:
        """Whether nothing is later than in ``other``, a placement of the same ops."""
        if self.end > other.end or _later(self.free, other.free) or _later(self.issued, other.issued):
            return False
        return all(device in self.landed[op] and self.landed[op][device] <= at
                   for op, places in other.landed.items() for device, at in places.items())  # fmt: skip

    @property
    def devices(self) -> tuple[str, ...]:
        """The device of each op, in program order."""
        found, node = [], self.chosen
        while node is not None:
            device, node = node
            found.append(device)
        return tuple(reversed(found))


def _later(times: dict[BusyLane, int], others: dict[BusyLane, int]) -> bool:
    return any(at > others.get(lane, 0) for lane, at in times.items())


@dataclass(slots=True, eq=False)
class _Trial:
    """Op ``op`` after a partial placement: where its result is and when, and what changes beside it."""

    before: _Partial
    op: int
    places: Sequence[str] = ()
    last: int = 0
    free: dict[BusyLane, int] = field(default_factory=dict)
    issued: dict[BusyLane, int] = field(default_factory=dict)
    landed: dict[int, dict[str, int]] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int, int]:
        """What makes a trial promising: everything ends soon, the op ends soon, lanes are free soon."""
        before = self.before
        later = sum(at - before.free.get(lane, 0) for lane, at in self.free.items())
        return max(before.end, self.last), self.last, before.busy + later


class _Clock:
    """When ops end that are added to a partial placement."""

    def __init__(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> None:
        self._index, self._machine, self._streamed = index, machine, streamed
        self._held = HeldWeights(index, machine)
        self._op_fs: dict[tuple[int, str], int] = {}
        self._collectives: dict[int, tuple[int, tuple[str, ...]]] = {}
        self._last_reader = {dep: i for i, deps in enumerate(index.deps) for dep in deps}

    def link_op(self, before: _Partial, i: int, op: Op) -> _Trial:
        """A transfer or a collective, whose devices the trace names."""
        trial = _Trial(before, i)
        ready = max((min(before.landed[dep].values()) for dep in self._index.deps[i]), default=0)
        if op.kind == OpKind.TRANSFER:
            trial.places = (str(op.dst),)
            trial.last = self._copied(trial, str(op.src), str(op.dst), op.dims["bytes"], ready)
        else:
            time_fs, trial.places = self._collective(self._index.slot[i], op)
            trial.last = ready + time_fs
        return trial

    def op(self, before: _Partial, i: int, device: str) -> _Trial:
        """Op ``i`` on ``device``, with the copies of what it reads."""
        trial, lane = _Trial(before, i, (device,)), (device, self._machine.compute_lane(device))
        ready = before.free.get(lane, 0)
        for dep in self._index.deps[i]:
            places = trial.landed.get(dep) or before.landed[dep]
            if device not in places:
                src, written = next(iter(places.items()))
                at = self._copied(trial, src, device, self._index.facts(dep).output_bytes, written)
                places = trial.landed[dep] = {**places, device: at}
            ready = max(ready, places[device])
        trial.last = trial.free[lane] = ready + self._latency_fs(i, device)
        return trial

    def placed(self, trial: _Trial) -> _Partial:
        """The partial placement that a trial leads to."""
        before, i = trial.before, trial.op
        end, _, busy = trial.order
        landed = {**before.landed, **trial.landed}
        for dep in self._index.deps[i]:
            if self._last_reader[dep] == i:
                landed.pop(dep, None)
        if i in self._last_reader:
            landed[i] = dict.fromkeys(trial.places, trial.last)
        device, room = trial.places[0], before.room
        if (need := self.need(i, device)) and (left := room[device]) is not None:
            room = {**room, device: left - need}
        return _Partial((device, before.chosen), {**before.free, **trial.free}, {**before.issued, **trial.issued},
                        landed, room, end, busy)  # fmt: skip

    def need(self, i: int, device: str) -> int:
        """Bytes that op ``i`` keeps on ``device``."""
        return self._index.kept[i].kv + (0 if self._streamed[i] else self._held.bytes(i, device))

    def _copied(self, trial: _Trial, src: str, dst: str, bytes: int, ready: int) -> int:
        """When a copy is done that starts as soon as its lane allows."""
        lane, before = self._machine.copy_lane(src, dst), trial.before
        free = trial.free.get(lane, before.free.get(lane, 0))
        start = max(ready, free, trial.issued.get(lane, before.issued.get(lane, 0)))
        trial.issued[lane] = start + self._machine.issue_fs(src, dst)
        trial.free[lane] = start + self._machine.copy_fs(src, dst, bytes)
        return trial.free[lane]

    def _collective(self, slot: int, op: Op) -> tuple[int, tuple[str, ...]]:
        """Femtoseconds of a collective, and where its results are."""
        if slot not in self._collectives:
            self._collectives[slot] = collective_fs(op, self._machine), results_of(op, self._machine)
        return self._collectives[slot]

    def _latency_fs(self, i: int, device: str) -> int:
        key = self._index.slot[i], device
        if key not in self._op_fs:
            cost = self._machine.devices[device].costs([self._index.unique[key[0]]], 0)[0]
            self._op_fs[key] = seconds_to_fs(cost.latency_s)
        return self._op_fs[key]


def search(
    index: TraceIndex, machine: Machine, streamed: Sequence[bool], candidates: Sequence[tuple[str, ...]]
) -> tuple[str, ...]:
    """The device of each op, one of its candidates, in program order.

    Raises MappingError when no candidate of an op supports it, SimulationError when none that does has
    room.
    """
    distinct = {id(own): own for own in candidates}.values()  # most ops share theirs
    devices = dict.fromkeys(device for own in distinct for device in own)
    if len(devices) == 1:
        return _on_one(index, machine, *devices)
    able, clock = _Able(index, machine, candidates), _Clock(index, machine, streamed)
    start = _Partial(room=_room(index, machine))
    width = min(MAX_WIDTH, max(1, EFFORT // max(1, len(candidates) * len(devices))))
    found = [_placed(index, clock, able, start, width)]
    for device in devices:
        if all(device in able.of(i) for i, op in enumerate(index.trace.ops) if op.unit is not Unit.LINK):
            found += _alone(index, clock, start, device)
    return min(found, key=lambda partial: (partial.end, partial.busy)).devices


def _room(index: TraceIndex, machine: Machine) -> dict[str, int | None]:
    """Bytes of each device beside the activations of the op that reads and writes most."""
    facts = map(index.facts, range(len(index.deps)))
    most = max((own.input_bytes + own.output_bytes for own in facts), default=0)
    sizes = {name: device.model.memory_bytes for name, device in machine.devices.items()}
    return {name: None if size is None else max(0, size - most) for name, size in sizes.items()}


def _placed(index: TraceIndex, clock: _Clock, able: _Able, start: _Partial, width: int) -> _Partial:
    """The best placement in a view of ``width`` partial ones."""
    view = [start]
    for i, op in enumerate(index.trace.ops):
        if op.unit is Unit.LINK:
            view = [clock.placed(clock.link_op(partial, i, op)) for partial in view]
            continue
        needs = {name: clock.need(i, name) for name in able.of(i)}
        view = _best(clock, [clock.op(partial, i, name) for partial in view for name, need in needs.items()
                             if (left := partial.room[name]) is None or left >= need], width)  # fmt: skip
        if not view:
            least = bytes_text(min(needs.values()))
            raise SimulationError(f"{', '.join(needs)} full: {op.name} needs {least}", key=op.name)
    return view[0]


def _best(clock: _Clock, trials: list[_Trial], width: int) -> list[_Partial]:
    """The partial placements that stay in view, the most promising first: of each device of the op, one at least."""
    kept: list[_Partial] = []
    missing = {trial.places[0] for trial in trials}
    for trial in sorted(trials, key=lambda trial: trial.order):
        device = trial.places[0]
        if len(kept) + len(missing - {device}) >= width and (device not in missing or len(kept) == width):
            continue
        partial = clock.placed(trial)
        if not any(other.no_later_than(partial) for other in kept):
            kept.append(partial)
        missing.discard(device)
    return kept


def _alone(index: TraceIndex, clock: _Clock, start: _Partial, device: str) -> list[_Partial]:
    """All ops on ``device``; nothing where they do not have room."""
    partial = start
    for i, op in enumerate(index.trace.ops):
        if op.unit is Unit.LINK:
            partial = clock.placed(clock.link_op(partial, i, op))
        elif (left := partial.room[device]) is None or left >= clock.need(i, device):
            partial = clock.placed(clock.op(partial, i, device))
        else:
            return []
    return [partial]


class _Able:
    """Which candidates support an op; equal ops are asked about once."""

    def __init__(self, index: TraceIndex, machine: Machine, candidates: Sequence[tuple[str, ...]]) -> None:
        self._index, self._machine, self._candidates = index, machine, candidates
        self._known: dict[tuple[int, Sequence[str]], list[str]] = {}

    def of(self, i: int) -> list[str]:
        """The candidates that support op ``i``. Raises MappingError with the reasons when none does."""
        key = self._index.slot[i], self._candidates[i]
        if key not in self._known:
            op, devices = self._index.unique[key[0]], self._machine.devices
            reasons = {name: devices[name].supports(op) for name in key[1]}
            self._known[key] = [name for name, reason in reasons.items() if reason is None]
            if not self._known[key]:
                why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
                raise MappingError(f"no device of {self._machine.system.name} runs it: {why}",
                                   key=self._index.trace.ops[i].name)  # fmt: skip
        return self._known[key]


def _on_one(index: TraceIndex, machine: Machine, only: str) -> tuple[str, ...]:
    for op in index.unique:
        if op.unit is not Unit.LINK and (reason := machine.devices[only].supports(op)):
            raise MappingError(f"no device of {machine.system.name} runs it: {only}: {reason}", key=op.name)
    return (only,) * len(index.deps)
