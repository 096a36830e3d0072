# SPDX-License-Identifier: Apache-2.0
"""nm_gemm_top when something is missing or refused: registers that answer, aborts, standstills, skipped folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simsparse.dataflow import DATAFLOWS, PeArray
from simsparse.dataflow.handshake.gemm_stream import GemmRequest
from simsparse.rtl.blocks.gemm_top import NMGemmTop
from simsparse.rtl.blocks.systolic import NMSystolicArray
from simsparse.rtl.compare import compare, predict, random_stream
from simsparse.rtl.gemm_images import gemm_stream, product, tiles_sent
from simsparse.rtl.gemm_requests import Register, RegisterRow, encoded, of_job, program
from simsparse.rtl.run import run
from simsparse.rtl.stream import DrivenStream, Observed

BLOCK = NMGemmTop(NMSystolicArray(4, 4, 2, 4), 16)
ALWAYS = np.ones(1, np.bool_)
STATUS: RegisterRow = (0, Register.STATUS, 0, 0)
LACKS_ACTIVATION, TIMED_OUT = 1 << 9, 1 << 4

pytestmark = pytest.mark.usefixtures("_simulator")


def images(asked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Random beats of all that is asked for."""
    rng, plan, array = np.random.default_rng(0), program(asked, BLOCK.shape), BLOCK.array
    words, tokens = int(plan.words(array.rows).sum()), int(plan.tokens.sum())
    return BLOCK.memory_images(
        rng.integers(-128, 128, (tokens, array.rows * array.m)), rng.integers(-128, 128, (words, array.cols * array.n)),
        np.tile([0, 1], (words, array.cols)), plan,
    )  # fmt: skip


def played(stream: DrivenStream) -> Observed:
    """What the RTL did with ``stream``, equal to the model in every value and cycle."""
    predicted = predict(BLOCK, stream)
    observed = run(BLOCK, stream, predicted.given.size, predicted.longest, predicted.side_outputs)
    assert not compare(BLOCK, stream, observed, predicted).differences
    return observed


def offered(cycles: list[int]) -> np.ndarray:
    """A pattern that offers in these cycles alone."""
    return np.isin(np.arange(max(cycles) + 1), cycles)


def test_a_missing_beat_leaves_every_register_readable_and_an_abort_frees_the_engine() -> None:
    """The last activation beat of the first GEMM never comes: the standstill is told, all registers answer, and after
    the abort the next GEMM runs as from reset."""
    job = GemmRequest(8, 2, 1)
    reads: list[RegisterRow] = [(0, register, 0, 0) for register in Register]
    asked = encoded([
        (1, Register.TIMEOUT, 20, 0), *of_job(job), *reads, (1, Register.CONTROL, 2, 0), STATUS,
        *of_job(job), STATUS, (0, Register.CYCLES, 0, 0),
    ])  # fmt: skip
    beats = {**asked, **images(asked)}
    lost = job.tokens * job.k_folds - 1
    for name in ("tdata", "tlast"):
        beats[f"s_axis_activation_{name}"] = np.delete(beats[f"s_axis_activation_{name}"], lost, axis=0)
    del beats["held"]
    at = [*range(6), *range(100, 100 + len(reads) + 2), *range(130, 135), 200, 201]
    # Tokens are taken from cycle 10 on, behind four weight words: all but the last one of the first GEMM; then, when
    # its source is started again, those of the second.
    source = (np.arange(400) <= 10 + lost - 1) | (np.arange(400) > 132)
    stream = DrivenStream(
        beats, len(beats["s_axis_activation_tlast"]), source, ALWAYS, (ALWAYS, offered(at)), (ALWAYS,)
    )
    answers = played(stream).outputs["response_data"][:, 0].tolist()
    busy = dict(zip(Register, answers, strict=False))
    assert busy[Register.STATUS] == 1 | 1 << 2 | TIMED_OUT | LACKS_ACTIVATION
    assert busy[Register.ERRORS] == 1 << 5
    aborted, done, cycles = answers[len(reads) :]
    assert aborted & 0xF == 1 << 2 | 1 << 3
    assert done & 0xF == 1 << 1 | 1 << 2
    assert cycles == 4 + 2 * 8 + 4 + 4 - 2


