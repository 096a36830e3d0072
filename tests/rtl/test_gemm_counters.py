# SPDX-License-Identifier: Apache-2.0
"""Counters of nm_gemm_top run to their documented ends: TOKENS, K_FOLDS and N_TILES of 65,535, CYCLES past 16 bits."""

from __future__ import annotations

import numpy as np
import pytest

from simsparse.dataflow.handshake.gemm_stream import GemmRequest
from simsparse.rtl.blocks.gemm_top import NMGemmTop
from simsparse.rtl.blocks.systolic import NMSystolicArray
from simsparse.rtl.compare import Verdict, compare, predict
from simsparse.rtl.gemm_requests import after, encoded, of_job, program
from simsparse.rtl.run import run
from simsparse.rtl.stream import DrivenStream

MOST = 65535
LARGE = NMGemmTop(NMSystolicArray(1, 1, 1, 2, bits=4, acc_bits=32), MOST)
ALWAYS = np.ones(1, np.bool_)
ENDS = {
    "tokens": GemmRequest(MOST, 1, 1), "folds": GemmRequest(1, MOST, 1), "tiles": GemmRequest(1, 1, MOST),
    "folds of all tiles": GemmRequest(1, 300, 300),
}  # fmt: skip


def played(job: GemmRequest) -> tuple[Verdict, int]:
    """The verdict on one GEMM of random numbers, and its CYCLES."""
    asked = encoded([*of_job(job), *after()])
    plan, rng, array = program(asked, LARGE.shape), np.random.default_rng(0), LARGE.array
    words, tokens = int(plan.words(array.rows).sum()), int(plan.tokens.sum())
    images = LARGE.memory_images(
        rng.integers(-8, 8, (tokens, array.m)), rng.integers(-8, 8, (words, 1)), rng.integers(0, 2, (words, 1)), plan
    )
    stream = LARGE.fitted(
        DrivenStream({**asked, **images}, tokens, ALWAYS, ALWAYS, (ALWAYS, ALWAYS), (ALWAYS,))
    )  # fmt: skip
    predicted = predict(LARGE, stream)
    observed = run(LARGE, stream, predicted.given.size, predicted.longest, predicted.side_outputs)
    verdict = compare(LARGE, stream, observed, predicted)
    return verdict, 0 if verdict.differences else int(observed.outputs["response_data"][0, 0])


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("end", ENDS)
def test_a_counter_runs_to_its_end(end: str) -> None:
    verdict, cycles = played(ENDS[end])
    assert not verdict.differences, verdict.differences
    assert cycles > MOST
