# SPDX-License-Identifier: Apache-2.0
"""Streams for the simulator process and what they must give, worked out before it starts and checked after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simsparse.rtl.block import RtlBlock
from simsparse.rtl.compare import ExpectedRun, Verdict, compare, missed, predict, random_stream
from simsparse.rtl.run import run_plays
from simsparse.rtl.stream import DrivenStream, Observed, Play
from tests.rtl.directed import directed
from tests.rtl.plays import CUT_OFF, Answer, Asked

LEAST_CYCLES = 2500


@dataclass(frozen=True)
class Scene:
    """A stream and what it must give."""

    stream: DrivenStream
    predicted: ExpectedRun

    @property
    def play(self) -> Play:
        """What the simulator needs of it."""
        outputs = (self.predicted.given.size, *self.predicted.side_outputs)
        return Play(self.stream, outputs, self.predicted.longest)

    def verdict(self, block: RtlBlock, observed: Observed) -> Verdict:
        """What was seen against what it must give."""
        return compare(block, self.stream, observed, self.predicted)


@dataclass(frozen=True)
class Scenes:
    """Of one block: a random stream that meets all of its bins, and the directed one."""

    block: RtlBlock
    random: Scene
    directed: Scene

    @property
    def asked(self) -> Asked:
        """What the simulator process is told."""
        tied = tuple(port for port, value in self.block.tied.items() if value)
        return Asked(self.block.channels_in, self.block.channels_out, self.random.play, self.directed.play, tied)

    def played(self) -> Answer:
        """What the bench of the bulk streams sees of what stream_bench plays."""
        random, directed = self.random.play, self.directed.play
        plays = [random, directed]
        for cycles in CUT_OFF:
            plays += [replace(random, longest=cycles), directed]
        seen = run_plays(self.block, plays)
        return Answer(seen[0], tuple(seen[1::2]))

    def check(self, answer: Answer) -> None:
        """Raises AssertionError where values, cycles or coverage are not those of model and core."""
        verdict = self.random.verdict(self.block, answer.random)
        assert not verdict.differences, verdict.differences
        assert not verdict.missed, verdict.missed
        for place, observed in enumerate(answer.directed):
            differences = self.directed.verdict(self.block, observed).differences
            assert not differences, f"directed, after {place} resets: {differences}"


def scenes(block: RtlBlock, seed: int = 1) -> Scenes:
    """Raises AssertionError when the model does not give the answers that were worked out by hand."""
    return Scenes(block, _random(block, seed), _directed(block))


def _random(block: RtlBlock, seed: int) -> Scene:
    """A quarter more tiles until every bin is met and there is time for every state of back-pressure."""
    tiles = 100
    while True:
        stream = random_stream(block, tiles, seed)
        predicted = predict(block, stream)
        if predicted.longest > LEAST_CYCLES and not missed(block, stream, predicted):
            return Scene(stream, predicted)
        tiles += tiles // 4


def _directed(block: RtlBlock) -> Scene:
    beats, answers = directed(block)
    always = np.ones(1, np.bool_)
    sides = [(always,) * len(channels) for channels in (block.side_inputs, block.side_outputs)]
    stream = block.fitted(DrivenStream(beats, len(beats[block.inputs[0].name]), always, always, *sides))
    predicted = predict(block, stream)
    for name, rows in answers.items():
        assert predicted.values.outputs[name].tolist() == rows, name
    return Scene(stream, predicted)
