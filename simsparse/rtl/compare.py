# SPDX-License-Identifier: Apache-2.0
"""What a block did against what model and cycle core say, and what the stream covered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from simsparse.rtl.block import Cycles, Expected, RtlBlock
from simsparse.rtl.stimulus import stalls
from simsparse.rtl.stream import DrivenStream, Observed

HANDSHAKES = frozenset(
    f"{side} valid={valid} ready={ready}" for side in ("in", "out") for valid in (0, 1) for ready in (0, 1)
)


@dataclass(frozen=True)
class ExpectedRun:
    """What must come out, and in which cycles beats go in and out."""

    values: Expected
    taken: NDArray[np.int64]
    given: NDArray[np.int64]
    side_taken: tuple[NDArray[np.int64], ...] = ()
    side_given: tuple[NDArray[np.int64], ...] = ()
    met: frozenset[str] = frozenset()

    @property
    def cycles(self) -> Cycles:
        """The cycles, and the timed bins that the model met."""
        return Cycles(self.taken, self.given, self.side_taken, self.side_given, self.met)

    @property
    def side_outputs(self) -> tuple[int, ...]:
        """Beats of the side streams out."""
        return tuple(given.size for given in self.side_given)

    @property
    def longest(self) -> int:
        """Cycles that a run may take before it counts as stuck."""
        ends = (self.taken, self.given, *self.side_taken, *self.side_given)
        return int(max(cycles[-1] for cycles in ends if cycles.size)) + 100


@dataclass(frozen=True)
class Verdict:
    """Outcome of one stream: counts, differences in words, and coverage, which is apart from being equal."""

    beats: int
    outputs: int
    cycles: int
    differences: tuple[str, ...]
    missed: frozenset[str]
    bins: int

    @property
    def passed(self) -> bool:
        """Whether every value and every cycle is the model's."""
        return not self.differences


def random_stream(block: RtlBlock, tiles: int, seed: int) -> DrivenStream:
    """``tiles`` random tiles with random stalls on both sides."""
    rng = np.random.default_rng(seed)
    beats = block.stimulus(rng, tiles)
    main = len(beats[block.inputs[0].name])
    offers, accepts = stalls(rng), stalls(rng)
    sides = [tuple(stalls(rng) for _ in channels) for channels in (block.side_inputs, block.side_outputs)]
    return block.fitted(DrivenStream(beats, main, offers, accepts, *sides))


def predict(block: RtlBlock, stream: DrivenStream) -> ExpectedRun:
    """What ``block`` must do with ``stream``."""
    values, at = block.predicted(stream)
    return ExpectedRun(values, at.taken, at.given, at.side_taken, at.side_given, at.met)


def missed(block: RtlBlock, stream: DrivenStream, predicted: ExpectedRun) -> frozenset[str]:
    """The block's bins that ``stream`` does not meet."""
    timed = block.timed_bins - block.timed_covered(stream.beats, predicted.cycles)
    return frozenset(block.bins - block.covered(stream.beats) | timed)


def compare(block: RtlBlock, stream: DrivenStream, observed: Observed, predicted: ExpectedRun) -> Verdict:
    """Every value and every cycle of both handshakes, and coverage of the block's bins and of back-pressure."""
    pairs = [
        ("cycle in", observed.taken, predicted.taken), ("cycle out", observed.given, predicted.given),
        *_sides(block, observed, predicted),
        *(
            (field.name, observed.outputs[field.name], predicted.values.outputs[field.name])
            for channel in block.channels_out for field in channel.fields
        ),
    ]  # fmt: skip
    found = [text for name, got, want in pairs if (text := _difference(name, got, want))]
    if observed.faults:
        found.append(f"{observed.faults} beats changed or vanished before they were taken")
    handshakes = HANDSHAKES | _side_handshakes(block, [_STATES] * len(_prefixes(block)))
    seen = _handshakes(observed) | _side_handshakes(block, observed.side_states)
    return Verdict(
        stream.count, predicted.given.size, observed.cycles, tuple(found),
        missed(block, stream, predicted) | handshakes - seen,
        len(block.bins) + len(block.timed_bins) + len(handshakes),
    )  # fmt: skip


_Pair = tuple[str, NDArray[np.int64], NDArray[np.int64]]
_STATES = frozenset(product((0, 1), (0, 1)))


def _prefixes(block: RtlBlock) -> list[str]:
    return [channel.prefix for channel in (*block.side_inputs, *block.side_outputs)]


def _sides(block: RtlBlock, observed: Observed, predicted: ExpectedRun) -> list[_Pair]:
    """Cycles of the side streams: name, got, wanted."""
    got, want = (*observed.side_taken, *observed.side_given), (*predicted.side_taken, *predicted.side_given)
    return [(f"cycle {name}", had, due) for name, had, due in zip(_prefixes(block), got, want, strict=True)]


def _side_handshakes(block: RtlBlock, states: Sequence[frozenset[tuple[int, int]]]) -> set[str]:
    return {
        f"{prefix} valid={valid} ready={ready}"
        for prefix, seen in zip(_prefixes(block), states, strict=True) for valid, ready in seen
    }  # fmt: skip


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
