# SPDX-License-Identifier: Apache-2.0
"""Constant fan-in: the contract, a twin that grants one index of a bank a cycle, conflicts and broadcasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.base import Mask
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig
from simsparse.sparsity.formats.fan_in import ConstantFanIn
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.testing import EngineContract

MACHINE = PeConfig(8, 16, 1, Buffers(1 << 16, 1 << 18, 1 << 16), 64.0, 16, 16, {"banks": 16.0, "index_bits": 16.0})


class TestFanIn(EngineContract):
    name, engine, machine = "fan_in", ENGINES.get("fan_in"), MACHINE


class TestFanInWithFewBanks(EngineContract):
    name, engine = "fan_in", ENGINES.get("fan_in")
    machine = replace(MACHINE, rows=16, cols=4, settings={"banks": 4.0, "index_bits": 16.0})
    sparsities = (*EngineContract.sparsities, ("1:8", "dense"), ("bank16:0.25", "dense"))


def grant_by_grant(mask: Mask, lanes: int, banks: int) -> int:
    """Cycles of a batch: in each step every bank serves one index a cycle until nobody waits."""
    rows = [np.flatnonzero(row).tolist() for row in mask if row.any()]
    cycle = 0
    for first in range(0, len(rows), lanes):
        group = [list(row) for row in rows[first : first + lanes]]
        while any(group):
            asking = {row.pop(0) for row in group if row}
            while asking:
                for bank in range(banks):
                    asking -= set(sorted(index for index in asking if index % banks == bank)[:1])
                cycle += 1
    return cycle


@settings(max_examples=60)
@given(
    st.integers(1, 24), st.integers(1, 40), st.integers(0, 999), st.sampled_from([0.03, 0.2, 0.6, 1.0]),
    st.integers(1, 6), st.integers(1, 7), st.integers(1, 9),
)  # fmt: skip
def test_the_core_is_its_twin(n: int, k: int, seed: int, share: float, lanes: int, banks: int, m: int) -> None:
    w = np.random.default_rng(seed).random((n, k)) < share
    has = PeConfig(lanes, 4, 1, Buffers(1, 1 << 20, 1), 1e9, 16, 16, {"banks": float(banks), "index_bits": 16.0})
    work = ENGINES.get("fan_in").run(NonZeros.of(w), NonZeros.dense(m, k), has)
    assert work.cycles - work.causes["dram"] == -(-m // 4) * grant_by_grant(w, lanes, banks)


def test_equal_indexes_are_one_access_and_equal_banks_are_not() -> None:
    for columns, cycles in (([3] * 8, 1), (list(range(8)), 1), ([0, 16, 32, 48, 64, 80, 96, 112], 8)):
        w = np.zeros((8, 128), np.bool_)
        w[np.arange(8), columns] = True
        work = ENGINES.get("fan_in").run(NonZeros.of(w), NonZeros.dense(1, 128), replace(MACHINE, dram_bytes=1e9))
        assert work.cycles - work.causes["dram"] == cycles


def test_constant_fan_in_leaves_no_lane_idle() -> None:
    """Equal density: rows of equal counts against rows of random ones."""
    constant = Sparsity.parse("bank512:0.1").draw(256, 512, 1)
    random = Sparsity.parse("unstructured:0.1").draw(256, 512, 1)
    even, uneven = (ENGINES.get("fan_in").run(w, NonZeros.dense(16, 512), MACHINE) for w in (constant, random))
    assert even.causes["uneven"] == 0 and uneven.causes["uneven"] > 0.1 * uneven.causes["compute"]


def test_ablated_outputs_cost_nothing() -> None:
    w = Sparsity.parse("bank128:0.1").draw(64, 128, 2).mask()
    ablated = np.zeros((128, 128), np.bool_)
    ablated[::2] = w
    both = [ENGINES.get("fan_in").run(NonZeros.of(mask), NonZeros.dense(8, 128), MACHINE) for mask in (w, ablated)]
    assert both[0].cycles - both[0].causes["dram"] == both[1].cycles - both[1].causes["dram"]
    assert both[0].dram_read == both[1].dram_read and both[1].events["active"] == 64


def test_weights_are_stored_as_the_format_stores_them() -> None:
    w = Sparsity.parse("bank128:0.125").draw(64, 128, 2)
    form = ConstantFanIn(16)
    stored = form.stored_bits((64, 128), form.units(w.mask()), 16) // 8
    has = replace(MACHINE, settings={"banks": 16.0, "index_bits": 7.0})
    work = ENGINES.get("fan_in").run(w, NonZeros.dense(4, 128), has)
    assert work.dram_read - 4 * 128 * 2 == pytest.approx(stored, abs=8)
