"""One stream through one block under Verilator: its values, its cycles, its handshakes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from simsparse.errors import SimulationError
from simsparse.rtl.block import Block
from simsparse.rtl.build import bench
from simsparse.rtl.vectors import Beats, pack, unpack, words

State = tuple[int, int, int, int]
_STATES: tuple[State, ...] = tuple(product((0, 1), (0, 1), (0, 1), (0, 1)))


@dataclass(frozen=True)
class Stream:
    """Input beats, and in which cycles each side moves (repeating); see stream_cycles."""

    beats: Beats
    count: int
    offers: NDArray[np.bool_]
    accepts: NDArray[np.bool_]


@dataclass(frozen=True)
class Observed:
    """What a block did: values, cycles of the handshakes, and how often each handshake state was seen.

    ``faults`` counts beats that changed or vanished while the sink was not ready. ``states`` holds
    (valid in, ready out, valid out, ready in).
    """

    outputs: Beats
    taken: NDArray[np.int64]
    given: NDArray[np.int64]
    cycles: int
    faults: int
    states: frozenset[State]


def run(block: Block, stream: Stream, outputs: int, longest: int) -> Observed:
    """``stream`` through ``block``, until ``outputs`` beats came out or ``longest`` cycles have passed.

    Raises SimulationError when the simulator can't be built or fails.
    """
    head = np.array(
        [stream.count, words(block.inputs), words(block.outputs), stream.offers.size, stream.accepts.size, outputs,
         longest], np.uint32,
    )  # fmt: skip
    vectors = pack(block.inputs, stream.beats, stream.count)
    parts = (head, vectors, stream.offers.astype(np.uint8), stream.accepts.astype(np.uint8))
    done = subprocess.run(
        [str(bench(block)), "+verilator+seed+1"],
        input=b"".join(part.tobytes() for part in parts), capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SimulationError(f"the simulator ended with {done.returncode}: {done.stderr[-200:]!r}", key=block.name)
    return _read(block, done.stdout)


def _read(block: Block, raw: bytes) -> Observed:
    taken, given, cycles, faults = (int(count) for count in np.frombuffer(raw, np.uint64, 4))
    seen = np.frombuffer(raw, np.uint64, 16, 32)
    at = np.frombuffer(raw, np.uint64, taken + given, 160).astype(np.int64)
    vectors = np.frombuffer(raw, np.uint32, given * words(block.outputs), 160 + 8 * (taken + given))
    states = frozenset(state for state, count in zip(_STATES, seen, strict=True) if count)
    values = unpack(block.outputs, vectors.reshape(given, words(block.outputs)))
    return Observed(values, at[:taken], at[taken:], cycles, faults, states)
