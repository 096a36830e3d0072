# SPDX-License-Identifier: Apache-2.0
"""What the simulator process is told, and what it answers: nothing here needs the models."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.rtl.stream import Observed, Play
from simsparse.rtl.vectors import Channel

CUT_OFF = (1, 2, 3, 5, 8, 13, 21, 34, 55)
"""Cycles of the random stream before a reset."""


@dataclass(frozen=True)
class Asked:
    """The streams of one block, and a random and a directed play."""

    channels_in: tuple[Channel, ...]
    channels_out: tuple[Channel, ...]
    random: Play
    directed: Play
    tied: tuple[str, ...] = ()
    """Inputs outside of the streams, all low."""


@dataclass(frozen=True)
class Answer:
    """What was seen of the random play, and of the directed one: first alone, then after every reset in the middle."""

    random: Observed
    directed: tuple[Observed, ...]
