"""What the policies share that keep weights in host memory and copy them over a link as they are needed.

The trace is cut into windows, one a layer: the window's ops run when its weights are there. Copies
ahead use a copy engine of the device and two buffers: those of window l+1 start when window l-1 is
done, and window l+1 starts when they are. The first window has nothing to hide behind: its copies run
on the compute lane. Source: the semantics of the GPU measurements, sections offload and weight_stream.

Left out: weights that stay in the buffers from an earlier step; copies back (weights are not written);
the time to hand over from kernels to a copy and back on one stream.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from simsparse.core import Placements, Trace, Unit
from simsparse.errors import SpecError
from simsparse.lowering.command_graph import CommandGraph, GraphBuilder
from simsparse.lowering.footprint import footprint
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex, trace_index_of
from simsparse.policies.base import Policy
from simsparse.policies.placement.greedy import Greedy


class WeightScope(StrEnum):
    """Which weights rest in host memory: those of experts, or every op's."""

    EXPERTS = "experts"
    ALL = "all"


@dataclass(frozen=True)
class PrefetchWindow:
    """Consecutive ops that run when the weights of ``streamed`` (indexes among them) have come."""

    ops: range
    streamed: tuple[int, ...]


def streamed_ops(workload: TraceIndex, what: WeightScope) -> list[bool]:
    """Per op whether its weights rest in host memory."""
    return [
        op.unit is not Unit.LINK
        and (op.definition.routed or (what is WeightScope.ALL and workload.facts(i).weight_bytes > 0))
        for i, op in enumerate(workload.trace.ops)
    ]


def windows(workload: TraceIndex, what: WeightScope, streamed: list[bool]) -> tuple[PrefetchWindow, ...]:
    """The trace cut into windows.

    ``experts``: a window ends with each MoE op. ``all``: a window is a run of ops of one layer; an op
    with weights outside of layers is a window of its own.
    """
    ends = _after_each_moe(streamed) if what is WeightScope.EXPERTS else _between_layers(workload, streamed)
    starts = [0, *ends]
    return tuple(
        PrefetchWindow(range(start, end), tuple(i for i in range(start, end) if streamed[i]))
        for start, end in zip(starts, [*ends, len(streamed)], strict=True)
        if start < end
    )


def _after_each_moe(streamed: list[bool]) -> list[int]:
    return [i + 1 for i, is_streamed in enumerate(streamed) if is_streamed and i + 1 < len(streamed)]


def _between_layers(workload: TraceIndex, streamed: list[bool]) -> list[int]:
    """Indexes at which a new window begins."""
    owners: list[int] = []
    for i, layer in enumerate(workload.layer):
        if layer is not None:
            owners.append(layer)
        elif streamed[i] or not owners:
            owners.append(-1 - i)
        else:
            owners.append(owners[-1])
    return [i for i in range(1, len(owners)) if owners[i] != owners[i - 1]]


@dataclass(frozen=True)
class WeightCopy:
    """One copy of weights: of op ``op``, named ``name``."""

    op: int
    name: str
    bytes: int


