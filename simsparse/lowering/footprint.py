# SPDX-License-Identifier: Apache-2.0
"""What a run keeps in the memory of each device: weights, caches, optimizer state, activations and gradients.

Activations and gradients live from the op that writes them to the last op that reads them, the optimizer's
update included; those of the moment when most bytes of the device are alive count. So the activations that
a training step keeps for its backward pass are all there at its start. Left out: fragments, the workspace of
kernels, and buffers of the framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

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
    for i, (op, device, kept, away) in enumerate(zip(index.ops, devices, index.kept, streamed, strict=True)):
        if op.unit is Unit.LINK:
            continue
        own = result.setdefault(device, {WEIGHTS: 0, KV_CACHE: 0, OPTIMIZER_STATE: 0})
        own[WEIGHTS] += 0 if away else held.bytes(i, device)
        own[KV_CACHE] += kept.kv
        own[OPTIMIZER_STATE] += kept.state
    for device, alive in _alive(index, devices).items():
        result.setdefault(device, {}).update(alive.most())
    return result


class _Alive:
    """Bytes of one device that are alive while each op runs: activations and gradients."""

    def __init__(self, ops: int) -> None:
        self._changes = {ACTIVATIONS: [0] * (ops + 1), GRADIENTS: [0] * (ops + 1)}

    def add(self, purpose: str, first: int, last: int, bytes: int) -> None:
        """``bytes`` are alive from op ``first`` to op ``last``."""
        self._changes[purpose][first] += bytes
        self._changes[purpose][last + 1] -= bytes

    def most(self) -> dict[str, int]:
        """Bytes by purpose at the moment when their sum is largest."""
        by_op = list(zip(*map(accumulate, self._changes.values()), strict=True))
        return dict(zip(self._changes, max(by_op, key=sum), strict=True))


def _alive(index: TraceIndex, devices: Sequence[str]) -> dict[str, _Alive]:
    ops, sizes, readers = index.ops, updated_bytes(index.ops), _readers(index)
    written = [index.facts(i).output_bytes for i in range(len(ops))]
    used = dict.fromkeys(device for op, device in zip(ops, devices, strict=True) if op.label != UPDATE)
    found = {device: _Alive(len(ops)) for device in used}
    for i, (op, device) in enumerate(zip(ops, devices, strict=True)):
        if op.label == UPDATE:
            continue
        own, later, gradient = found[device], readers[i], 0
        if sizes:
            updates = [reader for reader in later if ops[reader].label == UPDATE]
            later = [reader for reader in later if ops[reader].label != UPDATE]
            if updates and _makes_gradient(op):
                gradient = min(written[i], sum(sizes[str(ops[update].weight)] for update in updates))
                own.add(GRADIENTS, i, updates[-1], gradient)
        cached = min(written[i], int(op.stats.get(CACHE_BYTES, 0))) if index.caches else 0
        own.add(ACTIVATIONS, i, later[-1] if later else i, written[i] - gradient - cached)
        if outside := _from_outside(index, i, written):
            own.add(ACTIVATIONS, i, i, outside)
        if len(found) > 1:
            for other in dict.fromkeys(devices[reader] for reader in later if devices[reader] != device):
                there = [reader for reader in later if devices[reader] == other]
                found[other].add(ACTIVATIONS, there[0], there[-1], written[i])
    return found


def _readers(index: TraceIndex) -> list[list[int]]:
    """The ops that depend on each op, in order."""
    found: list[list[int]] = [[] for _ in index.deps]
    for i, deps in enumerate(index.deps):
        for dep in deps if len(deps) < 2 else dict.fromkeys(deps):
            found[dep].append(i)
    return found


def _makes_gradient(op: Op) -> bool:
    """Whether an update that depends on ``op`` reads its result, and not only has to wait for its use of the weight."""
    return op.label.startswith(BACKWARD) and op.label != BACKWARD_INPUT


def _from_outside(index: TraceIndex, i: int, written: Sequence[int]) -> int:
    """Bytes that op ``i`` reads and no op of the trace wrote; what it reads of a parameter is none."""
    op, facts, deps = index.ops[i], index.facts(i), index.deps[i]
    if op.unit is Unit.LINK or (op.weight is not None and not facts.weight_bytes):
        return 0
    read = facts.input_bytes + (0 if index.caches else facts.kv_bytes)
    return max(0, read - sum([written[dep] for dep in (deps if len(deps) < 2 else dict.fromkeys(deps))]))
