# SPDX-License-Identifier: Apache-2.0
"""Dual-side sparse tensor core: the contract, a twin that handles one product at a time, what the mechanism implies."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

OWN = {"tile": 32.0, "ports": 116.0, "collector": 8.0, "feed": 32.0, "span": 16.0}
MACHINE = PeConfig(8, 16, 1, Buffers(1 << 18, 1 << 18, 4096, 4), 64.0, 16, 16, OWN)


class TestDstc(EngineContract):
    name, engine, machine = "dstc", ENGINES.get("dstc"), MACHINE


def twin(x: Mask, w: Mask, machine: PeConfig) -> tuple[int, int]:
    """(cycles without DRAM and drain, steps): one product after another into its bank."""
    own, tile = {name: int(value) for name, value in machine.settings.items()}, int(machine.settings["tile"])
    cycles = steps = 0
    for top in range(0, x.shape[0], tile):
        for left in range(0, w.shape[0], tile):
            took, made = _twin_pair(x[top : top + tile], w[left : left + tile], machine, own)
            cycles, steps = cycles + took, steps + made
    return cycles, steps


def _twin_pair(x: Mask, w: Mask, machine: PeConfig, own: dict[str, int]) -> tuple[int, int]:
    bank: defaultdict[tuple[int, int], int] = defaultdict(int)
    waiting = [0] * own["collector"]
    now, ready, begun, added, steps = -1, 0, 0, 0, 0
    for k in range(x.shape[1]):
        span = slice(k // own["span"] * own["span"], (k // own["span"] + 1) * own["span"])
        if not x[:, span].any() or not w[:, span].any():
            continue
        rows, cols = np.flatnonzero(x[:, k]).tolist(), np.flatnonzero(w[:, k]).tolist()
        values = len(rows) + len(cols) if rows and cols else 0
        ready = max(ready, begun) + -(-(values + -(-2 * own["tile"] // machine.value_bits)) // own["feed"])
        groups = [
            (rows[i : i + machine.rows], cols[j : j + machine.cols])
            for i in range(0, len(rows), machine.rows)
            for j in range(0, len(cols), machine.cols)
        ]
        for index, (group_x, group_w) in enumerate(groups):
            slot = waiting.index(min(waiting))
            now = max(now + 1, ready, waiting[slot])
            begun = now if index == 0 else begun
            over = now + 1
            for row in group_x:
                for col in group_w:
                    place = row % machine.rows, col % machine.cols
                    bank[place] = max(bank[place], now) + 1
                    added = max(added, now * own["ports"]) + 1
                    over = max(over, bank[place], -(-added // own["ports"]))
            waiting[slot] = over
            steps += 1
    return max(*waiting, ready), steps


@settings(max_examples=40)
@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 20), st.integers(0, 999),
    st.sampled_from([0.05, 0.3, 0.7, 1.0]), st.sampled_from([0.2, 0.6, 1.0]),
    st.sampled_from([(1, 1), (2, 3)]), st.integers(1, 8), st.integers(1, 4), st.integers(1, 5),
)  # fmt: skip
def test_the_core_is_its_twin(
    m: int, n: int, k: int, seed: int, share_w: float, share_x: float,
    array: tuple[int, int], ports: int, collector: int, span: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    w, x = rng.random((n, k)) < share_w, rng.random((m, k)) < share_x
    own = {"tile": 5.0, "ports": float(ports), "collector": float(collector), "feed": 4.0, "span": float(span)}
    machine = PeConfig(*array, 1, Buffers(64, 64, 64), 8.0, 16, 16, own)
    work = ENGINES.get("dstc").run(NonZeros.of(w), NonZeros.of(x), machine)
    cycles, steps = twin(x, w, machine)
    assert work.cycles - work.causes["drain"] - work.causes["dram"] == cycles
    assert work.events["steps"] == steps


def test_a_step_costs_a_cycle_however_full_its_groups_are() -> None:
    wide = PeConfig(
        8, 16, 1, Buffers(1 << 20, 1 << 20, 1 << 20), 1e9, 16, 16, {**OWN, "ports": 65536.0, "collector": 64.0}
    )
    for kept_x, kept_w, steps in ((1, 1, 1), (8, 16, 1), (9, 16, 2), (9, 17, 4), (32, 32, 8)):
        x, w = np.zeros((32, 64), np.bool_), np.zeros((32, 64), np.bool_)
        x[:kept_x], w[:kept_w] = True, True
        assert ENGINES.get("dstc").run(NonZeros.of(w), NonZeros.of(x), wide).events["steps"] == 64 * steps


def test_the_output_buffer_bounds_a_dense_product() -> None:
    dense = NonZeros.dense(32, 1024)
    work = ENGINES.get("dstc").run(dense, dense, MACHINE)
    assert work.causes["compute"] == 1024 * 8
    assert work.causes["compute"] + work.causes["conflict"] == pytest.approx(1024 * 8 * 128 / 116, rel=1e-3)


def test_empty_spans_cost_nothing() -> None:
    x = np.zeros((32, 64), np.bool_)
    x[:, :16] = True
    w = np.ones((32, 64), np.bool_)
    some, all_of_k = (ENGINES.get("dstc").run(NonZeros.of(w[:, :k]), NonZeros.of(x[:, :k]), MACHINE) for k in (16, 64))
    assert some.cycles - some.causes["dram"] == all_of_k.cycles - all_of_k.causes["dram"]


def test_the_closed_form_knows_blocks_and_n_of_m() -> None:
    engine = ENGINES.get("dstc")
    for sparsity in ("2:4", "block8:0.5"):
        drawn = Sparsity.parse(sparsity).draw(128, 256, 3)
        work = engine.run(drawn, NonZeros.dense(64, 256), MACHINE)
        expected = engine.expect((64, 128, 256), Sparsity.parse(sparsity), Sparsity.parse("dense"), MACHINE)
        assert expected.events["steps"] == pytest.approx(work.events["steps"], rel=0.05), sparsity


def test_a_tile_beyond_a_word() -> None:
    wide = PeConfig(8, 16, 1, MACHINE.buffers, 64.0, 16, 16, {**OWN, "tile": 128.0})
    with pytest.raises(SpecError, match="at most 64"):
        ENGINES.get("dstc").run(NonZeros.dense(4, 4), NonZeros.dense(4, 4), wide)
