# SPDX-License-Identifier: Apache-2.0
"""Physics of a GPU that all classes of kernels share: memory, cache, clocks, launches.

Whatever belongs to a kernel (thread blocks, passes, operations per element) is a parameter of the
kernel library, so that a library's numbers carry over to another card of the same architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import array_of

if TYPE_CHECKING:
    from simsparse.config.parts.gpu import GpuPart

Floats = NDArray[np.float64]

LANES = 128
"""Operations per cycle of a streaming multiprocessor (SM): four schedulers of 32 lanes. Source: Hopper whitepaper."""
THREADS = 2048
"""Threads that an SM holds at a time. Source: CUDA C++ Programming Guide, compute capability 9.0."""


@dataclass(frozen=True)
class Card:
    """A card in SI units.

    ``launch_s``: from one empty kernel to the next in a replayed graph. ``read_share`` and
    ``mixed_share``: share of the memory's peak that long reads reach, and reads and writes in equal
    parts. ``copy_bytes_per_s``: bytes that copy engines read and write. ``memory_latency_s``: what a
    kernel takes longer when its data lies in memory instead of L2. ``l2_kept`` and ``l2_lost``: share
    of the L2 that a loop over buffers may touch and still find everything in it, and from which it
    finds nothing. ``rivals``: how often as much as an operator touches passes through the cache before
    the operator's data is used again, its own turn included. ``planned_sms``: SMs for which the library lays out
    its grids, those of the card as its file states it, whatever overrides make of them; 0: its own.
    """

    sms: int
    clock_hz: float
    launch_s: float
    memory_bytes_per_s: float
    read_share: float
    mixed_share: float
    copy_bytes_per_s: float
    memory_latency_s: float
    l2_bytes: float
    l2_bytes_per_s: float
    l2_kept: float
    l2_lost: float
    rivals: float
    planned_sms: int = 0

    @classmethod
    def of(cls, part: GpuPart, rivals: float | None = None) -> Self:
        """The card that a part describes; ``rivals`` replaces the part's own number."""
        memory, l2 = part.memory, part.l2
        return cls(
            part.compute.sms.whole, part.compute.clock.si, part.launch.graph.si, memory.bandwidth.si,
            memory.efficiency.si, memory.mixed.si, memory.copied.si * memory.bandwidth.si, memory.latency.si,
            l2.capacity.si, l2.bandwidth.si, l2.kept.si, l2.lost.si, l2.rivals.si if rivals is None else rivals,
            part.stated.compute.sms.whole,
        )  # fmt: skip

    @property
    def grid_sms(self) -> int:
        """SMs for which the library lays out its grids."""
        return self.planned_sms or self.sms

    @property
    def cycles_per_s(self) -> float:
        """Cycles per second of all SMs together."""
        return self.sms * self.clock_hz

    @property
    def operations_per_s(self) -> float:
        """Lane operations per second of all SMs together."""
        return LANES * self.cycles_per_s


@dataclass(frozen=True)
class KernelTimes:
    """Seconds of kernels, and of what they consist of; compute and memory overlap."""

    latency_s: Floats
    compute_s: Floats
    memory_s: Floats
    launch_s: Floats

    @classmethod
    def overlapped(cls, launch: Floats, compute: Floats, memory: Floats, power: float) -> Self:
        """Kernels that compute while they read and write: a launch, then both, joined by ``together``."""
        latency = launch + together(power, compute, memory)
        same = (part if part.shape == latency.shape else np.broadcast_to(part, latency.shape)
                for part in map(array_of, (compute, memory, launch)))  # fmt: skip
        return cls(latency, *same)


def together(power: float, *seconds: Floats | float) -> Floats:
    """Work that overlaps: at least the longest, up to the sum where ``power`` is 1."""
    longest = reduce(np.maximum, seconds)
    scale = np.where(longest > 0, longest, 1.0)
    return array_of(scale * sum((part / scale) ** power for part in seconds) ** (1 / power))


def cached_share(card: Card, touched: Floats) -> Floats:
    """Share of an operator's data that lies in L2 when it touches ``touched`` bytes in all."""
    return _cached_share(touched, card.rivals, card.l2_bytes, card.l2_lost, card.l2_kept)


@by_identity(maxsize=64)
def _cached_share(touched: Floats, rivals: float, l2_bytes: float, lost: float, kept: float) -> Floats:
    """The same array for the same array of bytes and the same cache, so that what is computed of it is remembered."""
    filled = touched * rivals / l2_bytes
    return np.clip((lost - filled) / (lost - kept), 0.0, 1.0)


def fresh_share(l2_bytes: float, written: Floats) -> Floats:
    """Share of what the kernel before wrote that is still in L2, when that kernel read as much as it wrote."""
    filled = written / l2_bytes
    return np.clip((FRESH[1] - filled) / (FRESH[1] - FRESH[0]), 0.0, 1.0)


FRESH = (1 / 3, 0.55)
"""Shares of the L2 up to which a kernel finds all of what the one before wrote, and from which it finds nothing.
Source: chains of elementwise kernels and means on an H200."""


def memory_seconds(card: Card, read: Floats, write: Floats, cached: Floats, fresh: Floats | float = 0.0) -> Floats:
    """Seconds to move ``read`` and ``write`` bytes, ``cached`` of them from L2.

    ``fresh``: bytes read that lie in L2 whatever ``cached`` is. Writes lower the memory's efficiency, by
    the square of their share up to one half. Only reads wait for the memory.
    """
    moved = read + write
    writes = np.minimum(write / np.maximum(moved, 1.0), 0.5)
    efficiency = card.read_share - 4 * (card.read_share - card.mixed_share) * writes**2
    fetched = (read - fresh) * (1.0 - cached)
    away = fetched + write * (1.0 - cached)
    wait = card.memory_latency_s * fetched / np.maximum(read, 1.0)
    return array_of((moved - away) / card.l2_bytes_per_s + away / (efficiency * card.memory_bytes_per_s) + wait)
