# SPDX-License-Identifier: Apache-2.0
"""Experts of a layer shared between two devices that work at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from simsparse.core import Op, OpKind, Routing, Trace, ops
from simsparse.errors import SpecError, nearest
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.policies.placement.base import PLACEMENTS, Placer
from simsparse.policies.placement.search import search

Times = Mapping[int, float]
"""Seconds of one expert of a layer by its tokens."""


@PLACEMENTS.register("coprocess")
@dataclass(frozen=True)
class Coprocess(Placer):
    """Each layer of experts is divided between the first processor and another; other ops run where they end soonest.

    ``units`` names the other device; by default it is the second processor. The time of an expert on either comes from
    a table by its number of tokens. All experts start on the processor; those with the fewest tokens move to the units,
    one after another, while the later of both ends sooner. The parts are ops of their own, at the same time, and a sum
    of what they wrote on the processor has the name of the layer. Source: the scheduler of Duplex (MICRO 2024).
    """

    name = "coprocess"
    units: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.units, str):
            raise SpecError(f"{self.units!r} is not the name of a device", key="units")

    @property
    def measures(self) -> bool:
        return True

    def divided(self, trace: Trace, machine: Machine) -> Trace:
        """``trace`` with layers of experts in parts. Raises SpecError for units that are not there."""
        pair = self._pair(machine)
        if pair is None:
            return trace
        tables: dict[object, tuple[Times, Times]] = {}
        found: list[Op] = []
        for op in trace.ops:
            found.extend(_parts(op, pair, tables, machine) if op.kind == OpKind.MOE_FFN else [op])
        return replace(trace, ops=tuple(found))

    def devices(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> tuple[str, ...]:
        pair = self._pair(machine) or ()
        return search(index, machine, streamed, [_candidates(op, pair) or machine.processors for op in index.ops])

    def _pair(self, machine: Machine) -> tuple[str, str] | None:
        """The processor and the units; None where there is one processor alone."""
        first, *others = machine.processors
        if self.units and self.units not in others:
            raise SpecError(f"{self.units!r} is no processor beside {first}; {nearest(self.units, others)}",
                            key="units")  # fmt: skip
        return (first, self.units or others[0]) if others else None


def _candidates(op: Op, pair: Sequence[str]) -> tuple[str, ...]:
    """The device of a part of a layer, () for another op."""
    return next(((device,) for device in pair if op.name.endswith(_suffix(device))), ())


def _suffix(device: str) -> str:
    return f".on {device}"


def _parts(op: Op, pair: tuple[str, str], tables: dict[object, tuple[Times, Times]], machine: Machine) -> list[Op]:
    """``op`` as a part for each device and their sum; as it is where one device is to run all."""
    here, there = (machine.devices[name] for name in pair)
    if here.supports(op) or there.supports(op) or op.routing is None:
        return [op]
    if op.signature not in tables:
        tables[op.signature] = (_times(op, pair[0], machine), _times(op, pair[1], machine))
    moved = moved_experts(op.routing.counts, *tables[op.signature])
    kept = {expert for expert in op.routing.hit if expert not in moved}
    if not moved or not kept:
        return [op]
    parts = [_with_experts(op, experts).with_(name=op.name + _suffix(device))
             for device, experts in zip(pair, (kept, moved), strict=True)]  # fmt: skip
    written = sum(part.output_bytes for part in parts)
    both = ops.elementwise(written, op.output_bytes, written * 8 // op.dtype.bits, op.dtype, label="add", name=op.name)
    return [*parts, both.with_(deps=tuple(part.name for part in parts), module=op.module)]


def moved_experts(counts: Sequence[int], here: Times, there: Times) -> set[int]:
    """Experts that run on the units, of ``counts`` tokens each, whose seconds by tokens are ``here`` and ``there``."""
    moved: set[int] = set()
    kept_s, moved_s = sum(here[count] for count in counts if count), 0.0
    for expert in sorted((e for e, count in enumerate(counts) if count), key=lambda e: (counts[e], e)):
        less, more = kept_s - here[counts[expert]], moved_s + there[counts[expert]]
        if max(less, more) >= max(kept_s, moved_s):
            break
        kept_s, moved_s = less, more
        moved.add(expert)
    return moved


def _times(op: Op, device: str, machine: Machine) -> Times:
    """The table of ``device``: the share of an expert in a layer whose experts all have so many tokens."""
    assert op.routing is not None
    counts = sorted({count for count in op.routing.counts if count})
    experts = len(op.routing.counts)
    layers = [_routed(op, [count] * experts) for count in counts]
    costs = machine.devices[device].costs(layers, 0)
    return {count: cost.latency_s / experts for count, cost in zip(counts, costs, strict=True)}


def _with_experts(op: Op, experts: set[int]) -> Op:
    assert op.routing is not None
    return _routed(op, [count if expert in experts else 0 for expert, count in enumerate(op.routing.counts)])


def _routed(op: Op, counts: Sequence[int]) -> Op:
    """``op`` with so many tokens for each expert, each token for one expert alone."""
    assert op.routing is not None
    routing = Routing(tuple(counts), (), op.routing.origin)
    return op.with_(routing=routing, dims={**op.dims, "tokens": sum(counts), "top_k": 1})
