# SPDX-License-Identifier: Apache-2.0
"""Command graphs op by op: which commands an op becomes, and what each of them waits for."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat

from simsparse.core import CacheUse, Op, OpKind, Unit
from simsparse.core.op import Signature
from simsparse.errors import MappingError
from simsparse.events import CopyPace
from simsparse.lowering.collectives import CollectiveCopy, copies_of, results_of
from simsparse.lowering.collectives.spans import is_spanned, span_copies
from simsparse.lowering.command_graph import HOST_LANE, Cause, Command, CommandGraph, Memory
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex

_REST = Command("", "", "", "", -1)[5:]
"""The other columns of a command that waits for nothing and moves nothing."""

STAGING_LANE = "staging"
"""Lane of a host's thread that copies weights to pinned buffers."""


@dataclass
class GraphBuilder:
    """Issues ops one by one: inserts the copies of activations between devices, keeps indexes."""

    index: TraceIndex
    devices: tuple[str, ...]
    machine: Machine
    commands: list[Command] = field(default_factory=list)
    weights_ahead: bool = False
    """Whether copy engines move weights ahead, so that what ops read goes beside them on a stream of its own."""

    def __post_init__(self) -> None:
        self._done: list[tuple[int, ...]] = [()] * len(self.devices)
        self._landed: dict[int, dict[str, tuple[int, ...]]] = {}  # where it is more than the op's own device
        self._on_links = [op.unit is Unit.LINK for op in self.index.unique]
        self._parts: dict[Signature, int] = {}
        self._part_ops: list[Op] = []
        self._calls: dict[tuple[int, str, int], int] = {}
        self._last: dict[tuple[str, str], int] = {}
        self._lane = {name: self.machine.compute_lane(name) for name in self.machine.devices}
        self._kinds = [op.kind for op in self.index.unique]
        self._alone = len(set(self.devices)) == 1 and not any(self._on_links) and not any(
            op.call or op.kind == OpKind.COLLECTIVE for op in self.index.unique)  # fmt: skip

    def last_on(self, device: str) -> tuple[int, ...]:
        """The command issued last on a device's compute lane, if there is one."""
        index = self._last.get((device, self._lane[device]))
        return () if index is None else (index,)

    def op(self, index: int, after: Iterable[int] = (), *, synchronous: bool = False) -> int:
        """Issue op ``index`` of the trace; returns the index of its last command.

        ``synchronous``: a host calls for it when its device has done all before it, and ``after`` has happened.
        """
        op, device = self.index.ops[index], self.devices[index]
        if op.kind == OpKind.COLLECTIVE:
            return self._collective(index, op)
        if self._on_links[self.index.slot[index]]:
            done = self._issue(self._transfer(index, op))
            self._landed[index] = {device: (done,)}
        else:
            needs = self._needs(index, device, after)
            if op.call:
                needs += self._called(op, index, device, (*needs, *self.last_on(device)) if synchronous else ())
            done = self._issue(Command(self.index.names[index], op.kind, device, self._lane[device], index, needs))
        self._done[index] = (done,)
        return done

    def ops(self, indexes: range) -> None:
        """Issue ops one after another, none of which waits for a copy."""
        if not self._alone or self._landed:
            for i in indexes:
                self.op(i)
            return
        if not indexes:
            return
        index, device, first = self.index, self.devices[0], len(self.commands)
        own, lane = slice(indexes.start, indexes.stop), self._lane[device]
        columns = index.names[own], map(self._kinds.__getitem__, index.slot[own]), repeat(device), repeat(lane), indexes
        made = zip(*columns, *map(repeat, _REST), strict=False)
        self.commands += map(tuple.__new__, repeat(Command), made)  # as _make, faster
        self._done[own] = zip(range(first, len(self.commands)))
        for i in index.waiting[bisect_left(index.waiting, indexes.start) : bisect_left(index.waiting, indexes.stop)]:
            place = first + i - indexes.start
            after = tuple([j for op in index.waits(i) for j in self._done[op]])
            self.commands[place] = self.commands[place]._replace(after=after)
        self._last[device, lane] = len(self.commands) - 1

    def shared(self, index: int, here: Op | None, there: Op, host: str, after: Iterable[int] = ()) -> int:
        """Issue op ``index`` in two parts, ``there`` on ``host`` and ``here``, if there is one, on the op's device.

        The host's results come to the device, where later ops read both. Returns the index of the last command.
        """
        op, device, name = self.index.ops[index], self.devices[index], self.index.names[index]
        needs = self._needs(index, host, ())
        on_host = self._issue(Command(f"{name} on {host}", op.kind, host, self._lane[host], index, needs,
                                      part=self._part(there)))  # fmt: skip
        owner, lane = self.machine.copy_lane(host, device)
        back = self._issue(Command(f"{name} from {host}", "copy", owner, lane, index, (on_host,), host, device,
                                   self.index.facts(index).output_bytes, Cause.INPUT))  # fmt: skip
        done: tuple[int, ...] = (back,)
        if here is not None:
            needs = self._needs(index, device, after)
            done = (self._issue(Command(name, op.kind, device, self._lane[device], index, needs,
                                        part=self._part(here))), back)  # fmt: skip
        self._done[index], self._landed[index] = done, {device: done}
        return done[0]

    def _part(self, op: Op) -> int:
        """The number of a part among those of the graph; parts that cost the same are one."""
        if op.signature not in self._parts:
            self._parts[op.signature] = len(self._part_ops)
            self._part_ops.append(op)
        return self._parts[op.signature]

    def load(
        self, index: int, name: str, bytes: int, *, on_compute_lane: bool, after: Iterable[int] = (), src: str,
        through: str | None = None, pace: CopyPace | None = None, unpack: Op | None = None, dense: int = 0,
        staged: bool = False,
    ) -> int:  # fmt: skip
        """Issue a copy of weights of op ``index`` to the op's device; returns its last command's index.

        ``through``: it is written to that device first, and copied from there. ``pace``: how ``src`` is read.
        ``unpack``: work of the device that is copied from, after which ``dense`` bytes are copied. ``staged``: ``src``
        copies it within its memory meanwhile, piece by piece before it leaves, at the same pace.
        """
        device, waits = self.devices[index], tuple(after)
        own = (device, self._lane[device]) if on_compute_lane else None
        if through is not None:
            owner, lane = own or self.machine.copy_lane(src, through)
            waits = (self._issue(Command(f"{name} to {through}", "copy", owner, lane, index, waits, src, through, bytes,
                                         Cause.WEIGHTS, channel=pace)),)  # fmt: skip
            src, pace = through, None
        if unpack is not None:
            waits, bytes = (self.unpack(index, unpack, src, waits or self.last_on(device)),), dense
        owner, lane = own or self.machine.copy_lane(src, device)
        before = waits or (self.last_on(device) if own else ())
        copy = self._issue(Command(name, "copy", owner, lane, index, waits, src, device, bytes, Cause.WEIGHTS,
                                   channel=pace))  # fmt: skip
        if staged:
            self._issue(Command(f"{name} staged", "copy", src, STAGING_LANE, index, before, src, src, bytes,
                                Cause.WEIGHTS, channel=pace))  # fmt: skip
        return copy

    def read_rows(self, index: int, src: str, after: Iterable[int] = ()) -> int:
        """Issue op ``index``, a gather whose device itself reads the rows from ``src``."""
        op, device = self.index.ops[index], self.devices[index]
        bytes, pace = self.machine.far_read(src, device, op)
        needs = self._needs(index, device, after)
        done = self._issue(Command(self.index.names[index], op.kind, device, self._lane[device], index, needs, src,
                                   device, bytes, channel=pace))  # fmt: skip
        self._done[index], self._landed[index] = (done,), {device: (done,)}
        return done

    def unpack(self, index: int, work: Op, device: str, after: Iterable[int] = ()) -> int:
        """Issue the ``work`` that unpacks weights of op ``index`` on ``device``."""
        return self._issue(Command(f"{self.index.names[index]}.unpack", work.kind, device, self._lane[device], index,
                                   tuple(after), cause=Cause.UNPACK, part=self._part(work)))  # fmt: skip

    def build(self, footprint: Memory, cache: Mapping[str, CacheUse] | None = None) -> CommandGraph:
        """The finished command graph."""
        return CommandGraph(self.index, self.devices, tuple(self.commands), footprint, cache or {},
                            tuple(self._part_ops))  # fmt: skip

    def _issue(self, command: Command) -> int:
        self.commands.append(command)
        index = len(self.commands) - 1
        self._last[command.device, command.lane] = index
        return index

    def _needs(self, index: int, device: str, after: Iterable[int]) -> tuple[int, ...]:
        """The commands of other lanes that op ``index`` waits for; those before it on its own lane are done."""
        needs = list(after)
        for dep in self.index.deps[index]:
            if dep not in self._landed:
                if self.devices[dep] == device:
                    continue
                self._landed[dep] = {self.devices[dep]: self._done[dep]}
            if device not in self._landed[dep]:
                self._move(dep, device)
            needs += [i for i in self._landed[dep][device] if self.commands[i].lane != self._lane[device]]
        for wait in self.index.waits(index):
            needs += self._done[wait]
        return tuple(needs)

    def _called(self, op: Op, index: int, device: str, after: tuple[int, ...]) -> tuple[int, ...]:
        """The host's call that launches ``op``, issued once, when ``after`` have ended."""
        key = op.call, device, self.index.step[index]
        if key not in self._calls:
            self._calls[key] = self._issue(
                Command(f"call {op.call}", "call", device, HOST_LANE, index, after, cause=Cause.CALL)
            )
        return (self._calls[key],)

    def _move(self, dep: int, device: str) -> None:
        """Bring what op ``dep`` wrote to ``device``."""
        src = self.devices[dep]
        owner, lane = self.machine.copy_lane(src, device)
        lane = f"{lane} inputs" if self.weights_ahead else lane
        self._landed[dep][device] = (self._issue(Command(
            f"{self.index.names[dep]} to {device}", "copy", owner, lane, dep, self._landed[dep][src], src, device,
            self.index.facts(dep).output_bytes, Cause.INPUT,
        )),)  # fmt: skip

    def _transfer(self, index: int, op: Op) -> Command:
        devices = self.machine.system.devices
        for end in (op.src, op.dst):
            if end not in devices:
                raise MappingError(f"{end!r} is no device of {self.machine.system.name}", key=op.name)
        src, dst = str(op.src), str(op.dst)
        device, lane = self.machine.copy_lane(src, dst)
        return Command(
            self.index.names[index], op.kind, device, lane, index, self._dependencies(index), src, dst, op.dims["bytes"]
        )

    def _collective(self, index: int, op: Op) -> int:
        """Issue the copies of a collective: a rank takes part in a step when its copies of the step before are done."""
        if is_spanned(op, self.machine):
            return self._spanned(index, op)
        ready: dict[str, list[int]] = {}
        landed: dict[str, list[int]] = {}
        first = list(self._dependencies(index))
        for step in copies_of(op, self.machine):
            taking_part, arriving = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
            for src, dst, bytes, beside, channel in step:
                after = dict.fromkeys([*ready.get(src, first), *ready.get(dst, first)])
                lane = f"{op.kind} {len(arriving[dst])}" if arriving[dst] else op.kind
                done = self._issue(
                    Command(
                        self.index.names[index],
                        op.kind,
                        dst,
                        lane,
                        index,
                        tuple(after),
                        src,
                        dst,
                        bytes,
                        beside=beside,
                        channel=channel,
                    )
                )
                taking_part[src].append(done)
                taking_part[dst].append(done)
                arriving[dst].append(done)
            ready |= taking_part
            landed |= arriving
        held = {device: tuple(landed.get(device, ready[device])) for device in results_of(op, self.machine)}
        self._landed[index] = held
        self._done[index] = tuple(i for own in held.values() for i in own)
        return done

    def _spanned(self, index: int, op: Op) -> int:
        """Issue the copies of one rank in a collective over a span, phase by phase; a copy over each domain at once."""
        device, before = self.devices[index], self._dependencies(index)
        for phase in span_copies(op, self.machine, device):
            before = tuple([self._part_of(index, device, copy, before) for copy in phase]) or before
        self._landed[index], self._done[index] = {device: before}, before
        return before[-1]

    def _part_of(self, index: int, device: str, copy: CollectiveCopy, after: tuple[int, ...]) -> int:
        """Issue what ``device`` moves over one domain in one phase of a collective over a span."""
        op, lane = self.index.ops[index], f"{self.index.ops[index].group[0]} over {copy.dst}"
        return self._issue(Command(self.index.names[index], op.kind, device, lane, index, after, copy.src, copy.dst,
                                   copy.bytes, beside=copy.beside, channel=copy.channel))  # fmt: skip

    def _dependencies(self, index: int) -> tuple[int, ...]:
        """The commands whose ends are those of the ops that op ``index`` waits for."""
        return tuple(i for dep in (*self.index.deps[index], *self.index.waits(index)) for i in self._done[dep])
