# SPDX-License-Identifier: Apache-2.0
"""What a run keeps in the memory of each device: weights, caches, optimizer state, activations and gradients.

Activations and gradients live from the op that writes them to the last op that reads them, the optimizer's
update included; those of the moment when most bytes of the device are alive count. So the activations that
a training step keeps for its backward pass are all there at its start. Left out: fragments, the workspace of
kernels, and buffers of the framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain

from simsparse.core import Op, Unit
from simsparse.lowering.held import HeldWeights
from simsparse.lowering.kept import BACKWARD, BACKWARD_INPUT, CACHE_BYTES, UPDATE, updated_bytes
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex

WEIGHTS, KV_CACHE, OPTIMIZER_STATE = "weights", "KV cache", "optimizer state"
ACTIVATIONS, GRADIENTS = "activations", "gradients"

Footprint = dict[str, dict[str, int]]
"""Bytes by device and purpose."""


def footprint(index: TraceIndex, devices: Sequence[str], streamed: Sequence[bool], machine: Machine) -> Footprint:
    """Bytes that the ops of ``index`` keep on the ``devices`` that run them; weights of ``streamed`` rest elsewhere."""
    result: Footprint = {}
    held = HeldWeights(index, machine)
    for i in index.keeping:  # a later step runs where the first does
        device, kept = devices[i], index.kept[i]
        if index.ops[i].unit is Unit.LINK:
            continue
        own = result.setdefault(device, {WEIGHTS: 0, KV_CACHE: 0, OPTIMIZER_STATE: 0})
        own[WEIGHTS] += 0 if streamed[i] else held.bytes(i, device)
        own[KV_CACHE] += kept.kv
        own[OPTIMIZER_STATE] += kept.state
    for device, alive in _alive(index, devices).items():
        result.setdefault(device, {}).update(alive.most())
    return result


class _Alive:
    """Bytes of one device that are alive while each op runs: activations and gradients."""

    def __init__(self) -> None:
        self._changes: dict[str, dict[int, int]] = {ACTIVATIONS: {}, GRADIENTS: {}}

    def add(self, purpose: str, first: int, last: int, bytes: int) -> None:
        """``bytes`` are alive from op ``first`` to op ``last``."""
        own = self._changes[purpose]
        own[first] = own.get(first, 0) + bytes
        own[last + 1] = own.get(last + 1, 0) - bytes

    def most(self) -> dict[str, int]:
        """Bytes by purpose at the moment when their sum is largest."""
        moments = sorted({0}.union(*self._changes.values()))
        alive = [accumulate([own.get(i, 0) for i in moments]) for own in self._changes.values()]
        return dict(zip(self._changes, max(zip(*alive, strict=True), key=sum), strict=True))


def _alive(index: TraceIndex, devices: Sequence[str]) -> dict[str, _Alive]:
    ops, firsts, readers = index.ops, index.first_places, _Readers(index)
    sizes = updated_bytes([ops[i] for i in firsts])
    found = {device: _Alive() for device in dict.fromkeys(devices[i] for i in firsts if ops[i].label != UPDATE)}
    for i in chain.from_iterable(_unlike_steps(index)):
        op, device = ops[i], devices[i]
        if op.label == UPDATE:
            continue
        own, later, gradient, written = found[device], readers.of(i), 0, index.facts(i).output_bytes
        if sizes:
            updates = [reader for reader in later if ops[reader].label == UPDATE]
            later = [reader for reader in later if ops[reader].label != UPDATE]
            if updates and _makes_gradient(op):
                gradient = min(written, sum(sizes[str(ops[update].weight)] for update in updates))
                own.add(GRADIENTS, i, updates[-1], gradient)
        cached = min(written, int(op.stats.get(CACHE_BYTES, 0))) if index.caches else 0
        own.add(ACTIVATIONS, i, later[-1] if later else i, written - gradient - cached)
        if outside := _from_outside(index, i):
            own.add(ACTIVATIONS, i, i, outside)
        if len(found) > 1:
            for other in dict.fromkeys(devices[reader] for reader in later if devices[reader] != device):
                there = [reader for reader in later if devices[reader] == other]
                found[other].add(ACTIVATIONS, there[0], there[-1], written)
    return found


def _unlike_steps(index: TraceIndex) -> Iterable[range]:
    """The steps that differ from all before them in what their ops write and read; no activation outlives its step."""
    if len(index.steps) == 1:
        return index.steps
    known: dict[int, int] = {}  # steps share the ops that do not change
    numbers: dict[tuple[object, ...], int] = {}
    found: dict[tuple[int, ...], range] = {}
    for i in index.first_places:
        op, facts = index.ops[i], index.facts(i)
        read = facts.input_bytes, 0 if index.caches else facts.kv_bytes, facts.weight_bytes > 0
        size = op.name, op.deps, op.label, facts.output_bytes, op.stats.get(CACHE_BYTES, 0), read
        known[id(op)] = numbers.setdefault(size, len(numbers))
    for step in index.steps:
        found.setdefault(tuple(map(known.__getitem__, map(id, index.ops[step.start : step.stop]))), step)
    return found.values()


class _Readers:
    """The ops that depend on each op, in order; those of a step are found when one is asked for."""

    def __init__(self, index: TraceIndex) -> None:
        self._index, self._found, self._steps = index, dict[int, list[int]](), set[int]()

    def of(self, i: int) -> list[int]:
        """Those that depend on op ``i``."""
        step = self._index.step[i]
        if step not in self._steps:
            self._steps.add(step)
            for reader in self._index.steps[step]:
                deps = self._index.deps[reader]
                for dep in deps if len(deps) < 2 else dict.fromkeys(deps):
                    self._found.setdefault(dep, []).append(reader)
        return self._found.get(i, [])


def _makes_gradient(op: Op) -> bool:
    """Whether an update that depends on ``op`` reads its result, and not only has to wait for its use of the weight."""
    return op.label.startswith(BACKWARD) and op.label != BACKWARD_INPUT


def _from_outside(index: TraceIndex, i: int) -> int:
    """Bytes that op ``i`` reads and no op of the trace wrote; what it reads of a parameter is none."""
    op, facts, deps = index.ops[i], index.facts(i), index.deps[i]
    if op.unit is Unit.LINK or (op.weight is not None and not facts.weight_bytes):
        return 0
    read = facts.input_bytes + (0 if index.caches else facts.kv_bytes)
    return max(0, read - sum([index.facts(dep).output_bytes for dep in dict.fromkeys(deps)]))
