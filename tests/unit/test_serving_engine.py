# SPDX-License-Identifier: Apache-2.0
"""What a serving engine does beside its operators: decode attention of its own, steps planned ahead."""

from __future__ import annotations

from dataclasses import replace

import pytest

import simsparse as ss
from simsparse.serving.all_reduce import OwnAllReduce, RankAllReduce
from simsparse.serving.attention import OwnAttention, Pieces
from simsparse.serving.engine import Engine
from simsparse.serving.model import Repeated
from simsparse.sources.requests import Requests

KERNEL = OwnAttention(10e-6, 0.8, Pieces(264, 32, 64, 1e-6))


def test_programs_read_tiles_of_the_longest_sequence():
    """Of 32 sequences on 8 heads each program has a whole one; one sequence is cut into 32 pieces of 63 keys."""
    layers = [Repeated(ss.ops.attention(32, 32, 8, 128, 1, 100, dtype="bf16"), 4)]
    assert KERNEL.longest_seconds(layers, 32, 2000) == pytest.approx(4 * (10e-6 + 32e-6))
    assert KERNEL.longest_seconds(layers, 1, 2000) == pytest.approx(4 * (10e-6 + 1e-6))
    assert replace(KERNEL, pieces=None).longest_seconds(layers, 32, 2000) == 0


@pytest.mark.parametrize(("longest", "slower"), [(2000, True), (64, False)])
def test_a_batch_waits_for_its_longest_sequence(longest, slower):
    requests = Requests.of([0.0] * 8, [64] * 7 + [longest], [8] * 8)
    pieces = Pieces(64, 32, 64, 1e-6)

    def tpot(kernel):
        engine = Engine(attention=kernel)
        return ss.serve(requests, "systems/h200-pcie5", "llama2-7b", "prefill_first", engine=engine).tpot.mean

    ratio = tpot(replace(KERNEL, pieces=pieces)) / tpot(replace(KERNEL, pieces=None))
    assert ratio > 1.01 if slower else ratio == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_request_joins_the_first_step_that_is_planned_after_it_came(ahead):
    """One sequence decodes; another comes in the middle of a step. It waits for the end of the step, and where steps
    are planned ahead, for that of the next one too. Steps grow a little with the context."""
    alone = ss.serve(Requests.of([0.0], [64], [40]), "systems/h200-pcie5", "llama2-7b", engine=Engine())
    step = alone.tpot.mean
    came = float(alone.first_s[0]) + 10.5 * step
    both = Requests.of([0.0, came], [64, 64], [40, 1])
    found = ss.serve(both, "systems/h200-pcie5", "llama2-7b", engine=Engine(ahead=ahead))
    assert found.queue.values[1] == pytest.approx((0.5 + ahead) * step, abs=0.2 * step)
    assert found.queue.values[0] == 0


def test_an_engine_s_all_reduce_takes_one_step_or_two():
    """Of 8 ranks with 100 GB/s each: 7 messages read in one step, or twice 7/8 of one in two; beyond its limit and for
    other numbers of ranks the library's kernel runs."""
    own = OwnAllReduce(1 << 20, ((8, RankAllReduce(5e-6, 9e-6, 1e11)),))
    assert own.seconds(1000, 8) == pytest.approx(5e-6 + 7 * 1e3 / 1e11)
    assert own.seconds(1 << 20, 8) == pytest.approx(9e-6 + 1.75 * 2**20 / 1e11)
    assert own.seconds((1 << 20) + 1, 8) is None
    assert own.seconds(1000, 4) is None


def test_small_exchanges_of_the_engine_are_faster_than_the_library_s():
    """Two all-reduces in each of 32 layers, and what one of them takes less."""
    engine = Engine.named("vllm/0.22")
    requests = Requests.of([0.0] * 8, [64] * 8, [8] * 8)

    def tpot(own):
        return ss.serve(requests, "systems/h100-x8-nvlink", "llama2-7b", engine=own, parallel={"tp": 8}).tpot.mean

    saved = (tpot(replace(engine, all_reduce=None)) - tpot(engine)) / 64
    assert 2e-6 < saved < 30e-6
