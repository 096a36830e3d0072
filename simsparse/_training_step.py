# SPDX-License-Identifier: Apache-2.0
"""One training step under a layout: seconds, what they go to, memory of each stage, and the timeline of the stages.

Ranks of a stage do the same: one of each is simulated, pass by pass, by the event engine (or in closed form), and equal
pieces once. The passes then follow the schedule of the pipeline. Left out: jitter between ranks, and exchanges of one
stage that slow those of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from simsparse._simulate import laid_out, simulate
from simsparse.config.hardware import System, override_part, system_of
from simsparse.config.layout import Layout
from simsparse.core import WAITING, Op, Timeline, Trace
from simsparse.core.kinds.collective import collective
from simsparse.core.timeline import Span
from simsparse.lowering.collectives.spans import span_seconds
from simsparse.lowering.machine import machine_of
from simsparse.lowering.parallel import rank_system, rank_trace
from simsparse.lowering.parallel.pieces import Piece, backward_trace, forward_trace, one_stage, pieces_of, span_ranks
from simsparse.lowering.parallel.schedule import PassSpan, blocks
from simsparse.policies import policy_of
from simsparse.units import seconds_to_fs

AMPLE = "1000 TiB"
"""Memory of the GPU that passes are timed on; whether a step fits is told from its own table."""
WAITS = ("transfer", WAITING)
WEIGHTS, GRADIENTS, STATES, ACTIVATIONS = "weights", "gradients", "optimizer state", "activations"


@dataclass(frozen=True)
class TrainingStep:
    """A training step: ``memory`` by stage and purpose in bytes, ``blocks`` the passes of each stage in time.

    ``busy_s`` are the seconds of passes on the stage that works longest; ``exchange_s`` those of them in which it waits
    for exchanges, ``bubble_s`` those of the step in which it does nothing. ``capacity`` is the GPU's memory.
    ``energy_j``: of all ranks, with what they draw in bubbles; hosts and switches are left out.
    """

    layout: Layout
    step_s: float
    busy_s: float
    exchange_s: float
    memory: tuple[Mapping[str, int], ...]
    capacity: int | None
    blocks: tuple[PassSpan, ...]
    energy_j: float

    @property
    def bubble_s(self) -> float:
        """Seconds of the step in which the stage that works longest does nothing."""
        return self.step_s - self.busy_s

    @property
    def batches(self) -> int:
        """How often the step runs the trace's batch."""
        return self.layout.dp * self.layout.micro

    @property
    def peak_bytes(self) -> int:
        """Bytes of the stage that needs most."""
        return max(sum(own.values()) for own in self.memory)

    @property
    def fits(self) -> bool:
        """Whether every stage fits into its GPU."""
        return self.capacity is None or self.peak_bytes <= self.capacity

    @property
    def timeline(self) -> Timeline:
        """The passes of each stage, to look at with Perfetto."""
        return Timeline.of(
            Span(seconds_to_fs(each.start_s), seconds_to_fs(each.end_s), f"stage {each.stage}", "compute",
                 f"{'backward' if each.backward else 'forward'} {each.micro} of piece {each.piece}",
                 "backward" if each.backward else "forward", 0)
            for each in self.blocks
        )  # fmt: skip

    @property
    def bound(self) -> str:
        """What most of the step goes to: compute, exchanges or bubbles."""
        parts = {"compute": self.busy_s - self.exchange_s, "exchanges": self.exchange_s, "bubbles": self.bubble_s}
        return max(parts, key=parts.__getitem__)


def training_memory(trace: Trace, layout: Layout) -> list[dict[str, int]]:
    """Bytes by purpose of a rank of each stage. Raises MappingError."""
    pieces = pieces_of(rank_trace(trace, layout), layout.pp * layout.chunks)
    return [_memory(pieces[stage :: layout.pp], stage, layout) for stage in range(layout.pp)]


