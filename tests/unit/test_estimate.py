# SPDX-License-Identifier: Apache-2.0
"""estimate, estimate_many and cycles against one another and against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

import simsparse as ss
from simsparse.core import ops
from simsparse.errors import MappingError
from simsparse.testing.fake_machine import processor

MANY = [ops.linear(m, n, 64) for m in (1, 16) for n in (32, 64)] + [ops.elementwise(64, 64), ops.linear(1, 32, 64)]


def test_an_estimate_prices_actions_and_static_power() -> None:
    """1 us at 10 W, and 64 + 2 * 64 * 64 + 2 * 64 bytes at 1 pJ."""
    op = ops.linear(1, 64, 64)
    found = ss.estimate(op, processor())
    assert found.latency_s == 1e-6
    assert found.energy_by_component == pytest.approx({"hbm.read_byte": op.min_bytes * 1e-12, "static": 1e-5})
    assert found.energy_j == sum(found.energy_by_component.values())
    assert (found.bound, found.validated, found.level) == ("compute", "by hand", 0)


def test_many_estimates_are_those_of_single_ones() -> None:
    parts = [processor(), processor(speed=3)]
    many = ss.estimate_many(MANY, parts)
    assert many.latency_s.shape == many.energy_j.shape == many.bound.shape == (len(MANY), 2)
    for i, op in enumerate(MANY):
        for j, part in enumerate(parts):
            single = ss.estimate(op, part)
            assert many.latency_s[i, j] == single.latency_s
            assert many.energy_j[i, j] == pytest.approx(single.energy_j, rel=1e-12)
            assert many.bound[i, j] == single.bound


def test_a_pair_that_is_not_supported_is_nan() -> None:
    many = ss.estimate_many(MANY, [processor(refuses="linear"), processor()])
    assert np.isnan(many.latency_s[:, 0]).tolist() == [op.kind == "linear" for op in MANY]
    assert np.isnan(many.energy_j[:, 0]).tolist() == [op.kind == "linear" for op in MANY]
    assert (many.bound[:, 0] == "").tolist() == [op.kind == "linear" for op in MANY]
    assert not np.isnan(many.latency_s[:, 1]).any()


def test_nothing_gives_nothing() -> None:
    assert ss.estimate_many([], [processor()]).latency_s.shape == (0, 1)
    assert ss.estimate_many(MANY, []).latency_s.shape == (len(MANY), 0)


def test_a_refused_op_is_named() -> None:
    with pytest.raises(MappingError, match=r"mine: can't run on fake/processor: linear is refused"):
        ss.estimate(ops.linear(1, 8, 8, name="mine"), processor(refuses="linear"))


def test_a_part_is_taken_by_name() -> None:
    assert ss.estimate(ops.linear(64, 64, 64), "accel/systolic-ws-32x32").latency_s > 0


def test_cycles_walk_a_mask() -> None:
    """A dense mask costs what the closed form says; an emptier one costs no more."""
    op = ops.linear(64, 64, 64)
    full = ss.cycles(op, "accel/systolic-ws-32x32", np.ones((64, 64), np.bool_))
    half = ss.cycles(op, "accel/systolic-ws-32x32", np.tril(np.ones((64, 64), np.bool_)))
    assert 0 < half.cycles <= full.cycles
    assert 0 < full.utilization <= 1


def test_a_part_without_a_cycle_core_is_named() -> None:
    with pytest.raises(MappingError, match="fake/processor has no cycle core"):
        ss.cycles(ops.linear(8, 8, 8), processor(), np.ones((8, 8), np.bool_))


@pytest.mark.parametrize("m", [16, 512, 4096])
def test_a_simulation_of_one_operator_lies_between_its_steady_and_its_burst_estimate(m: int) -> None:
    op, card = ops.linear(m, 14336, 4096), "gpu/h100-sxm5-80gb"
    found = ss.estimate(op, card)
    for repeats in (None, 1):
        result = ss.simulate(ss.TraceBuilder("one").add(op).build(), card, repeats=repeats)
        assert found.burst_latency_s * (1 - 1e-9) <= result.latency_s <= found.latency_s * (1 + 1e-9)
        assert (result.clock.get("gpu0", 1.0) > 1) == (result.latency_s < found.latency_s)
    assert result.latency_s == pytest.approx(found.burst_latency_s)


@pytest.mark.parametrize(("pattern", "used"), [("1:8", "2:4"), ("2:4", None), ("4:8", "dense"), ("dense", None)])
def test_a_pattern_that_a_device_can_not_use_is_said(pattern: str, used: str | None) -> None:
    op, card = ops.linear(512, 4096, 4096, weight_sparsity=pattern), "gpu/h100-sxm5-80gb"
    result = ss.simulate(ss.TraceBuilder("one").add(op).build(), card, level=0)
    assert result.runs_as == ({} if used is None else {"gpu0": {pattern: used}})
    assert result.summary()["runs_as"] == result.runs_as
    assert result.notes == tuple(f"gpu0: {note}" for note in ss.estimate(op, card).notes)
    assert (result.notes != ()) == (used is not None)
