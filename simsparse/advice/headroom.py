# SPDX-License-Identifier: Apache-2.0
"""Which kernel should I write? Seconds between what a stack takes for each op and the card's bound, ranked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from simsparse._simulate import simulate
from simsparse.config.hardware import part_of, system_of
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.quantity import Part
from simsparse.core import Keep, Op, OpResult, Result, Trace, Unit
from simsparse.errors import SpecError

CALLS = "host calls and gaps"
"""What passes while the card waits for the host's next call."""


class KernelLoss(NamedTuple):
    """Equal ops of a trace: what the stack takes for all of them, and the least that the card, or another stack, could.

    ``ops``: how many; ``kernels``: launched for one of them. ``bound_s``: the larger of FLOPs over peak and of bytes
    over bandwidth, both of the data sheet, of ops that each read and write what the trace states, once. ``bound``:
    which of the two it is. Against another stack, ``bound_s`` is what that one takes and ``bound`` its name.
    ``validated``: whether a measurement checks the model of every kernel.
    """

    name: str
    shape: str
    ops: int
    kernels: int
    seconds: float
    bound_s: float
    bound: str
    validated: bool

    @property
    def lost_s(self) -> float:
        """Seconds that a kernel at the bound, or the other stack's, would save; below 0 where that takes longer."""
        return self.seconds - self.bound_s


@dataclass(frozen=True)
class Headroom:
    """The ops of a trace under a stack on a card, most seconds lost first; ``latency_s`` of the whole trace.

    ``against``: the other stack, empty where the card's bound is meant.
    """

    trace: str
    part: str
    stack: str
    latency_s: float
    losses: tuple[KernelLoss, ...]
    against: str = ""

    @property
    def bound_s(self) -> float:
        """Seconds of the trace with every op at its bound, or as the other stack runs it, one after another."""
        return sum(loss.bound_s for loss in self.losses)


def headroom(trace: Trace, hw: Part | str | Path, stack: str, against: str = "") -> Headroom:
    """Rank the ops of ``trace`` on ``hw``, a GPU, under ``stack`` by the seconds between that stack and the bound.

    With ``against``, the name of another stack, by the seconds between the two. Raises SpecError when ``hw`` is no GPU,
    and what ``simulate`` raises.
    """
    part = part_of(hw)
    if not isinstance(part, GpuPart):
        raise SpecError(f"{part.name} is a {part.kind}; kernels are written for GPUs", key="hw")
    result, groups = simulate(trace, system_of(part), keep=Keep.ROWS, stack=stack), _groups(trace)
    losses = _losses(part, trace, groups, result)
    if against:
        other = simulate(trace, system_of(part), keep=Keep.ROWS, stack=against)
        losses = [
            loss._replace(bound_s=theirs.seconds, bound=other.stack)
            for loss, theirs in zip(losses, _losses(part, trace, groups, other), strict=True)
        ]
    ranked = sorted(losses, key=lambda loss: -loss.lost_s)
    return Headroom(trace.name, part.name, result.stack, result.latency_s, tuple(ranked), against)


def _groups(trace: Trace) -> list[list[Op]]:
    """Ops of equal signature that run on the card, in the order of their first."""
    groups: dict[tuple[object, ...], list[Op]] = {}
    for op in trace.ops:
        if op.unit is not Unit.LINK:
            groups.setdefault(op.signature, []).append(op)
    return list(groups.values())


def _losses(part: GpuPart, trace: Trace, groups: list[list[Op]], result: Result) -> list[KernelLoss]:
    """One per group, then what passes between kernels."""
    kernels = _kernels(trace, result.ops)
    losses = [_loss(part, ops, [kernels.get(op.name, []) for op in ops]) for ops in groups]
    gaps = max(0.0, result.latency_s - sum(loss.seconds for loss in losses))
    return [*losses, KernelLoss(CALLS, "", 1, 0, gaps, 0.0, "host", validated=True)]


def _kernels(trace: Trace, rows: Iterable[OpResult]) -> dict[str, list[OpResult]]:
    """The kernels that ran for each op of the trace, by its name; a kernel is named OP or OP/NUMBER."""
    names = {op.name for op in trace.ops}
    found: dict[str, list[OpResult]] = {}
    for row in rows:
        owner = row.name if row.name in names else row.name.rpartition("/")[0]
        if owner in names:
            found.setdefault(owner, []).append(row)
    return found


def _loss(part: GpuPart, ops: list[Op], kernels: list[list[OpResult]]) -> KernelLoss:
    compute, memory = _least_seconds(part, ops[0])
    rows = [row for own in kernels for row in own]
    names = ", ".join(dict.fromkeys(map(_short, ops)))
    return KernelLoss(
        names, _shape(ops[0]), len(ops), len(kernels[0]), sum(row.latency_s for row in rows),
        max(compute, memory) * len(ops), "compute" if compute > memory else "memory",
        all(row.validated for row in rows),
    )  # fmt: skip


def _least_seconds(part: GpuPart, op: Op) -> tuple[float, float]:
    """Seconds of the op's arithmetic at the peak of its type, and of its bytes at the bandwidth of the data sheet."""
    card, sparse24 = part.compute, part.compute.sparse24
    if op.unit is Unit.MATRIX:
        rate = card.tensor[op.dtype].si if op.dtype in card.tensor else card.vector.si
        gain = sparse24.si if sparse24 and str(op.weight_sparsity) == "2:4" else 1.0
        return 2 * op.dense_macs / (rate * gain), (
            op.input_bytes + op.weight_bytes + op.output_bytes
        ) / part.memory.bandwidth.si
    return op.flops / card.vector.si, (op.input_bytes + op.weight_bytes + op.output_bytes) / part.memory.bandwidth.si


def _short(op: Op) -> str:
    """What the op is in its layer: the last word of its module that is no number, or its label."""
    words = [word for word in op.module.split(".") if word and not word.isdigit()]
    return (words[-1] if words else "") or op.label or op.kind


def _shape(op: Op) -> str:
    dims = ", ".join(f"{key} {value}" for key, value in op.dims.items() if value not in (0, 1))
    return f"{op.label or op.kind}: {dims}"
