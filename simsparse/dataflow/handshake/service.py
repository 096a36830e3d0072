# SPDX-License-Identifier: Apache-2.0
"""Cycle core of a block whose latency depends on the data.

The block takes a beat, is busy for its ``work`` cycles, then gives its ``gives`` beats out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, Mask
from simsparse.dataflow.handshake.stream import next_move
from simsparse.errors import SpecError


@dataclass(frozen=True)
class Service:
    """What each beat asks for: ``work`` cycles in service, then ``gives`` beats out, one a cycle; never neither.

    The place of a beat in service is free for the next one from its last cycle of service on; when ``early``, from
    its last cycle of work on, while its beats still go out.
    """

    work: Ints
    gives: Ints
    early: bool = False

    def __post_init__(self) -> None:
        if self.work.shape != self.gives.shape or min(self.work.min(), self.gives.min()) < 0:
            raise SpecError("work and gives differ in length, or a count is negative", key="service")
        if not (self.work if self.early else self.work + self.gives).all():
            raise SpecError("a beat that takes no cycle", key="service")


def service_cycles(offers: Mask, accepts: Mask, service: Service) -> tuple[Ints, Ints]:
    """Cycles of the handshakes at both ends of a server: (of every beat in, of every beat out).

    A beat waits in a register, is served from the cycle after it was taken on, and gives into an output register,
    which takes a beat in the cycle in which it loses one. Both sides move as in stream_cycles. Raises SpecError when
    a side never moves. Source: derived from the handshake; checked against rtl/ cycle by cycle.
    """
    if not (offers.any() and accepts.any()):
        raise SpecError("a server needs a source and a sink that move sometimes", key="service")
    taken, given = _serve(offers, accepts, service.work, service.gives, service.early)
    return taken, given


@njit(cache=True)  # type: ignore[untyped-decorator]
def _serve(offers: Mask, accepts: Mask, work: Ints, gives: Ints, early: bool) -> tuple[Ints, Ints]:
    taken, given = np.empty(work.size, np.int64), np.empty(gives.sum(), np.int64)
    outs, place_free, server_free = 0, 0, 0
    for beat in range(work.size):
        offered = next_move(offers, taken[beat - 1] + 1 if beat else 0)
        taken[beat] = max(offered, place_free)
        now = max(taken[beat] + 1, server_free) + work[beat]
        place_free = now - 1
        for _ in range(gives[beat]):
            if outs:
                now = max(now, given[outs - 1])
            given[outs] = next_move(accepts, now + 1)
            outs += 1
            now += 1
        server_free = now
        if not early:
            place_free = now - 1
    return taken, given