def _memory(own: Sequence[Piece], stage: int, layout: Layout) -> dict[str, int]:
    """Parameters, their gradients in the same type, states, and the activations of the micro-batches under way."""
    held = sum(piece.parameters for piece in own)
    alive = layout.micro if layout.schedule == "gpipe" else min(layout.micro, layout.pp - stage)
    if layout.chunks > 1:
        alive = min(layout.micro, layout.pp) + 1
    saved = sum(piece.saved_bytes for piece in own)
    if layout.recompute:
        inputs = sum(piece.layers * piece.output_bytes for piece in own)
        kept = alive * inputs + max(piece.widest_bytes for piece in own)
    else:
        kept = alive * saved

    def shared(least_zero: int, size: int) -> int:
        return sum(_divided(piece, size * piece.parameters // max(1, held), layout) for piece in own) if (
            layout.zero >= least_zero) else size  # fmt: skip

    return {WEIGHTS: shared(3, held), GRADIENTS: shared(2, held), STATES: shared(1, sum(p.states for p in own)),
            ACTIVATIONS: kept}  # fmt: skip


def _divided(piece: Piece, size: int, layout: Layout) -> int:
    """``size`` bytes by parameter, divided over the replicas that have the same."""
    experts = int(size * piece.expert_share)
    return experts // span_ranks(layout, "edp") + (size - experts) // span_ranks(layout, "ddp")


def training_step(
    trace: Trace, system: System | str, parallel: str | Mapping[str, Any] | Layout, level: int = 1,
    stack: str = "fused+graph",
) -> TrainingStep:  # fmt: skip
    """A step of ``trace`` (of phase train, one micro-batch of one replica) under a layout.

    Raises MappingError when the trace or the system can't be laid out so, SpecError on a wrong layout.
    """
    layout, whole = Layout.parse(parallel), system_of(system)
    of_ranks = rank_system(whole, layout)
    pieces = pieces_of(rank_trace(trace, layout), layout.pp * layout.chunks)
    timer = _Timer(whole, layout, level, stack)
    forward = [timer.cost(forward_trace(piece, layout)) for piece in pieces]
    last = [timer.cost(backward_trace(piece, layout, last=True)) for piece in pieces]
    several = layout.micro > 1
    backward = [timer.cost(backward_trace(piece, layout, last=False)) for piece in pieces] if several else last
    send_s = _send_s(of_ranks, layout, pieces[0].output_bytes)
    times = [[each.seconds for each in costs] for costs in (forward, backward, last)]
    found = blocks(layout, times[0], times[1], times[2], send_s)
    busy = [sum(block.end_s - block.start_s for block in found if block.stage == stage) for stage in range(layout.pp)]
    most = max(range(layout.pp), key=busy.__getitem__)
    whole_passes = [PassCost.of_step(*costs, layout.micro) for costs in zip(forward, backward, last, strict=True)]
    memory = tuple(_memory(pieces[stage :: layout.pp], stage, layout) for stage in range(layout.pp))
    machine = machine_of(of_ranks)
    step_s = max(block.end_s for block in found)
    idle_j = machine.static_watts["gpu0"] * sum(step_s - own for own in busy)
    return TrainingStep(
        layout, step_s, busy[most], sum(each.waiting_s for each in whole_passes[most :: layout.pp]), memory,
        machine.devices["gpu0"].model.memory_bytes, tuple(found),
        layout.stage_ranks * (sum(each.joules for each in whole_passes) + idle_j),
    )  # fmt: skip


class PassCost(NamedTuple):
    """Seconds of a pass of one rank, those of them that wait for exchanges, and joules."""

    seconds: float
    waiting_s: float
    joules: float

    @classmethod
    def of_step(cls, forward: PassCost, backward: PassCost, last: PassCost, micro: int) -> PassCost:
        """All passes of a piece in a step of so many micro-batches."""
        return cls(*(f * micro + b * (micro - 1) + own for f, b, own in zip(forward, backward, last, strict=True)))


class _Timer:
    """Times passes on one rank; those of equal ops once."""

    def __init__(self, system: System, layout: Layout, level: int, stack: str) -> None:
        alone = one_stage(layout)
        self._policy, rank = laid_out(policy_of("resident"), system, alone)
        roomy = {name: override_part(part, {"memory.capacity": AMPLE}) if name == "gpu0" else part
                 for name, part in rank.devices.items()}  # fmt: skip
        self._system, self._level, self._stack = replace(rank, devices=roomy), level, stack
        self._known: dict[tuple[Any, ...], PassCost] = {}

    def cost(self, trace: Trace) -> PassCost:
        """What a pass takes."""
        if not trace.ops:
            return PassCost(0.0, 0.0, 0.0)
        key = tuple(map(_alike(trace.ops), trace.ops))
        if key not in self._known:
            result = simulate(trace, self._system, self._policy, level=self._level, stack=self._stack, keep="summary")
            computed = sum(seconds for bound, seconds in result.seconds_by_bound.items() if bound not in WAITS)
            waiting = max(0.0, result.latency_s - computed)
            self._known[key] = PassCost(result.latency_s, waiting, result.energy_j)
        return self._known[key]


def _alike(ops: Sequence[Op]) -> Any:
    """What tells an op of a pass from another: its cost, and the places of what it waits for."""
    place = {op.name: i for i, op in enumerate(ops)}
    return lambda op: (op.signature, tuple(place[op.name] - place[dep] for dep in op.deps))


def _send_s(system: System, layout: Layout, size: int) -> float:
    """Seconds to send activations of one micro-batch to the next stage."""
    if layout.pp == 1:
        return 0.0
    op = collective("send_recv", max(1, size), layout.pp, group="pp", name="send")
    return span_seconds(op, machine_of(system), "gpu0")