class Streaming(Policy):
    """Weights at rest in host memory.

    Options: ``what``, experts or all; ``chunk_bytes``, the largest single copy (None: an expert or a
    matrix in one). Raises SpecError on other values.
    """

    ahead: ClassVar[bool] = True
    """Whether weights are copied a window ahead, or when they are needed."""
    every_expert: ClassVar[bool] = False
    """Whether experts without a token are copied ahead too."""
    validated = "sections offload and weight_stream of the GPU measurements"

    def __init__(self, what: str = WeightScope.EXPERTS, chunk_bytes: int | None = None) -> None:
        if what not in list(WeightScope):
            raise SpecError(f"{what!r}: expected {' or '.join(WeightScope)}", key="what")
        if chunk_bytes is not None and (isinstance(chunk_bytes, bool) or not isinstance(chunk_bytes, int)
                                        or chunk_bytes < 1):  # fmt: skip
            raise SpecError(f"{chunk_bytes!r} is not a positive whole number", key="chunk_bytes")
        self.what, self.chunk_bytes = WeightScope(what), chunk_bytes

    def place(self, trace: Trace, machine: Machine) -> Placements:
        home = machine.require_host(self.name)
        index = trace_index_of(trace)
        streamed = streamed_ops(index, self.what)
        devices = Greedy().devices(index, machine, streamed)
        homes = tuple(home if away else device for device, away in zip(devices, streamed, strict=True))
        return Placements(trace, self.name, devices, homes, {"streamed": str(self.what)})

    @property
    def options(self) -> Hashable:
        return self.what, self.chunk_bytes

    def graph(self, placements: Placements, machine: Machine) -> CommandGraph:
        workload, devices = trace_index_of(placements.trace), placements.devices
        streamed = streamed_ops(workload, self.what)
        cut = windows(workload, self.what, streamed)
        builder = GraphBuilder(workload, devices, machine)
        if self.ahead:
            self._copy_ahead(builder, cut, machine)
        else:
            self._copy_on_demand(builder, streamed, machine)
        return builder.build(self._footprint(workload, devices, streamed, cut, machine))

    def _copy_on_demand(self, builder: GraphBuilder, streamed: list[bool], machine: Machine) -> None:
        for index in range(len(streamed)):
            if streamed[index]:
                self._issue(builder, self._loads(builder.index, (index,), False), machine, on_compute_lane=True)
            builder.op(index)

    def _copy_ahead(self, builder: GraphBuilder, cut: tuple[PrefetchWindow, ...], machine: Machine) -> None:
        first = self._loads(builder.index, cut[0].streamed, False) if cut else ()
        arrived = self._issue(builder, first, machine, on_compute_lane=True)
        for i, window in enumerate(cut):
            following = cut[i + 1].streamed if i + 1 < len(cut) else ()
            ahead = self._loads(builder.index, following, self.every_expert)
            coming = self._issue(builder, ahead, machine, on_compute_lane=False)
            for index in window.ops:
                builder.op(index, self._awaited(builder, arrived, index, index == window.ops.start))
            arrived = coming

    @staticmethod
    def _awaited(builder: GraphBuilder, arrived: dict[str, int], index: int, first: bool) -> Iterable[int]:
        """Copies that op ``index`` waits for: the window's first op for all, others for their device's."""
        if first:
            return arrived.values()
        last = arrived.get(builder.devices[index])
        return () if last is None else (last,)

    def _issue(
        self, builder: GraphBuilder, loads: Iterable[WeightCopy], machine: Machine, *, on_compute_lane: bool
    ) -> dict[str, int]:
        """Issue copies; returns the last one to each device, after which its weights are there."""
        src, last = machine.require_host(self.name), dict[str, int]()
        for load in loads:
            device = builder.devices[load.op]
            after = () if on_compute_lane or device in last else builder.last_on(device)
            last[device] = builder.load(
                load.op, load.name, load.bytes, on_compute_lane=on_compute_lane, after=after, src=src
            )
        return last

    def _loads(self, workload: TraceIndex, indexes: Iterable[int], every_expert: bool) -> Iterator[WeightCopy]:
        for index in indexes:
            facts, name = workload.facts(index), workload.trace.ops[index].name
            if not facts.experts:
                yield from self._chunks(WeightCopy(index, f"{name}.weight", facts.weight_bytes))
                continue
            for expert in range(facts.experts) if every_expert else facts.experts_hit:
                yield from self._chunks(WeightCopy(index, f"{name}.expert{expert}", facts.expert_bytes))

    def _chunks(self, load: WeightCopy) -> Iterator[WeightCopy]:
        size = self.chunk_bytes or load.bytes
        for start in range(0, load.bytes, size):
            yield WeightCopy(load.op, load.name, min(size, load.bytes - start))

    def _footprint(
        self,
        workload: TraceIndex,
        devices: Sequence[str],
        streamed: list[bool],
        cut: tuple[PrefetchWindow, ...],
        machine: Machine,
    ) -> dict[str, dict[str, int]]:
        """Bytes that stay on each device, its buffers, and the streamed weights in the host's memory.

        Two buffers hold the largest window; on demand, one holds the largest op.
        """
        kept = footprint(workload, devices, streamed)
        groups = [window.streamed for window in cut] if self.ahead else [(i,) for i in range(len(streamed))]
        for group in groups:
            need: dict[str, int] = {}
            for load in self._loads(workload, (i for i in group if streamed[i]), self.every_expert):
                device = devices[load.op]
                need[device] = need.get(device, 0) + load.bytes * (2 if self.ahead else 1)
            for device, size in need.items():
                kept[device]["buffers"] = max(size, kept[device].get("buffers", 0))
        at_rest = sum(own.weights for own, away in zip(workload.kept, streamed, strict=True) if away)
        return {**kept, machine.require_host(self.name): {"weights": at_rest}}
