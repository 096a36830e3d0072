# SPDX-License-Identifier: Apache-2.0
"""Work that streams a memory while copies read or write it.

Requests of a link queue at the memory before those of the cores, which have few of them under way: measured copies
keep their rate while a host streams beside them, and the host slows down in proportion to what they take, with four
threads as with sixteen. So of the channels' rate copies take what they move, and work goes on at what is left of its
pace. Only the time that work streams is longer; arithmetic beside it hides some of that.

Left out: which direction copies go (writes to the memory slow a host a little more), banks and rows, NUMA.
"""

from __future__ import annotations

from typing import NamedTuple

PACE = 1 << 20
"""Progress per femtosecond of work with nothing beside it."""


class Streaming(NamedTuple):
    """``stream_fs`` of the duration of work stream a memory at ``bytes_per_s``; ``hidden_fs`` more would hide."""

    stream_fs: int
    hidden_fs: int
    bytes_per_s: int


def pace_beside(duration_fs: int, work: Streaming, moved_per_s: int, channels_per_s: int) -> int:
    """Progress per femtosecond of work beside copies of ``moved_per_s``, at most PACE and at least half of it."""
    free = max(0.5, 1 - moved_per_s / channels_per_s)
    longer = max(0, round(work.stream_fs * (1 / free - 1)) - work.hidden_fs)
    return max(1, duration_fs * PACE // (duration_fs + longer)) if longer else PACE


def left_for_copies(channels_per_s: int, streamed_per_s: int) -> int:
    """Bytes per second that copies may take beside work that streams: half of the channels, or what it leaves."""
    return max(channels_per_s // 2, channels_per_s - streamed_per_s)
