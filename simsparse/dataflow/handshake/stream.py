# SPDX-License-Identifier: Apache-2.0
"""Cycle core of ready/valid pipelines: when each beat is taken and given, under any stalls on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simsparse.dataflow.base import Ints, Mask
from simsparse.errors import SpecError


@dataclass(frozen=True)
class Stage:
    """A place in a pipeline that holds up to ``depth`` beats, each for at least one cycle.

    Full, it takes a beat in the cycle in which it gives one; when its ready is ``registered``, a cycle later.
    """

    depth: int = 1
    registered: bool = False

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise SpecError(f"depth {self.depth}; expected at least 1", key="stage")


def stream_cycles(offers: Mask, accepts: Mask, emits: Mask, stages: tuple[Stage, ...]) -> tuple[Ints, Ints]:
    """Cycles of the handshakes at both ends of ``stages``: (of every beat in, of every beat out).

    The source starts to offer its next beat in the first cycle c after the handshake of the one before with
    ``offers[c % len(offers)]``, and stays until it is taken; the sink is ready in cycle c when
    ``accepts[c % len(accepts)]``. A beat of which ``emits`` is false (a sum goes on, a group is not full) ends in
    the last stage, in the cycle it enters, and takes no place there. Raises SpecError when a side never moves.
    Source: derived from the handshake; checked against rtl/ cycle by cycle.
    """
    if not (offers.any() and accepts.any() and stages):
        raise SpecError("a stream needs stages, and a source and a sink that move sometimes", key="stream")
    depths = np.array([stage.depth for stage in stages], np.int64)
    delays = np.array([stage.registered for stage in stages], np.int64)
    taken, given = _handshakes(offers, accepts, emits, depths, delays)
    return taken, given


@njit(cache=True)  # type: ignore[untyped-decorator]
def _handshakes(offers: Mask, accepts: Mask, emits: Mask, depths: Ints, delays: Ints) -> tuple[Ints, Ints]:
    """Beat by beat: a beat enters a stage behind the one before it, when the one ``depth`` before has left."""
    beats, stages = emits.size, depths.size
    entered = np.full((stages + 1, beats), -1, np.int64)
    given = np.empty(beats, np.int64)
    outs = 0
    for beat in range(beats):
        for stage in range(stages):
            if stage == 0:
                cycle = next_move(offers, entered[0, beat - 1] + 1 if beat else 0)
            else:
                cycle = entered[stage - 1, beat] + 1
            if beat:
                cycle = max(cycle, entered[stage, beat - 1] + 1)
            depth = depths[stage]
            if stage < stages - 1:
                if beat >= depth:
                    cycle = max(cycle, entered[stage + 1, beat - depth] + delays[stage])
            elif emits[beat] and outs >= depth:
                cycle = max(cycle, given[outs - depth] + delays[stage])
            entered[stage, beat] = cycle
        if emits[beat]:
            earliest = entered[stages - 1, beat] + 1
            given[outs] = next_move(accepts, max(earliest, given[outs - 1] + 1) if outs else earliest)
            outs += 1
    return entered[0].copy(), given[:outs].copy()


@njit(cache=True)  # type: ignore[untyped-decorator]
def next_move(pattern: NDArray[np.bool_], cycle: int) -> int:
    """First cycle from ``cycle`` on in which the repeating ``pattern`` is set."""
    while not pattern[cycle % pattern.size]:
        cycle += 1
    return cycle


@njit(cache=True)  # type: ignore[untyped-decorator]
def through_cycles(offers: Mask, accepts: Mask, beats: int) -> Ints:
    """Cycles in which ``beats`` go through a wire: both sides move, as in stream_cycles, and nothing holds them."""
    at = np.empty(beats, np.int64)
    cycle = -1
    for beat in range(beats):
        cycle = next_move(accepts, next_move(offers, cycle + 1))
        at[beat] = cycle
    return at
