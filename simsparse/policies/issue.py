# SPDX-License-Identifier: Apache-2.0
"""From placed ops and the parts of a policy to commands: the copies of weights, in the order in which they are issued.

The source is walked once, window by window. At each window the prefetch says what to copy ahead; what an
op reads and its device's cache does not hold is copied on the compute lane right before the op. Copies ahead use a
copy engine and start when the window before the current one is done; the next window waits for them. A step begins as a
run does, but for what the prefetch copies across steps while the last window of the step before runs. Source: the
semantics of the GPU measurements, sections offload and weight_stream.

Left out: copies back (weights are not written); the time to hand over from kernels to a copy and back on one
stream.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from simsparse.core import CacheUse
from simsparse.core.kinds.gather import GATHER
from simsparse.errors import SimulationError, SpecError
from simsparse.events import CopyPace
from simsparse.lowering.command_graph import CommandGraph
from simsparse.lowering.footprint import Footprint, footprint
from simsparse.lowering.graph_builder import GraphBuilder
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.lowering.unpacking import DEVICE as UNPACK_DEVICE
from simsparse.lowering.unpacking import HOST as UNPACK_HOST
from simsparse.lowering.weights import Weight, WeightScope, weights_read, weights_stored
from simsparse.policies.part import SourceProgress, Space, View
from simsparse.policies.prefetch.base import Prefetch
from simsparse.policies.prefetch.none import NoPrefetch
from simsparse.policies.residency.base import Cache, Residency, Room
from simsparse.policies.shared_experts import SharedExperts
from simsparse.policies.site import Site
from simsparse.policies.site.device import OnDevice
from simsparse.policies.windows import PrefetchWindow, windows

BUFFERS = "buffers"
MAX_PIECES = 200_000
"""Most copies that ``chunk_bytes`` may cut the weights of a run into, beyond one copy per weight."""
Read = tuple[int, Weight]
"""An op and a weight that it reads."""


def resident_graph(index: TraceIndex, devices: tuple[str, ...], machine: Machine) -> CommandGraph:
    """The commands of ops whose weights stay where they are read."""
    builder = GraphBuilder(index, devices, machine)
    for i in range(len(devices)):
        builder.op(i)
    return builder.build(footprint(index, devices, [False] * len(devices), machine))


def streamed_graph(
    index: TraceIndex, devices: tuple[str, ...], machine: Machine, residency: Residency, prefetch: Prefetch, site: Site,
    home: str, seed: int,
) -> CommandGraph:  # fmt: skip
    """The commands of ops whose weights rest at ``home`` and are copied as ``residency`` and ``prefetch`` decide.

    Experts that ``site`` leaves to the host are computed at ``home``; an op that runs there reads its weights there.
    Raises SimulationError when a cache has no room for what one op needs, SpecError when ``chunk_bytes`` cuts copies
    into more than MAX_PIECES.
    """
    scope = residency.scope or WeightScope.EXPERTS
    streamed = [away and device != home for away, device in zip(residency.away(index), devices, strict=True)]
    kept = footprint(index, devices, streamed, machine)
    steps = windows(index, scope, streamed)
    free = {name: _left(machine.devices[name].model.memory_bytes, kept.get(name, {})) for name in machine.devices}
    progress = SourceProgress(index, list(chain.from_iterable(steps)), machine, free, seed)
    builder = GraphBuilder(index, devices, machine, weights_ahead=type(prefetch) is not NoPrefetch)
    copies = _Copies(builder, streamed, residency, prefetch, home, progress)
    copies.shares = SharedExperts(index, machine, site, home) if type(site) is not OnDevice else None
    for step in steps:
        copies.step(step)
    rest = sum(own.weights for own, away in zip(index.kept, streamed, strict=True) if away)
    at_home = kept.setdefault(home, {})
    at_home["weights"] = at_home.get("weights", 0) + rest
    return copies.builder.build(_with_buffers(kept, copies.caches), copies.uses())


def _most_read(index: TraceIndex, i: int) -> int:
    """Bytes of weights that op ``i`` reads at most, whatever its gate chooses."""
    facts, dims = index.facts(i), index.ops[i].dims
    if not facts.experts:
        return facts.weight_bytes
    return facts.expert_bytes * min(facts.experts, dims["tokens"] * dims["top_k"])


def _left(capacity: int | None, kept: Mapping[str, int]) -> int | None:
    return None if capacity is None else capacity - sum(kept.values())


def _with_buffers(kept: Footprint, caches: Mapping[str, Cache]) -> Footprint:
    for device, cache in caches.items():
        kept[device][BUFFERS] = cache.bytes
    return kept


class _Copies:
    """One walk over a source: the caches of all devices and the commands so far."""

    def __init__(
        self, builder: GraphBuilder, streamed: Sequence[bool], residency: Residency, prefetch: Prefetch, home: str,
        progress: SourceProgress,
    ) -> None:  # fmt: skip
        self.builder, self.index, self.progress = builder, builder.index, progress
        self.caches: dict[str, Cache] = {}
        self._streamed, self._residency, self._prefetch, self._home = streamed, residency, prefetch, home
        self._ahead = prefetch.begin(View(progress, prefetch, across_steps=prefetch.across_steps))
        self._packing, self._whole = residency.packing, residency.chunk_bytes is None
        self._crossing: Mapping[str, int] = {}
        self._landed: dict[tuple[str, str], int] = {}  # the last copy to a device of weights of a matrix
        self._counts: dict[str, dict[str, int]] = {}
        self._pieces = 0
        self.devices = frozenset(builder.devices)
        self._arrived: dict[int, int] = {}
        self._ways: dict[str, tuple[str | None, CopyPace | None]] = {}
        self._staged = residency.source.staged
        self.shares: SharedExperts | None = None
        self._readers: dict[tuple[int | None, str], list[int]] = {}
        for i in (i for i, away in enumerate(streamed) if away):
            weight = weights_stored(self.index, i)[0]
            self._readers.setdefault((weight.layer, weight.matrix), []).append(i)

    def uses(self) -> dict[str, CacheUse]:
        """What each device's cache did."""
        return {device: CacheUse(**counts) for device, counts in self._counts.items()}

    def step(self, step: Sequence[PrefetchWindow]) -> None:
        """Issue one step: what its first window needs ahead, then window by window."""
        progress = self.progress
        progress.step_end, progress.begins = progress.window + 1 + len(step), True
        for cache in self.caches.values():
            cache.begin_step()
        arrived = [self._crossing, self._copy_ahead(on_compute_lane=True)]
        progress.begins = False
        for window in step:
            self._end_window()
            progress.window += 1
            if self._prefetch.at_gate:
                self._gated(window)
                continue
            coming = self._copy_ahead(on_compute_lane=False)
            self._ops(window, arrived if any(arrived) else ())
            arrived = [coming]
        self._crossing = arrived[0]
        if not self._prefetch.across_steps:
            self._end_window()

    def _gated(self, window: PrefetchWindow) -> None:
        """Issue a window whose copies go out when its gate has run; an op waits for all copies of its own weights."""
        for cache in self.caches.values():
            cache.end_op()  # what came ahead in vain makes room: nothing else comes before the op reads
        for i in window.ops:
            there, awaited = list[Weight](), list[int]()
            if self._streamed[i]:
                missing, there = self._missing(i, self._on_host(i))
                self._copy(missing, on_compute_lane=False)
                self._cache_of(i).end_op()
                self._copy_ahead(on_compute_lane=False)
                key = self.builder.devices[i], weights_stored(self.index, i)[0].matrix
                awaited = [self._landed.pop(key)] if key in self._landed else []
            self._run(i, there, awaited)

    def _ops(self, window: PrefetchWindow, arrived: Sequence[Mapping[str, int]]) -> None:
        """Issue the ops of a window; those behind the first on their device wait for no copy of ``arrived``."""
        begun, start = set[str](), window.ops.start
        if arrived:
            for start in window.ops:
                if len(begun) == len(self.devices):
                    break
                device = self.builder.devices[start]
                before = self.builder.last_on(device)
                self._op(start, () if device in begun else arrived, first=start == window.ops.start)
                if self.builder.last_on(device) != before:
                    begun.add(device)
            else:
                return
        for i in window.streamed:
            if i >= start:
                self.builder.ops(range(start, i))
                self._op(i, (), first=False)
                start = i + 1
        self.builder.ops(range(start, window.ops.stop))

    def _op(self, i: int, arrived: Sequence[Mapping[str, int]], *, first: bool) -> None:
        """Issue op ``i``: the window's first op waits for all copies ahead, others for their device's."""
        device, there = self.builder.devices[i], list[Weight]()
        if self._streamed[i] and self._residency.zero_copy and self.index.ops[i].kind == GATHER.name:
            self.builder.read_rows(i, self._home, [copy for last in arrived for copy in last.values()])
            return
        if self._streamed[i]:
            missing, there = self._missing(i, self._on_host(i))
            self._copy(missing, on_compute_lane=True)
            self._cache(device).end_op()
        after = [copy for last in arrived for to, copy in last.items() if first or to == device] if arrived else ()
        self._run(i, there, after)

    def _run(self, i: int, there: Sequence[Weight], after: Iterable[int]) -> None:
        """Issue op ``i``, with the experts ``there`` on the host."""
        arrived, packing = self._arrived.pop(i, 0), self._packing
        if arrived and packing.unpack == UNPACK_DEVICE:
            work, _ = packing.work(self.index.ops[i], arrived)
            if work is not None:
                self.builder.unpack(i, work, self.builder.devices[i], after)
        if there and self.shares:
            self.builder.shared(i, self.shares.part(i, there, inside=False), self.shares.part_on_host(i, there),
                                self._home, after)  # fmt: skip
        else:
            self.builder.op(i, after, synchronous=self._streamed[i] and self._residency.synchronous)

    def _on_host(self, i: int) -> Sequence[Weight]:
        """The experts of op ``i`` that the host computes."""
        if self.shares is None or not self.index.facts(i).experts:
            return ()
        device = self.builder.devices[i]
        cache = self._cache(device)
        absent = [weight for weight in weights_read(self.index, i) if not cache.holds(weight)]
        return self.shares.on_host(i, absent, device) if absent else ()

    def _missing(self, i: int, there: Sequence[Weight]) -> tuple[list[Read], list[Weight]]:
        """The weights of op ``i`` that its device's cache does not hold, now that it reads all but those ``there``.

        Those that are held are read first, so that none of them makes room for another. Returns the missing weights
        and those of the host: ``there``, and where experts are shared what the cache has no room for.
        """
        device = self.builder.devices[i]
        cache, counts, missing = self._cache(device), self._counts[device], list[Read]()
        weights = weights_read(self.index, i)
        self.progress.reads(weights)
        here, left = [weight for weight in weights if weight not in there] if there else weights, [*there]
        for weight in sorted(here, key=lambda weight: not cache.holds(weight)):
            room = cache.bring(weight, ahead=False)
            if room is Room.NONE and self.shares and weight.expert is not None:
                left.append(weight)
                continue
            if room is Room.NONE:
                raise SimulationError(f"the cache of {device} has no room for all that the op reads at once",
                                      key=self.index.names[i])  # fmt: skip
            if room is Room.MADE:
                missing.append((i, weight))
            counts["misses" if room is Room.MADE else "hits"] += 1
            cache.read(weight)
        counts["on_host"] += len(left)
        return missing, left

    def _copy_ahead(self, *, on_compute_lane: bool) -> dict[str, int]:
        """Copy what the prefetch wants and there is room for; returns the last copy to each device."""
        if not (ahead := self._ahead()):
            return {}
        readers = [(self._next_reader(weight), weight) for weight in ahead]
        readers.sort(key=lambda read: not self._cache_of(read[0]).holds(read[1]))  # what is there makes no room
        wanted = list[Read]()
        for i, weight in readers:
            if self._cache_of(i).bring(weight, ahead=True) is Room.MADE:
                wanted.append((i, weight))
                self._counts[self.builder.devices[i]]["copied_ahead"] += 1
        return self._copy(wanted, on_compute_lane=on_compute_lane)

    def _next_reader(self, weight: Weight) -> int:
        """The op that can read ``weight`` next, from the next window on. Raises SimulationError when there is none."""
        readers = self._readers.get((weight.layer, weight.matrix), [])
        place = bisect_left(readers, self.progress.windows[self.progress.window + 1].ops.start)
        if place == len(readers):
            raise SimulationError(f"{self._prefetch.name} copies {weight.matrix} ahead, which no later op reads")
        return readers[place]

    def _copy(self, reads: Iterable[Read], *, on_compute_lane: bool) -> dict[str, int]:
        """Issue copies; returns the last one to each device, after which its weights are there."""
        last = dict[str, int]()
        for i, weight in reads:
            device, name = self.builder.devices[i], self.index.names[i]
            named = f"{name}.weight" if weight.expert is None else f"{name}.expert{weight.expert}"
            op, packing = self.index.ops[i], self._packing
            due = packing.packed(op, stored := self._cache(device).due(weight))
            self._counts[device]["copied_bytes"] += due
            self._arrived[i] = self._arrived.get(i, 0) + stored
            for size in self._chunks(due):
                after = () if on_compute_lane or device in last else self.builder.last_on(device)
                way, pace = self._way(device)
                work, dense = packing.work(op, stored * size // due) if packing.unpack == UNPACK_HOST else (None, 0)
                last[device] = self._landed[device, weight.matrix] = self.builder.load(
                    i, named, size, on_compute_lane=on_compute_lane, after=after, src=self._home, through=way,
                    pace=pace, unpack=work, dense=dense, staged=self._staged,
                )  # fmt: skip
        return last

    def _way(self, device: str) -> tuple[str | None, CopyPace | None]:
        """Where weights stop on their way to ``device``, and the pace at which their home is read."""
        if device not in self._ways:
            source, machine = self._residency.source, self.progress.machine
            stop = source.waypoint(machine, self._home, device)
            self._ways[device] = stop, source.pace(machine, self._home, stop or device)
        return self._ways[device]

    def _chunks(self, bytes: int) -> Iterable[int]:
        if self._whole:
            return (bytes,) if bytes else ()
        size = self._residency.chunk_bytes or bytes
        self._pieces += (bytes - 1) // size if bytes else 0
        if self._pieces > MAX_PIECES:
            raise self._too_small(size)
        return (min(size, bytes - start) for start in range(0, bytes, size))

    def _too_small(self, size: int) -> SpecError:
        """The error of copies that are too small; it names a size that is enough where every step copies all."""
        stored = sum(weight.bytes for i, away in enumerate(self._streamed) if away
                     for weight in weights_stored(self.index, i))  # fmt: skip
        least = -(-stored // MAX_PIECES)
        return SpecError(f"copies of {size} bytes are more than the {MAX_PIECES} that a run may have beside one per "
                         f"weight; {least} bytes and more are enough", key="chunk_bytes")  # fmt: skip

    def _cache_of(self, i: int) -> Cache:
        return self._cache(self.builder.devices[i])

    def _cache(self, device: str) -> Cache:
        if device not in self.caches:
            view = View(self.progress, self._residency, device=device, space=self._space(device))
            self.caches[device] = self._residency.cache(view)
            self._counts[device] = dict.fromkeys(CacheUse._fields, 0)
        return self.caches[device]

    def _space(self, device: str) -> Space:
        """What the first step's ops on ``device`` may read of weights that rest elsewhere, and the memory for it."""
        first = self.index.steps[0]
        own = [i for i in first if self._streamed[i] and self.builder.devices[i] == device]
        weights = dict.fromkeys(weight for i in own for weight in weights_stored(self.index, i))
        buffers = max((_most_read(self.index, i) for i in own), default=0)
        if type(self._prefetch) is not NoPrefetch:
            stored = [sum(weight.bytes for weight in window.stored(self.index)) for window in self.progress.windows
                      if window.ops.start in first]  # fmt: skip
            buffers += 2 * max(stored, default=0)
        return Space(tuple(weights), self.progress.free_bytes.get(device), buffers)

    def _end_window(self) -> None:
        for cache in self.caches.values():
            cache.end_window()