@pytest.mark.parametrize(
    ("wrong", "flag"),
    [
        ([(1, Register.TOKENS, 0, 0)], 0), ([(1, Register.TOKENS, 17, 0)], 0), ([(1, Register.K_FOLDS, 0, 0)], 0),
        ([(1, Register.N_TILES, 0, 0)], 0), ([(1, Register.KEPT, 0, 0)], 0), ([(1, Register.KEPT, 3, 0)], 0),
    ],
)  # fmt: skip
def test_a_refused_start_is_no_success(wrong: list[RegisterRow], flag: int) -> None:
    """DONE of the GEMM before is gone, ERROR is there, nothing runs."""
    asked = encoded([
        *of_job(GemmRequest(1, 1, 1)), (0, Register.STATUS, 0, 1), *wrong, (1, Register.CONTROL, 1, 0), STATUS,
        (0, Register.ERRORS, 0, 0),
    ])  # fmt: skip
    stream = DrivenStream({**asked, **images(asked)}, 1, ALWAYS, ALWAYS, (ALWAYS, ALWAYS), (ALWAYS,))
    assert played(BLOCK.fitted(stream)).outputs["response_data"][:, 0].tolist() == [2, 4, 1 << flag]


def test_a_start_while_busy_leaves_the_running_gemm_alone() -> None:
    asked = encoded([
        *of_job(GemmRequest(16, 1, 1)), (1, Register.TOKENS, 1, 0), (1, Register.CONTROL, 1, 0), STATUS,
        (0, Register.STATUS, 0, 1), (0, Register.ERRORS, 0, 0), (0, Register.CYCLES, 0, 0),
    ])  # fmt: skip
    stream = DrivenStream({**asked, **images(asked)}, 1, ALWAYS, ALWAYS, (ALWAYS, ALWAYS), (ALWAYS,))
    busy, done, errors, cycles = played(BLOCK.fitted(stream)).outputs["response_data"][:, 0].tolist()
    assert busy & 0b111 == 0b101 and (done, errors) == (0b110, 1 << 4)
    assert cycles == 4 + 16 + 4 + 4 - 2


def test_a_result_that_waits_outlives_an_abort() -> None:
    """It stays offered, unchanged, and leaves before the results of the next GEMM."""
    job = GemmRequest(4, 1, 1)
    asked = encoded([*of_job(job), (1, Register.CONTROL, 2, 0), STATUS, *of_job(job), (0, Register.STATUS, 0, 1)])
    accepts = np.arange(200) > 60
    at = [*range(5), 40, 41, *range(42, 47), 150]
    loose = DrivenStream(
        {**asked, **images(asked)}, 1, ALWAYS, accepts, (ALWAYS, offered(at)), (ALWAYS,)
    )  # fmt: skip
    observed = played(BLOCK.fitted(loose))
    assert len(observed.given) == 1 + job.tokens
    assert observed.outputs["response_data"][0, 0] == 1 << 3 | 1 << 10


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("stalled", [False, True])
def test_folds_without_a_kept_weight_are_skipped_as_in_the_simulator(serial: bool, stalled: bool) -> None:
    """Of 4 tiles of 4 folds 9 folds keep a weight and one tile keeps none."""
    rng = np.random.default_rng(1)
    x, w = rng.integers(-128, 128, (11, 64)), rng.integers(-128, 128, (16, 64))
    w[:, np.arange(64) % 4 >= 2] = 0
    runs = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 0, 1]], np.int64)
    w *= np.repeat(np.repeat(runs, 4, axis=0), 16, axis=1)
    stream = gemm_stream(BLOCK, x, w, serial, skip=True)
    if stalled:
        other = random_stream(BLOCK, 5, seed=1)
        stream = replace(stream, offers=other.offers, accepts=other.accepts, side_offers=(
            other.side_offers[0], np.concatenate([stream.side_offers[1], np.ones(40_000, np.bool_)])))  # fmt: skip
    observed = played(stream)
    sent = tiles_sent(BLOCK, w)
    assert sent.tolist() == [True, False, True, True]
    assert (product(BLOCK, BLOCK.sums(observed.outputs), (11, 16), sent) == x @ w.T).all()
    if not stalled:
        array = PeArray(4, 4, macs=2, skew=int(serial), overlap=int(not serial))
        simulated = DATAFLOWS.get("ws").cycles_with_masks(w != 0, 11, array, 4)
        assert (simulated.folds, observed.outputs["response_data"][0, 0]) == (9, simulated.cycles)
