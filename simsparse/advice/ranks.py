# SPDX-License-Identifier: Apache-2.0
"""Every rank of a training step: where it stands, what its memory holds, and what it sends over which links.

Ranks of a stage do the same, of experts what the rank with most rows does; one of each stage is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from simsparse._training_step import training_memory
from simsparse.config.hardware import System, system_of
from simsparse.config.layout import Layout
from simsparse.core import Op, OpKind, Trace
from simsparse.lowering.collectives.spans import phases
from simsparse.lowering.machine import Machine, machine_of
from simsparse.lowering.parallel import rank_system, rank_trace
from simsparse.lowering.parallel.pieces import (
    Piece,
    backward_trace,
    forward_trace,
    one_stage,
    pieces_of,
    whole_step,
)
from simsparse.lowering.parallel.rank_system import SPANS, spans
from simsparse.lowering.parallel.shares import TRAIN


class RankRow(NamedTuple):
    """One rank: its places along the ways of splitting, its memory by purpose, and bytes that it sends in a step.

    ``traffic`` is by collective and by ``board`` or ``network``, such as ``all_to_all ep over network``; a stage's
    results and gradients go to its neighbours as ``send pp``.
    """

    rank: int
    places: Mapping[str, int]
    memory: Mapping[str, int]
    traffic: Mapping[str, int]

    def flat(self) -> dict[str, Any]:
        """The row as one mapping, for a table."""
        return {"rank": self.rank, **self.places, **{f"{name}, bytes": size for name, size in self.memory.items()},
                **{f"{name}, bytes": size for name, size in self.traffic.items()}}  # fmt: skip


def rank_rows(trace: Trace, system: System | str, parallel: str | Mapping[str, Any] | Layout) -> list[RankRow]:
    """A row per rank, in order of rank. Raises MappingError when trace or system can't be laid out so."""
    layout = Layout.parse(parallel)
    pieces = pieces_of(rank_trace(trace, layout), layout.pp * layout.chunks)
    machine = machine_of(rank_system(system_of(system), one_stage(layout)))
    stages = [pieces[stage :: layout.pp] for stage in range(layout.pp)]
    memory = training_memory(trace, layout)
    traffic = [{**_traffic(own, layout, machine), **_sent(stages, stage, layout)} for stage, own in enumerate(stages)]
    return [RankRow(rank, _places(rank, layout), memory[stage], traffic[stage])
            for rank in range(layout.ranks) for stage in (rank // layout.stage_ranks,)]  # fmt: skip


def exported_rank(trace: Trace, parallel: str | Mapping[str, Any] | Layout) -> Trace:
    """What rank 0 runs, of all stages, with the ranks of its groups, to be written as a Chakra trace.

    Raises MappingError when an op can't be divided so.
    """
    layout = Layout.parse(parallel)
    own = rank_trace(trace, layout)
    own = whole_step(own, layout) if trace.meta.get("phase") == TRAIN else own
    groups = {name: [i * span.stride for i in range(span.ranks)] for name, span in spans(layout).items()}
    return replace(own, meta={**own.meta, "groups": groups})


def _places(rank: int, layout: Layout) -> dict[str, int]:
    found, stride = dict[str, int](), 1
    for name in SPANS:
        found[name] = rank // stride % getattr(layout, name)
        stride *= getattr(layout, name)
    return found


def _sent(stages: list[list[Piece]], stage: int, layout: Layout) -> dict[str, int]:
    """Bytes to the next stage, results, and to the one before, gradients of its results."""
    size = stages[stage][-1].output_bytes if stage < layout.pp - 1 else 0
    size += stages[stage - 1][-1].output_bytes if stage else 0
    return {"send pp": layout.micro * size} if size else {}


def _traffic(own: list[Piece], layout: Layout, machine: Machine) -> dict[str, int]:
    """Bytes of collectives that a rank of a stage sends in a step, over all micro-batches."""
    found: dict[str, int] = {}
    for op, times in _collectives(own, layout):
        for phase in phases(op, machine, machine.processors[0]):
            for move in phase:
                over = "board" if move.level.domain.device.startswith("board") else "network"
                name = f"{op.label} {op.group[0]} over {over}"
                found[name] = found.get(name, 0) + times * move.bytes
    return found


def _collectives(own: list[Piece], layout: Layout) -> Iterator[tuple[Op, int]]:
    """The collectives of a stage's passes, with how often a step runs them."""
    for piece in own:
        passes = ((forward_trace(piece, layout), layout.micro), (backward_trace(piece, layout, last=False),
                  layout.micro - 1), (backward_trace(piece, layout, last=True), 1))  # fmt: skip
        for trace, times in passes:
            if times:
                yield from ((op, times) for op in trace.ops if op.kind == OpKind.COLLECTIVE)
