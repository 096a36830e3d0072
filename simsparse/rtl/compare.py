"""What a block did against what model and cycle core say, and what the stream covered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simsparse.rtl.block import Block, Expected
from simsparse.rtl.run import Observed, Stream
from simsparse.rtl.stimulus import stalls

HANDSHAKES = frozenset(
    f"{side} valid={valid} ready={ready}" for side in ("in", "out") for valid in (0, 1) for ready in (0, 1)
)


@dataclass(frozen=True)
class Prediction:
    """What must come out, and in which cycles beats go in and out."""

    values: Expected
    taken: NDArray[np.int64]
    given: NDArray[np.int64]

    @property
    def longest(self) -> int:
        """Cycles that a run may take before it counts as stuck."""
        return int(max(self.taken[-1], self.given[-1] if self.given.size else 0)) + 100


@dataclass(frozen=True)
class Verdict:
    """Outcome of one stream: counts, differences in words, and coverage."""

    beats: int
    outputs: int
    cycles: int
    differences: tuple[str, ...]
    missed: frozenset[str]
    bins: int

    @property
    def passed(self) -> bool:
        """No difference and every bin met."""
        return not self.differences and not self.missed


def random_stream(block: Block, tiles: int, seed: int) -> Stream:
    """``tiles`` random tiles with random stalls on both sides."""
    rng = np.random.default_rng(seed)
    beats = block.stimulus(rng, tiles)
    return Stream(beats, len(next(iter(beats.values()))), stalls(rng), stalls(rng))


def predict(block: Block, stream: Stream) -> Prediction:
    """What ``block`` must do with ``stream``."""
    values = block.expected(stream.beats)
    return Prediction(values, *block.handshakes(values, stream.offers, stream.accepts))


def compare(block: Block, stream: Stream, observed: Observed, predicted: Prediction) -> Verdict:
    """Every value and every cycle of both handshakes, and coverage of the block's bins and of back-pressure."""
    pairs = [
        ("cycle in", observed.taken, predicted.taken), ("cycle out", observed.given, predicted.given),
        *((field.name, observed.outputs[field.name], predicted.values.outputs[field.name]) for field in block.outputs),
    ]  # fmt: skip
    found = [text for name, got, want in pairs if (text := _difference(name, got, want))]
    if observed.faults:
        found.append(f"{observed.faults} beats changed or vanished before they were taken")
    missed = block.bins - block.covered(stream.beats) | HANDSHAKES - _handshakes(observed)
    return Verdict(
        stream.count, predicted.given.size, observed.cycles, tuple(found), frozenset(missed),
        len(block.bins) + len(HANDSHAKES),
    )  # fmt: skip


def _difference(name: str, got: NDArray[np.int64], want: NDArray[np.int64]) -> str:
    """The first difference of two arrays (beats, ...) in words; empty when there is none."""
    if len(got) != len(want):
        return f"{name}: {len(got)} beats; expected {len(want)}"
    wrong = np.flatnonzero((got != want).reshape(len(got), -1).any(axis=1)) if len(got) else np.empty(0, np.int64)
    if not wrong.size:
        return ""
    beat = int(wrong[0])
    return f"{name}: {wrong.size} beats differ; beat {beat} is {got[beat].tolist()}, expected {want[beat].tolist()}"


def _handshakes(observed: Observed) -> set[str]:
    inward = {f"in valid={state[0]} ready={state[1]}" for state in observed.states}
    return inward | {f"out valid={state[2]} ready={state[3]}" for state in observed.states}
