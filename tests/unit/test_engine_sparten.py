# SPDX-License-Identifier: Apache-2.0
"""SparTen: the contract, a twin that joins one chunk at a time, what balancing does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, Work
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

OWN = {"chunk": 128.0, "balance": 0.0}
MACHINE = PeConfig(4, 8, 1, Buffers(1 << 18, 1 << 18, 1 << 16), 256.0, 8, 8, OWN)
BALANCED = PeConfig(4, 8, 1, MACHINE.buffers, 256.0, 8, 8, {**OWN, "balance": 1.0})


class TestSparTen(EngineContract):
    name, engine, machine = "sparten", ENGINES.get("sparten"), MACHINE


class TestSparTenBalanced(EngineContract):
    name, engine, machine = "sparten", ENGINES.get("sparten"), BALANCED


def run(w: Mask, x: Mask, machine: PeConfig) -> Work:
    return ENGINES.get("sparten").run(NonZeros.of(w), NonZeros.of(x), machine)


def twin(w: Mask, x: Mask, machine: PeConfig) -> int:
    """Cycles without DRAM and fill: cluster by cluster, set by set, row by row, unit by unit, chunk by chunk."""
    chunk, balanced = int(machine.settings["chunk"]), machine.settings["balance"] == 1
    rows = sorted(range(len(w)), key=lambda row: -int(w[row].sum())) if balanced else list(range(len(w)))
    a_set = machine.cols * (2 if balanced else 1)
    clusters = []
    for cluster in range(machine.rows):
        busy = 0
        for first in range(0, len(rows), a_set):
            held = rows[first : first + a_set]
            units = [[held[at]] if at < len(held) else [] for at in range(machine.cols)]
            for at in range(machine.cols, len(held)):
                units[a_set - 1 - at].append(held[at])
            for mine in x[cluster :: machine.rows]:
                busy += max(sum(joined(mine, w[row], chunk, machine.macs) for row in unit) for unit in units)
        clusters.append(busy)
    return max(clusters)


def joined(x: Mask, w: Mask, chunk: int, matches: int) -> int:
    cycles = 0
    for first in range(0, x.size, chunk):
        found = int((x[first : first + chunk] & w[first : first + chunk]).sum())
        cycles += max(1, -(-found // matches))
    return cycles


@settings(max_examples=40)
@given(
    st.integers(1, 7), st.integers(1, 11), st.integers(1, 20), st.integers(0, 999), st.sampled_from([0.1, 0.5, 1.0]),
    st.sampled_from([0.3, 1.0]), st.integers(1, 3), st.integers(1, 4), st.integers(1, 2), st.sampled_from([0.0, 1.0]),
)  # fmt: skip
def test_the_core_is_its_twin(
    m: int, n: int, k: int, seed: int, share_w: float, share_x: float,
    clusters: int, units: int, macs: int, balance: float,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    w, x = rng.random((n, k)) < share_w, rng.random((m, k)) < share_x
    machine = PeConfig(clusters, units, macs, Buffers(64, 64, 64), 8.0, 8, 8, {"chunk": 6.0, "balance": balance})
    work = run(w, x, machine)
    assert work.cycles - work.causes["dram"] - work.causes["fill"] == twin(w, x, machine)


def test_balancing_pairs_dense_rows_with_sparse_ones() -> None:
    rng = np.random.default_rng(0)
    w = rng.random((64, 1024)) < np.linspace(0.05, 0.6, 64)[rng.permutation(64), None]
    x = rng.random((32, 1024)) < 0.5
    off, on = (run(w, x, machine) for machine in (MACHINE, BALANCED))
    assert on.macs == off.macs
    assert on.causes["imbalance"] < 0.4 * off.causes["imbalance"]


def test_a_chunk_without_a_match_costs_a_cycle() -> None:
    w, x = np.zeros((8, 1024), np.bool_), np.zeros((4, 1024), np.bool_)
    w[:, ::2], x[:, 1::2] = True, True
    work = run(w, x, MACHINE)
    assert work.macs == 0 and work.causes["join"] == 1024 // 128


def test_the_closed_form_knows_n_of_m() -> None:
    weights, inputs = Sparsity.parse("2:8"), Sparsity.parse("unstructured:0.5")
    engine = ENGINES.get("sparten")
    walked = engine.run(weights.draw(64, 512, 0), inputs.draw(32, 512, 1), MACHINE)
    assert engine.expect((32, 64, 512), weights, inputs, MACHINE).cycles == pytest.approx(walked.cycles, rel=0.1)


def test_balance_is_on_or_off() -> None:
    machine = PeConfig(4, 8, 1, MACHINE.buffers, 8.0, 8, 8, {**OWN, "balance": 2.0})
    with pytest.raises(SpecError, match="expected 0 or 1"):
        run(np.ones((4, 4), np.bool_), np.ones((4, 4), np.bool_), machine)
