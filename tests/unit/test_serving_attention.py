# SPDX-License-Identifier: Apache-2.0
"""Decode attention by kernels of a serving engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

import simsparse as ss
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
