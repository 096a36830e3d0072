# SPDX-License-Identifier: Apache-2.0
"""DRAM interface and scratchpads of a cycle core: transfers in program order, double buffers, traffic over time.

State lies in flat int64 arrays so that numba cores share it. Time is in ticks, a whole number of them a cycle and a
bit, so that no transfer is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints
from simsparse.errors import SpecError

INPUT, WEIGHT, OUTPUT = 0, 1, 2
CHANNEL, BIT_TICKS, CAPACITY, HEAD, COUNT, HELD, MOVED = range(7)
BLOCKS = 1 << 14
"""Blocks that a buffer keeps track of at once; a load beyond waits for the oldest to be used up."""
BINS = 512


@dataclass(frozen=True)
class Interface:
    """DRAM bits that cross in a cycle: one channel for all (``shared``), or one each for input, weight and output."""

    shared: float | None = None
    input: float | None = None
    weight: float | None = None
    output: float | None = None

    def ticks(self) -> tuple[int, list[int], list[int]]:
        """(ticks a cycle, ticks a bit of each operand, channel of each operand). Raises SpecError."""
        own = (self.input, self.weight, self.output)
        rates = (self.shared,) * 3 if self.shared is not None else own
        if any(rate is None or rate <= 0 for rate in rates):
            raise SpecError(f"{self}; expected a positive shared rate, or three", key="interface")
        exact = [Fraction(rate).limit_denominator(1000) for rate in rates if rate is not None]
        cycle = lcm(*(rate.numerator for rate in exact))
        if min(rate.numerator for rate in exact) == 0 or cycle > 1 << 31:
            raise SpecError(f"rates {rates} are too small or too odd; expected a few digits", key="interface")
        bits = [cycle * rate.denominator // rate.numerator for rate in exact]
        return cycle, bits, [0, 0, 0] if self.shared is not None else [0, 1, 2]


def dma_state(interface: Interface, capacities: tuple[int, int, int]) -> tuple[int, Any]:
    """(ticks a cycle, state of the DMA engine) with empty buffers of ``capacities`` bits."""
    cycle, bits, channels = interface.ticks()
    ports = np.zeros((3, 7), np.int64)
    ports[:, CHANNEL], ports[:, BIT_TICKS], ports[:, CAPACITY] = channels, bits, capacities
    free = np.zeros(3, np.int64)
    blocks = np.zeros((3, BLOCKS, 2), np.int64)
    return cycle, (ports, free, blocks, np.zeros((3, BINS), np.int64), np.full(1, cycle, np.int64))


@njit(cache=True)  # type: ignore[untyped-decorator]
def transfer(state: Any, operand: int, bits: int, earliest: int) -> int:
    """Move ``bits`` behind what the channel does already, not before tick ``earliest``; returns the last tick."""
    ports, free = state[0], state[1]
    channel = ports[operand, CHANNEL]
    start = max(free[channel], earliest)
    end = start + bits * ports[operand, BIT_TICKS]
    free[channel] = end
    ports[operand, MOVED] += bits
    _record(state[3], state[4], operand, start, end)
    return int(end)


@njit(cache=True)  # type: ignore[untyped-decorator]
def fetch(state: Any, operand: int, bits: int, earliest: int) -> int:
    """Load a block as soon as older ones that were used up leave room for it; returns the tick it is there.

    Its release is set by ``release`` once the array has used it.
    """
    ports, blocks = state[0], state[2]
    port, ring = ports[operand], blocks[operand]
    while port[COUNT] > 0 and (port[HELD] + bits > port[CAPACITY] or port[COUNT] == BLOCKS):
        earliest = max(earliest, ring[port[HEAD], 1])
        port[HELD] -= ring[port[HEAD], 0]
        port[HEAD], port[COUNT] = (port[HEAD] + 1) % BLOCKS, port[COUNT] - 1
    ring[(port[HEAD] + port[COUNT]) % BLOCKS, 0] = bits
    port[HELD], port[COUNT] = port[HELD] + bits, port[COUNT] + 1
    return int(transfer(state, operand, bits, earliest))


@njit(cache=True)  # type: ignore[untyped-decorator]
def release(state: Any, operand: int, tick: int) -> None:
    """The block loaded last has been used up at ``tick``."""
    port = state[0][operand]
    state[2][operand, (port[HEAD] + port[COUNT] - 1) % BLOCKS, 1] = tick


@njit(cache=True)  # type: ignore[untyped-decorator]
def _record(bins: Ints, width: Ints, operand: int, start: int, end: int) -> None:
    """Add a transfer to the ticks that each bin's channel is busy; bins grow twice as wide when time runs over."""
    count = bins.shape[1]
    while end > count * width[0]:
        for other in range(bins.shape[0]):
            for i in range(count // 2):
                bins[other, i] = bins[other, 2 * i] + bins[other, 2 * i + 1]
            bins[other, count // 2 :] = 0
        width[0] *= 2
    while start < end:
        slot = start // width[0]
        stop = min(end, (slot + 1) * width[0])
        bins[operand, slot] += stop - start
        start = stop
