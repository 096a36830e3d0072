# SPDX-License-Identifier: Apache-2.0
"""The cycle core of the GEMM engine: closed forms without stalls, registers and streams that wait for each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow import DATAFLOWS, Gemms, PeArray
from simsparse.dataflow.handshake.gemm_stream import GemmHandshakes, GemmRequest, GemmSides, Request, gemm_handshakes
from simsparse.errors import SpecError

ALWAYS = np.ones(1, np.bool_)
FLOW = GemmSides(ALWAYS, ALWAYS, ALWAYS, ALWAYS, ALWAYS)
SIZE = st.integers(1, 5)
PATTERN = st.lists(st.booleans(), min_size=1, max_size=7).filter(any)
JOBS = st.lists(st.builds(GemmRequest, st.integers(1, 9), SIZE, SIZE, st.booleans()), min_size=1, max_size=4)


def started(
    jobs: list[GemmRequest], sides: GemmSides, rows: int, cols: int, stages: int = 0
) -> GemmHandshakes:  # fmt: skip
    """Every job started once the one before has ended."""
    held = np.ones(len(jobs), np.bool_)
    return gemm_handshakes(sides, np.full(len(jobs), Request.START, np.int64), jobs, rows, cols, stages, held)


@settings(max_examples=80)
@given(SIZE, SIZE, JOBS, st.integers(0, 3))
def test_without_stalls_every_job_takes_the_closed_form(
    rows: int, cols: int, jobs: list[GemmRequest], stages: int
) -> None:  # fmt: skip
    """Overlapped: skew 0, overlap 1; serial: skew 1, overlap 0, as SCALE-Sim counts. A start is taken in the cycle
    before the first weights; the last result leaves in the cycle of that number."""
    at = started(jobs, FLOW, rows, cols, stages)
    for job, start, end in zip(jobs, at.requests, at.ends, strict=True):
        skew, overlap = (1, 0) if job.serial else (0, 1)
        array = PeArray(rows, cols, skew=skew, overlap=overlap, pipe_stages=stages)
        gemm = Gemms.of(job.tokens, job.tiles * cols, job.k_folds * rows)
        assert end - (start + 1) == DATAFLOWS.get("ws").cycles(gemm, array)


@settings(max_examples=80)
@given(SIZE, SIZE, JOBS, st.lists(PATTERN, min_size=5, max_size=5))
def test_everything_moves_once_and_in_order(
    rows: int, cols: int, jobs: list[GemmRequest], patterns: list[list[bool]]
) -> None:
    at = started(jobs, GemmSides(*(np.array(pattern) for pattern in patterns)), rows, cols)
    folds = [job.k_folds * job.tiles for job in jobs]
    assert at.weights.size == rows * sum(folds)
    assert at.activations.size == sum(job.tokens * count for job, count in zip(jobs, folds, strict=True))
    assert at.results.size == sum(job.tokens * job.tiles for job in jobs)
    assert all((np.diff(cycles) > 0).all() for cycles in (at.requests, at.weights, at.activations, at.results))
    assert (at.requests[1:] > at.ends[:-1]).all()
    sinks = np.array(patterns[4])
    assert sinks[at.results % sinks.size].all()


@settings(max_examples=40)
@given(SIZE, SIZE, JOBS, st.integers(0, 4), PATTERN)
def test_a_stall_never_makes_it_faster(
    rows: int, cols: int, jobs: list[GemmRequest], side: int, pattern: list[bool]
) -> None:
    patterns = [ALWAYS] * 5
    patterns[side] = np.array(pattern)
    assert started(jobs, GemmSides(*patterns), rows, cols).ends[-1] >= started(jobs, FLOW, rows, cols).ends[-1]


def test_requests_never_wait_for_a_job() -> None:
    """The job takes 7 cycles; the start while it runs is refused, reads and writes pass."""
    kinds = np.array([Request.START, Request.READ, Request.START, Request.WRITE, Request.READ], np.int64)
    at = gemm_handshakes(FLOW, kinds, [GemmRequest(2, 1, 1)] * 2, 2, 2)
    assert at.ends.tolist() == [1 + 2 + 2 + 2, -1]
    assert at.requests.tolist() == [0, 1, 2, 3, 4]
    assert at.responses.tolist() == [2, 5]
    assert at.clashes.tolist() == [2]
    assert at.taken[1].tolist() == [0, 0, 0]


def test_an_abort_ends_a_job_and_keeps_the_result_that_is_offered() -> None:
    """The first result is offered in cycle 6 and never taken before cycle 40; the abort comes in cycle 9."""
    kinds = np.array([Request.START, Request.WRITE, Request.WRITE, Request.ABORT, Request.READ], np.int64)
    offers, accepts = np.isin(np.arange(41), (0, 3, 6, 9, 12)), np.arange(41) == 40
    at = gemm_handshakes(GemmSides(offers, ALWAYS, ALWAYS, ALWAYS, accepts), kinds, [GemmRequest(3, 1, 1)], 2, 2)
    assert at.ends.tolist() == [9]
    assert at.results.tolist() == [40]
    assert at.states[3:].tolist() == [1 | 1 << 10, 1 << 3 | 1 << 10]


def test_a_standstill_is_told_once() -> None:
    """One beat of the two is never offered: 5 cycles after the last movement."""
    kinds = np.array([Request.TIMEOUT, Request.START, Request.WRITE, Request.ABORT], np.int64)
    offers = np.isin(np.arange(100), (0, 1, 60, 61))
    values = np.array([5, 0, 0, 0], np.int64)
    sides = GemmSides(offers, ALWAYS, ALWAYS, ALWAYS, ALWAYS)
    at = gemm_handshakes(sides, kinds, [GemmRequest(2, 1, 1)], 2, 2, timeouts=values, available=(2, 1))
    assert at.activations.tolist() == [4]
    assert at.timeouts.tolist() == [7 + 5]
    with pytest.raises(SpecError, match="nothing aborts it"):
        gemm_handshakes(FLOW, kinds[1:2], [GemmRequest(2, 1, 1)], 2, 2, available=(2, 1))


def test_a_side_that_never_moves_is_refused() -> None:
    with pytest.raises(SpecError, match="move sometimes"):
        GemmSides(ALWAYS, ALWAYS, ALWAYS, ~ALWAYS, ALWAYS)
