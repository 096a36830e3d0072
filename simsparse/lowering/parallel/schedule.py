# SPDX-License-Identifier: Apache-2.0
"""When each stage of a pipeline runs which pass of which micro-batch.

1F1B: as many forward passes as there are later stages, then a forward and a backward pass in turn, then the rest
(Narayanan et al., PipeDream-2BW, 2021). Interleaved: each stage has several pieces of the model and takes them in turn,
in groups of as many micro-batches as there are stages (Narayanan et al., Megatron-LM, SC 2021). GPipe: all forward
passes, then all backward passes (Huang et al., 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simsparse.config.layout import Layout, Schedule
from simsparse.errors import MappingError


class PassSpan(NamedTuple):
    """One pass of one micro-batch through one piece, in seconds."""

    stage: int
    piece: int
    micro: int
    backward: bool
    start_s: float
    end_s: float


StagePass = tuple[int, int, bool]
"""Piece, micro-batch, and whether it is the backward pass."""


def orders(layout: Layout) -> list[list[StagePass]]:
    """The passes of each stage in order. Raises MappingError when an interleaved schedule has no whole groups."""
    stages, micro, chunks = layout.pp, layout.micro, layout.chunks
    if layout.schedule == Schedule.INTERLEAVED:
        if micro % stages:
            words = f"an interleaved schedule takes micro-batches in groups of pp {stages}; micro is {micro}"
            raise MappingError(words, key="parallel.micro")
        return [_interleaved(stage, stages, micro, chunks) for stage in range(stages)]
    first = [micro if layout.schedule == Schedule.GPIPE else min(micro, stages - stage - 1) for stage in range(stages)]
    forward = [[(stage, k, False) for k in range(micro)] for stage in range(stages)]
    backward = [[(stage, k, True) for k in range(micro)] for stage in range(stages)]
    return [_in_turn(forward[stage], backward[stage], first[stage]) for stage in range(stages)]


def _interleaved(stage: int, stages: int, micro: int, chunks: int) -> list[StagePass]:
    group = stages * chunks

    def passed(k: int, backward: bool) -> StagePass:
        chunk = k % group // stages
        chunk = chunks - 1 - chunk if backward else chunk
        return chunk * stages + stage, k // group * stages + k % stages, backward

    total = micro * chunks
    warm = min(total, 2 * (stages - stage - 1) + (chunks - 1) * stages)
    return _in_turn([passed(k, False) for k in range(total)], [passed(k, True) for k in range(total)], warm)


def _in_turn(forward: Sequence[StagePass], backward: Sequence[StagePass], first: int) -> list[StagePass]:
    found = list(forward[:first])
    for i, each in enumerate(forward[first:]):
        found += [each, backward[i]]
    return [*found, *backward[len(forward) - first :]]


def blocks(
    layout: Layout, forward_s: Sequence[float], backward_s: Sequence[float], last_s: Sequence[float], send_s: float
) -> list[PassSpan]:
    """Every pass with its times: it starts when its stage is free and its input there, ``send_s`` after it was made.

    ``forward_s``, ``backward_s``: seconds of each piece; ``last_s``: of the backward pass of the last micro-batch,
    which has the synchronization beside it. Raises MappingError on a schedule that waits for itself.
    """
    pieces, waiting = layout.pp * layout.chunks, [list(reversed(each)) for each in orders(layout)]
    ends: dict[StagePass, float] = {}
    free, found = [0.0] * layout.pp, list[PassSpan]()
    while any(waiting):
        moved = False
        for stage, own in enumerate(waiting):
            while own and (ready := _ready(own[-1], ends, pieces, send_s)) is not None:
                piece, micro, backward = own.pop()
                seconds = forward_s[piece]
                if backward:
                    seconds = last_s[piece] if micro == layout.micro - 1 else backward_s[piece]
                start = max(free[stage], ready)
                free[stage] = ends[piece, micro, backward] = start + seconds
                found.append(PassSpan(stage, piece, micro, backward, start, free[stage]))
                moved = True
        if not moved:
            raise MappingError("the schedule waits for itself", key="parallel.schedule")
    return found


def _ready(each: StagePass, ends: dict[StagePass, float], pieces: int, send_s: float) -> float | None:
    """When the input of a pass is there; None when what makes it has not run."""
    piece, micro, backward = each
    if not backward:
        return 0.0 if piece == 0 else _after(ends.get((piece - 1, micro, False)), send_s)
    if piece == pieces - 1:
        return ends.get((piece, micro, False))
    return _after(ends.get((piece + 1, micro, True)), send_s)


def _after(end: float | None, send_s: float) -> float | None:
    return None if end is None else end + send_s
