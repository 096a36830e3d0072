# SPDX-License-Identifier: Apache-2.0
"""ExTensor: the contract, a twin on lists of coordinates, what skipping ahead saves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, Work
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

OWN = {"tile": 64.0, "skip": 4.0, "group": 32.0, "coordinate_bits": 16.0}
MACHINE = PeConfig(4, 8, 1, Buffers(1 << 18, 1 << 18, 1 << 16), 256.0, 16, 16, OWN)


class TestExTensor(EngineContract):
    name, engine, machine = "extensor", ENGINES.get("extensor"), MACHINE


def run(w: Mask, x: Mask, machine: PeConfig = MACHINE) -> Work:
    return ENGINES.get("extensor").run(NonZeros.of(w), NonZeros.of(x), machine)


def with_own(**own: float) -> PeConfig:
    return PeConfig(4, 8, 1, MACHINE.buffers, 1e9, 16, 16, {**OWN, **own})


def twin(w: Mask, x: Mask, machine: PeConfig) -> tuple[int, int]:
    """(cycles without DRAM, cycles of all outputs): tiles that both rows have, heads popped off lists."""
    tile, skip = (int(machine.settings[name]) for name in ("tile", "skip"))
    ends = [0] * (machine.rows * machine.cols)
    for row_x in x:
        for row_w in w:
            a, b = np.flatnonzero(row_x).tolist(), np.flatnonzero(row_w).tolist()
            common = {k // tile for k in a} & {k // tile for k in b}
            took = _walk([k for k in a if k // tile in common], [k for k in b if k // tile in common], tile, skip)
            ends[ends.index(min(ends))] += max(1, took)
    return max(ends), sum(ends)


def _walk(a: list[int], b: list[int], tile: int, skip: int) -> int:
    cycles = 0
    while a and b:
        if a[0] == b[0]:
            a, b, cycles = a[1:], b[1:], cycles + 1
        elif a[0] // tile != b[0] // tile:
            least = max(a[0], b[0]) // tile
            a, b = [k for k in a if k // tile >= least], [k for k in b if k // tile >= least]
        elif a[0] < b[0]:
            a, cycles = a[min(skip, sum(k < b[0] for k in a)) :], cycles + 1
        else:
            b, cycles = b[min(skip, sum(k < a[0] for k in b)) :], cycles + 1
    return cycles


@settings(max_examples=60)
@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 40), st.integers(0, 999),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.sampled_from([0.1, 0.3, 1.0]), st.integers(1, 12), st.integers(1, 5),
)  # fmt: skip
def test_the_core_is_its_twin(
    m: int, n: int, k: int, seed: int, share_w: float, share_x: float, tile: int, skip: int
) -> None:
    rng = np.random.default_rng(seed)
    w, x = rng.random((n, k)) < share_w, rng.random((m, k)) < share_x
    machine = PeConfig(1, 3, 1, Buffers(64, 64, 64), 8.0, 16, 16, {**OWN, "tile": float(tile), "skip": float(skip)})
    work = run(w, x, machine)
    assert (work.cycles - work.causes["dram"], work.events["comparisons"]) == twin(w, x, machine)
    assert work.events["matches"] == work.macs


def test_a_longer_jump_never_takes_more_cycles() -> None:
    rng = np.random.default_rng(0)
    w, x = rng.random((32, 512)) < 0.05, rng.random((32, 512)) < 0.6
    took = [run(w, x, with_own(skip=skip)).events["comparisons"] for skip in (1, 2, 4, 64)]
    assert took == sorted(took, reverse=True) and took[-1] < 0.5 * took[0]


def test_tiles_that_one_side_lacks_cost_nothing() -> None:
    w, x = np.zeros((4, 512), np.bool_), np.zeros((4, 512), np.bool_)
    w[:, :64], x[:, 64:128], x[:, 0] = True, True, True
    assert run(w, x, with_own()).events["comparisons"] == 4 * 4
    assert run(w, x, with_own(tile=512, skip=1)).events["comparisons"] == 4 * 4 * 64


def test_several_multipliers_take_several_matches() -> None:
    dense = np.ones((8, 64), np.bool_)
    wide = PeConfig(4, 8, 4, MACHINE.buffers, 1e9, 16, 16, OWN)
    assert run(dense, dense, wide).events["comparisons"] == 8 * 8 * 64 // 4


def test_the_closed_form_of_a_jump() -> None:
    engine, weights, inputs = ENGINES.get("extensor"), Sparsity.parse("unstructured:0.05"), Sparsity.parse("dense")
    walked = engine.run(weights.draw(64, 1024, 0), NonZeros.dense(32, 1024), MACHINE)
    expected = engine.expect((32, 64, 1024), weights, inputs, MACHINE)
    assert expected.events["comparisons"] == pytest.approx(walked.events["comparisons"], rel=0.1)
