# SPDX-License-Identifier: Apache-2.0
"""Streams through one block under Verilator: their values, their cycles, their handshakes."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SimulationError
from simsparse.rtl.block import RtlBlock
from simsparse.rtl.build import bench
from simsparse.rtl.stream import DrivenStream, HandshakeState, Observed, Play
from simsparse.rtl.vectors import pack, unpack, words

_STATES: tuple[HandshakeState, ...] = tuple(product((0, 1), (0, 1), (0, 1), (0, 1)))


def run(
    block: RtlBlock, stream: DrivenStream, outputs: int, longest: int, side_outputs: tuple[int, ...] = ()
) -> Observed:
    """``stream`` through ``block``, until ``outputs`` beats came out or ``longest`` cycles have passed.

    ``side_outputs`` are the counts of the side streams out. Raises SimulationError when the simulator can't be built
    or fails.
    """
    return run_plays(block, [Play(stream, (outputs, *side_outputs), longest)])[0]


def run_plays(block: RtlBlock, plays: Sequence[Play]) -> list[Observed]:
    """``plays`` through ``block`` one after the other, a reset before each, whatever the one before left inside.

    Raises SimulationError when the simulator can't be built or fails.
    """
    told = np.array([len(plays)], np.uint32).tobytes() + b"".join(_told(block, play) for play in plays)
    done = subprocess.run([str(bench(block)), "+verilator+seed+1"], input=told, capture_output=True, check=False)
    if done.returncode:
        said = next(
            (line for line in done.stdout.split(b"\n") if b"Fatal" in line or b"rror" in line), done.stderr[-200:]
        )
        raise SimulationError(f"the simulator ended with {done.returncode}: {said[-200:]!r}", key=block.name)
    numbers = _Numbers(done.stdout)
    return [_read(block, numbers) for _ in plays]


def _told(block: RtlBlock, play: Play) -> bytes:
    """What the bench reads of ``play``."""
    stream, longest = play.stream, play.longest
    offers, accepts = (stream.offers, *stream.side_offers), (stream.accepts, *stream.side_accepts)
    head = [len(offers), len(accepts), longest]
    for channel, pattern in zip(block.channels_in, offers, strict=True):
        head += [stream.count_of(channel), words(channel.fields), pattern.size]
    for channel, pattern, count in zip(block.channels_out, accepts, play.outputs, strict=True):
        head += [count, words(channel.fields), pattern.size]
    parts = [np.array(head, np.uint32).tobytes()]
    for channel, pattern in zip(block.channels_in, offers, strict=True):
        parts.append(pack(channel.fields, stream.beats, stream.count_of(channel)).tobytes())
        parts.append(pattern.astype(np.uint8).tobytes())
    return b"".join([*parts, *(pattern.astype(np.uint8).tobytes() for pattern in accepts)])


def _read(block: RtlBlock, numbers: _Numbers) -> Observed:
    ins, outs = len(block.channels_in), len(block.channels_out)
    counts = numbers.next(ins + outs).tolist()
    cycles, faults = numbers.next(2).tolist()
    seen = numbers.next(16)
    sides = [
        frozenset(divmod(state, 2) for state, count in enumerate(numbers.next(4)) if count) for _ in range(ins + outs)
    ]
    at = [numbers.next(count) for count in counts]
    values: dict[str, NDArray[np.int64]] = {}
    for channel, count in zip(block.channels_out, counts[ins:], strict=True):
        values |= unpack(channel.fields, numbers.vectors(count, words(channel.fields)))
    return Observed(
        values, at[0], at[ins], cycles, faults,
        frozenset(state for state, count in zip(_STATES, seen, strict=True) if count),
        tuple(at[1:ins]), tuple(at[ins + 1 :]), (*sides[1:ins], *sides[ins + 1 :]),
    )  # fmt: skip


class _Numbers:
    """What the bench wrote, piece by piece."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.place = raw, 0

    def next(self, count: int) -> NDArray[np.int64]:
        """Numbers of 64 bits."""
        return self._piece(np.uint64, count).astype(np.int64)

    def vectors(self, count: int, width: int) -> NDArray[np.uint32]:
        """Vectors (count, width words)."""
        return self._piece(np.uint32, count * width).reshape(count, width)

    def _piece(self, kind: type[np.uint32] | type[np.uint64], count: int) -> NDArray[Any]:
        piece = np.frombuffer(self.raw, kind, count, self.place)
        self.place += piece.nbytes
        return piece
