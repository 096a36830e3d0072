# SPDX-License-Identifier: Apache-2.0
"""Delta engine: the contract, a twin that scans element by element, and streams of changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.deltas import deltas
from simsparse.dataflow.expected import binomial, largest_binomial, largest_normal
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

OWN = {"scan": 4.0, "positions": 8.0, "state_bits": 24.0}
MACHINE = PeConfig(4, 8, 1, Buffers(1 << 16, 1 << 18, 1 << 16), 32.0, 8, 8, OWN)


class TestDelta(EngineContract):
    name, engine, machine = "delta", ENGINES.get("delta"), MACHINE


class TestDeltaOutOfBuffers(EngineContract):
    name, engine = "delta", ENGINES.get("delta")
    machine = replace(MACHINE, rows=8, macs=2, buffers=Buffers(64, 1024, 64), dram_bytes=256.0)


def element_by_element(x: Mask, outputs: int, has: PeConfig) -> list[int]:
    """Cycles of each vector: every lane steps its detector and its multipliers, cycle after cycle."""
    scan, passes, cycles = int(has.settings["scan"]), -(-outputs // has.cols), []
    for vector in x:
        ends = []
        for lane in range(has.rows):
            mine = vector[lane :: has.rows].tolist()
            while len(mine) < -(-len(vector) // has.rows):
                mine.append(False)
            windows = [mine[at : at + scan] for at in range(0, len(mine), scan)]
            cycle, held, working, last = 0, None, 0, 0
            while windows or held is not None or working:
                if working == 0 and held is not None:
                    working, held = -(-sum(held) // has.macs) * passes, None
                    last = max(last, cycle + working)
                if held is None and windows:
                    held = windows.pop(0)
                cycle += 1
                working = max(0, working - 1)
                last = max(last, cycle if held is not None else 0)
            ends.append(last)
        cycles.append(max(ends))
    return cycles


@settings(max_examples=60)
@given(
    st.integers(1, 6), st.integers(1, 20), st.integers(1, 60), st.integers(0, 999), st.sampled_from([0.05, 0.3, 0.9]),
    st.integers(1, 5), st.integers(1, 3), st.integers(1, 6),
)  # fmt: skip
def test_the_core_is_its_twin(
    m: int, n: int, k: int, seed: int, share: float, rows: int, macs: int, scan: int
) -> None:  # fmt: skip
    x = np.random.default_rng(seed).random((m, k)) < share
    has = PeConfig(rows, 4, macs, Buffers(1, 1 << 20, 1 << 20), 1e9, 8, 8, {**OWN, "scan": float(scan)})
    work = ENGINES.get("delta").run(NonZeros.dense(n, k), NonZeros.of(x), has)
    assert work.cycles - work.causes["dram"] == sum(element_by_element(x, n, has))


def test_zeros_in_one_lane_wait_for_changes_in_another() -> None:
    even, one = np.zeros((1, 64), np.bool_), np.zeros((1, 64), np.bool_)
    even[0, :16], one[0, :64:4] = True, True
    dense = NonZeros.dense(8, 64)
    spread, crowded = (ENGINES.get("delta").run(dense, NonZeros.of(x), MACHINE) for x in (even, one))
    assert spread.macs == crowded.macs and crowded.causes["imbalance"] > 3 * spread.causes["imbalance"]


def test_state_that_does_not_fit_crosses_the_dram() -> None:
    x = NonZeros.of(np.eye(8, 64, dtype=np.bool_))
    small = replace(MACHINE, buffers=Buffers(64, 1 << 18, 64))
    inside, outside = (ENGINES.get("delta").run(NonZeros.dense(16, 64), x, has) for has in (MACHINE, small))
    state = 8 * (64 + 16 * 3)
    assert outside.dram_read == inside.dram_read + state and outside.dram_write == inside.dram_write + state
    assert inside.events["state_bytes"] == outside.events["state_bytes"] == 2 * state


def test_a_still_picture_changes_once() -> None:
    still = np.repeat(np.random.default_rng(0).standard_normal((1, 3, 10)), 5, axis=0)
    changes = deltas(still, 0.1)
    assert changes.shape == (5, 3, 10) and not changes[1:].any()
    assert (changes[0] == np.rint(still[0] / 0.1)).all()


@given(st.integers(1, 8), st.integers(1, 20), st.floats(0.01, 2.0), st.integers(0, 99))
@settings(max_examples=50)
def test_changes_add_up_to_the_activations(frames: int, k: int, step: float, seed: int) -> None:
    walk = np.cumsum(np.random.default_rng(seed).standard_normal((frames, k)), axis=0)
    assert (np.abs(np.cumsum(deltas(walk, step), axis=0) * step - walk) <= step / 2 + 1e-9).all()


def test_a_step_of_nothing() -> None:
    with pytest.raises(SpecError, match="positive step"):
        deltas(np.ones((2, 3)), 0.0)


def test_expected_values_against_draws() -> None:
    rng = np.random.default_rng(0)
    assert binomial(5, 0.3) @ np.arange(6) == pytest.approx(1.5)
    assert binomial(4, 1.0).tolist() == [0, 0, 0, 0, 1]
    assert largest_normal(8) == pytest.approx(rng.standard_normal((200000, 8)).max(axis=1).mean(), abs=0.01)
    assert largest_binomial(20, 0.3, 6) == pytest.approx(
        rng.binomial(20, 0.3, (200000, 6)).max(axis=1).mean(), abs=0.02
    )
