# SPDX-License-Identifier: Apache-2.0
"""Sparse engines that have no file of their own: the contract, and the walk of real masks through the public door."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import simsparse as ss
from simsparse.config.hardware import load_hardware
from simsparse.config.paths import part_names
from simsparse.core import DType, Sparsity
from simsparse.dataflow import Buffers
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, double_buffered
from simsparse.errors import MappingError, SpecError
from simsparse.sparsity.nonzeros import NonZeros, effectual_macs
from simsparse.testing import EngineContract

PART = "accel/eyeriss-v2-pe"


class TestEyerissV2(EngineContract):
    name, engine = "eyeriss_v2", ENGINES.get("eyeriss_v2")
    machine = PeConfig(2, 3, 2, Buffers(4096, 4096, 4096), 16.0, 8, 8, {"run_bits": 4})

    def test_one_pe_takes_the_products_of_two_non_zeros(self) -> None:
        rng = np.random.default_rng(0)
        w, x = rng.random((40, 64)) < 0.3, rng.random((50, 64)) < 0.5
        one = PeConfig(1, 1, 1, Buffers(1, 1, 1), 1e9, 8, 8, {"run_bits": 4})
        work = self.engine.run(NonZeros.of(w), NonZeros.of(x), one)
        assert work.cycles == sum(int(x[:, c].sum()) * int(w[:, c].sum()) for c in range(64))


class TestEdgeMoE(EngineContract):
    name, engine = "edge_moe", ENGINES.get("edge_moe")
    machine = PeConfig(4, 8, 1, Buffers(1, 1, 1), 128.0, 16, 16,
                      {"weight_bits": 16, "axi_bits": 64, "axi_latency": 5, "by_expert": 1})  # fmt: skip

    def test_two_buffers_hide_all_but_the_first_load_when_computing_is_longer(self) -> None:
        work = self.engine.experts([40, 50], 16, 32, False, self.machine)
        assert work is not None and work.macs == 90 * 2 * 16 * 32
        assert work.causes == {"compute": 90 * 2 * 16, "load": 32 * 4 + 5}

    def test_a_layer_by_hand_where_loading_is_longer(self) -> None:
        """Loads of 133, 133, 133, 133 cycles; computing takes 16 each."""
        work = self.engine.experts([1, 1], 16, 32, False, self.machine)
        assert work is not None and work.cycles == 133 + 3 * 133 + 16

    def test_the_order_by_tokens_loads_an_expert_for_each(self) -> None:
        by_token = replace(self.machine, settings={**self.machine.settings, "by_expert": 0})
        queued, each = (self.engine.experts([3, 5], 16, 32, False, machine) for machine in (self.machine, by_token))
        assert queued is not None and each is not None
        assert (queued.events["expert_loads"], each.events["expert_loads"]) == (2, 8)
        assert each.cycles > queued.cycles and each.macs == queued.macs


def test_an_moe_layer_runs_as_a_whole_on_edge_moe() -> None:
    op = ss.ops.moe_ffn(4, 192, 384, 16, gated=False, dtype="int8", routing=[[0, 1], [0, 2], [0, 1], [3, 1]])
    cost = ss.estimate(op, "accel/edge-moe-zcu102")
    assert cost.latency_s == pytest.approx((4 * 2 * (4608 + 64) + 288) / 300e6, rel=1e-9)


@pytest.mark.parametrize("sparsity", ["dense", "2:4", "3:7", "unstructured:0.1", "block8:0.25", "bank16:0.25"])
def test_a_drawn_pattern_is_what_it_says(sparsity: str) -> None:
    pattern = Sparsity.parse(sparsity).draw(64, 96, 0)
    assert pattern.density == pytest.approx(Sparsity.parse(sparsity).kept(64, 96) / (64 * 96), rel=0.1)
    np.testing.assert_array_equal(NonZeros.of(pattern.mask()).columns, pattern.columns)
    np.testing.assert_array_equal(pattern.transposed.mask(), pattern.mask().T)
    if sparsity == "2:4":
        assert (pattern.mask().reshape(-1, 4).sum(axis=1) == 2).all()
    assert pattern.columns.tolist() == Sparsity.parse(sparsity).draw(64, 96, 0).columns.tolist()


def test_effectual_macs_are_those_of_the_masks() -> None:
    w, x = (
        Sparsity.parse("2:4").draw(20, 50, 1),
        Sparsity.parse("unstructured:0.3").draw(30, 50, 2),
    )
    assert effectual_macs(w, x) == int((x.mask().astype(int) @ w.mask().T.astype(int)).sum())


@pytest.mark.parametrize(
    ("pointers", "columns"), [([0, 1], [0]), ([0, 1, 3], [0, 1]), ([0, 2, 1], [0]), ([0, 1, 2], [0, 9])]
)
def test_a_pattern_that_is_none(pointers: list[int], columns: list[int]) -> None:
    with pytest.raises(SpecError):
        NonZeros((2, 8), np.array(pointers, np.int64), np.array(columns, np.int32))


def test_double_buffering_hides_all_but_the_first_load() -> None:
    total, waiting = double_buffered(np.array([5, 5, 20]), np.array([10, 10, 10]))
    assert (total, waiting) == (5 + 10 + 20 + 10, 15)


def test_real_masks_through_the_public_door() -> None:
    op = ss.ops.linear(m=8, n=16, k=32, dtype="int8", weight_sparsity="unstructured:0.5")
    drawn = ss.cycles(op, load_hardware(PART))
    mask = np.zeros((16, 32), np.bool_)
    mask[:, :4] = True
    real = ss.cycles(op, load_hardware(PART), weight_mask=mask)
    assert real.cycles < drawn.cycles
    assert sum(real.causes.values()) == real.cycles
    with pytest.raises(MappingError, match="does not fit"):
        ss.cycles(op, load_hardware(PART), weight_mask=mask.T)


def test_levels_of_an_estimate() -> None:
    op = ss.ops.linear(m=64, n=256, k=256, dtype="int8", weight_sparsity="unstructured:0.3")
    closed, walked = ss.estimate(op, PART), ss.estimate(op, PART, level=2)
    assert (closed.level, walked.level) == (0, 2)
    assert closed.latency_s == pytest.approx(walked.latency_s, rel=0.15)
    assert walked.validated is None


@pytest.mark.parametrize("name", sorted(set(ENGINES) - {"eie", "edge_moe"}))
def test_weights_of_another_width_are_read_as_they_are_stored_or_refused(name: str) -> None:
    parts = [load_hardware(each) for each in part_names() if each.startswith("accel/")]
    part = next((each for each in parts if each.array.dataflow == name), None)
    if part is None:
        pytest.skip("no part has this engine")
    dtype = max(part.array.macs, key=lambda each: DType(each).bits)
    ops = [ss.ops.linear(1, 512, 512, dtype, weight_dtype=each) for each in (None, "int4")]
    if not ENGINES.get(name).widens:
        with pytest.raises(MappingError, match=f"no path for int4 weights with {dtype} inputs"):
            ss.estimate(ops[1], part)
        return
    for level in (0, 2):
        wide, narrow = (ss.estimate(op, part, level=level).energy_by_component["dram.read_byte"] for op in ops)
        saved = (DType(dtype).bits - 4) / 8 * 512 * 512 * part.energy.dram_byte.si
        assert wide - narrow == pytest.approx(saved, rel=0.01)
