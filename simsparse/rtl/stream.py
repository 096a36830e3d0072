# SPDX-License-Identifier: Apache-2.0
"""What goes into a block, and what was seen of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simsparse.rtl.vectors import Beats, Channel

HandshakeState = tuple[int, int, int, int]


@dataclass(frozen=True)
class DrivenStream:
    """Input beats, and in which cycles each side moves (repeating); see stream_cycles.

    ``count`` is of the main stream; ``beats`` holds the side streams' too.
    """

    beats: Beats
    count: int
    offers: NDArray[np.bool_]
    accepts: NDArray[np.bool_]
    side_offers: tuple[NDArray[np.bool_], ...] = ()
    side_accepts: tuple[NDArray[np.bool_], ...] = ()

    def count_of(self, channel: Channel) -> int:
        """Beats of a stream in."""
        return len(self.beats[channel.fields[0].name])


@dataclass(frozen=True)
class Play:
    """A stream, the beats of every stream out that end it, and the cycles after which it ends whatever came out."""

    stream: DrivenStream
    outputs: tuple[int, ...]
    longest: int


@dataclass(frozen=True)
class Observed:
    """What a block did: values, cycles of the handshakes, and how often each handshake state was seen.

    ``faults`` counts beats that changed or vanished while the sink was not ready. ``states`` holds
    (valid in, ready out, valid out, ready in), ``side_states`` (valid, ready) of each side stream, in and out.
    """

    outputs: Beats
    taken: NDArray[np.int64]
    given: NDArray[np.int64]
    cycles: int
    faults: int
    states: frozenset[HandshakeState]
    side_taken: tuple[NDArray[np.int64], ...] = ()
    side_given: tuple[NDArray[np.int64], ...] = ()
    side_states: tuple[frozenset[tuple[int, int]], ...] = ()
