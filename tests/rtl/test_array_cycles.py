# SPDX-License-Identifier: Apache-2.0
"""The array itself, without stalls, takes the cycles of the simulator's closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from simsparse.dataflow import DATAFLOWS, Gemms, PeArray
from simsparse.rtl.block import RtlBlock
from simsparse.rtl.blocks.systolic import NMSystolicArray
from simsparse.rtl.run import run
from simsparse.rtl.stimulus import positions
from simsparse.rtl.stream import DrivenStream, Observed
from simsparse.rtl.verify import blocks

ALWAYS = np.ones(1, np.bool_)
FOLDS, BEATS = 6, (1, 3, 8, 24)


def fed(block: NMSystolicArray, beats: int, dense: int) -> Observed:
    """FOLDS folds of ``beats`` activation beats each, every side always ready."""
    rng = np.random.default_rng(beats)
    words = FOLDS * (beats if block.output_stationary else block.rows)
    data = {
        "last": np.tile(np.arange(beats) == beats - 1, FOLDS).astype(np.int64)[:, None],
        "activation": rng.integers(-128, 128, (FOLDS * beats, block.rows * block.m)),
        "dense": np.full((words, 1), dense),
        "weight": rng.integers(-128, 128, (words, block.cols * block.n)),
        "index": positions(rng, words * block.cols, block.n, block.m).reshape(words, -1),
    }
    outputs = FOLDS * (block.rows if block.output_stationary else beats)
    return run(block, DrivenStream(data, FOLDS * beats, ALWAYS, ALWAYS, (ALWAYS,)), outputs, 10_000)


@pytest.mark.usefixtures("_simulator")
@pytest.mark.parametrize("dense", [0, 1])
@pytest.mark.parametrize("block", blocks(["nm_systolic_array"]), ids=lambda block: block.name)
def test_cycles_without_stalls_are_the_closed_forms(block: RtlBlock, dense: int) -> None:
    """Fill and drain paid once (skew 0), loads hidden (overlap 1), selection within the cycle (decode 0), a PE of N
    multipliers and its pipeline stages. The first weight is taken in cycle 0; the last result is given in the cycle of
    that number, a cycle after the last addition: the registers at the output."""
    assert isinstance(block, NMSystolicArray)
    array = PeArray(block.rows, block.cols, macs=block.n, skew=0, overlap=1, pipe_stages=block.pipe_stages)
    keep, group = (1, 1) if dense else (block.n, block.m)
    span = block.n if dense else block.m
    for beats in BEATS:
        observed = fed(block, beats, dense)
        assert observed.side_taken[0][0] == 0
        if block.output_stationary:
            waits = max(0, block.rows - beats) * (FOLDS - 1)
            gemm = Gemms.of(block.rows * FOLDS, block.cols, beats * span, keep, group)
            assert observed.given[-1] == DATAFLOWS.get("os").cycles(gemm, array) + waits
        else:
            gemm = Gemms.of(beats, block.cols, block.rows * span * FOLDS, keep, group)
            assert observed.given[-1] == DATAFLOWS.get("ws").cycles(gemm, array)
