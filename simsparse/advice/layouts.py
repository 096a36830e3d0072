# SPDX-License-Identifier: Apache-2.0
"""How should this model be laid out on these GPUs? Every layout that can be, with what it takes and what bounds it.

A trace of phase train is a training step of a fixed number of micro-batches, whatever the layout; any other trace is a
pass per replica, with as many passes under way as there are pipeline stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

from simsparse._simulate import simulate
from simsparse._training_step import training_memory, training_step
from simsparse.config.hardware import System, system_of
from simsparse.config.layout import Layout
from simsparse.core import Keep, OpKind, Role, Trace
from simsparse.errors import MappingError, SimsparseError, SpecError
from simsparse.lowering.machine import machine_of
from simsparse.lowering.parallel.shares import TRAIN
from simsparse.lowering.trace_index import layer_of

OnLayout = Callable[[int, int, int], None]


class LayoutObjective(StrEnum):
    """What layouts are ranked by."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    MEMORY = "memory"
    ENERGY = "energy"


class LayoutTime(NamedTuple):
    """A layout: seconds of a step or pass, passes of the trace per second over all ranks, bytes of the fullest rank.

    ``exchange_s``: seconds in which the busiest rank waits for exchanges, ``bubble_s``: in which it does nothing.
    ``joules``: of one pass of the trace, on all ranks. ``refused`` says why there is no answer, else it is empty.
    """

    layout: str
    seconds: float | None = None
    passes_per_s: float = 0.0
    memory_bytes: int = 0
    exchange_s: float = 0.0
    bubble_s: float = 0.0
    joules: float = 0.0
    bound: str = ""
    refused: str = ""


def rank_layouts(
    trace: Trace, system: System | str, gpus: int | None = None, batches: int | None = None, level: int = 0,
    objective: str = LayoutObjective.THROUGHPUT, progress: OnLayout | None = None,
) -> list[LayoutTime]:  # fmt: skip
    """Layouts of ``trace`` on ``gpus`` of a system (all of them by default), best first, the refused ones last.

    ``batches``: of a training step, how often it runs the trace's batch over all replicas (a micro-batch each); as
    often as there are GPUs by default. Raises SpecError on an unknown objective, and on more GPUs than the system has.
    """
    if objective not in list(LayoutObjective):
        raise SpecError(f"{objective!r} is no objective; allowed: {', '.join(LayoutObjective)}", key="objective")
    whole = system_of(system)
    board = sum(whole.role(name) is Role.PROCESSOR for name in whole.devices)
    most = board * (whole.cluster.nodes if whole.cluster else 1)
    ranks = most if gpus is None else gpus
    if not 1 <= ranks <= most:
        raise SpecError(f"{ranks} GPUs; {whole.name} has {most}", key="gpus")
    every = list(layouts(trace, ranks, board, batches or ranks))
    found: list[LayoutTime] = []
    for layout in every:
        found.append(_answer(trace, whole, layout, level))
        if progress is not None:
            progress(len(found), len(every), sum(bool(each.refused) for each in found))
    return sorted(found, key=_order(objective))


def _order(objective: str) -> Callable[[LayoutTime], tuple[bool, float]]:
    keys: dict[str, Callable[[LayoutTime], float]] = {
        LayoutObjective.LATENCY: lambda each: each.seconds or 0.0,
        LayoutObjective.THROUGHPUT: lambda each: -each.passes_per_s,
        LayoutObjective.MEMORY: lambda each: each.memory_bytes,
        LayoutObjective.ENERGY: lambda each: each.joules,
    }  # fmt: skip
    return lambda each: (bool(each.refused), keys[objective](each))


def layouts(trace: Trace, ranks: int, board: int, batches: int) -> Iterator[Layout]:
    """Layouts over all of ``ranks`` GPUs: powers of two, tensor-parallel groups within a board, experts dealt out."""
    training = trace.meta.get("phase") == TRAIN
    layers = len({layer for op in trace.ops if (layer := layer_of(op)) is not None})
    experts = max((op.dims["experts"] for op in trace.ops if op.kind == OpKind.MOE_FFN), default=1)
    for tp in _powers(min(board, ranks)):
        for pp in _powers(min(ranks // tp, max(1, layers))):
            dp, rest = divmod(ranks, tp * pp)
            micro = batches // max(1, dp)
            if rest or (training and (not micro or batches % dp)):
                continue
            for ep in _powers(min(experts, tp * dp)):
                if (tp * dp) % ep == 0 and experts % ep == 0:
                    plain = Layout(tp=tp, pp=pp, dp=dp, ep=ep, micro=micro if training else 1)
                    yield from _training(plain) if training else (plain,)


def _powers(most: int) -> Iterator[int]:
    value = 1
    while value <= most:
        yield value
        value *= 2


def _training(plain: Layout) -> Iterator[Layout]:
    said = plain.said
    for zero in (0, 1, 3) if plain.dp > 1 else (0,):
        for recompute in (False, True):
            yield Layout(**{**said, "zero": zero, "recompute": recompute})


def _answer(trace: Trace, system: System, layout: Layout, level: int) -> LayoutTime:
    try:
        return (_step if trace.meta.get("phase") == TRAIN else _pass)(trace, system, layout, level)
    except SpecError:
        raise
    except SimsparseError as error:
        return LayoutTime(_text(layout), refused=error.message)


def _text(layout: Layout) -> str:
    return str(layout) or "one GPU"


def _step(trace: Trace, system: System, layout: Layout, level: int) -> LayoutTime:
    need = max(sum(own.values()) for own in training_memory(trace, layout))
    capacity = _capacity(system)
    if capacity is not None and need > capacity:
        raise MappingError(f"needs {need / 1e9:.1f} GB on a rank, which has {capacity / 1e9:.1f} GB", key="parallel")
    step = training_step(trace, system, layout, level)
    return LayoutTime(_text(layout), step.step_s, step.batches / step.step_s, need, step.exchange_s, step.bubble_s,
                      step.energy_j / step.batches, step.bound)  # fmt: skip


def _pass(trace: Trace, system: System, layout: Layout, level: int) -> LayoutTime:
    result = simulate(trace, system, parallel=layout, level=level, keep=Keep.SUMMARY)
    memory = max(sum(own.values()) for own in result.memory.values())
    moved = result.seconds_by_bound.get("transfer", 0.0)
    joules = result.energy_j * layout.stage_ranks / layout.dp
    return LayoutTime(_text(layout), result.latency_s, layout.dp * layout.pp / result.latency_s, memory, moved, 0.0,
                      joules, result.bound)  # fmt: skip


def _capacity(system: System) -> int | None:
    machine = machine_of(system)
    return machine.devices[machine.processors[0]].model.memory_bytes
