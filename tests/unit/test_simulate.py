# SPDX-License-Identifier: Apache-2.0
"""simulate: the pipeline on machines whose arithmetic can be done by hand."""

from __future__ import annotations

import gc
import importlib
from pathlib import Path
from typing import ClassVar

import pytest

import simsparse as ss
from simsparse.config.hardware import load_system
from simsparse.core import Trace, TraceBuilder, ops
from simsparse.errors import SpecError
from simsparse.events import Progress
from simsparse.testing.fake_machine import moe_trace, offload_system, two_processors


@pytest.mark.parametrize("level", [0, 1])
def test_resident_is_the_sum_of_its_ops(level: int) -> None:
    result = ss.simulate(moe_trace(layers=3, linears=2, hit=2), offload_system(), level=level)
    assert result.latency_s == pytest.approx(3 * (2 + 2) * 1e-6, rel=1e-12)


def test_levels_agree_exactly_on_one_device() -> None:
    trace, system = moe_trace(layers=7, linears=3), offload_system()
    estimate, events = (ss.simulate(trace, system, level=level) for level in (0, 1))
    assert estimate.timeline == events.timeline
    assert estimate.ops == events.ops
    assert estimate.energy_by_component == events.energy_by_component


def test_a_result_is_complete() -> None:
    result = ss.simulate(moe_trace(), offload_system(), "pregated", seed=5)
    assert (result.trace, result.system, result.policy, result.seed, result.level) == (
        "moe", "offload", "pregated", 5, 1,
    )  # fmt: skip
    assert set(result.energy_by_component) == {
        "gpu0.hbm.read_byte", "gpu0.hbm.write_byte", "host.dram.read_byte", "pcie.link.byte", "gpu0.static",
        "host.static", "pcie.static",
    }  # fmt: skip
    assert result.bound == "transfer"
    assert result.unvalidated == ()
    assert len(result.table()) == 9 + 3
    assert result.meta == {"phase": "decode"}


def test_a_result_shows_itself_in_one_line() -> None:
    text = repr(ss.simulate(moe_trace(), offload_system(), "pregated"))
    assert text == ("Result(trace='moe', system='offload', policy='pregated', latency_s=4.6864e-05, "
                    "energy_j=0.000750417, bound='transfer')")  # fmt: skip


def test_a_system_is_given_by_name_by_path_or_as_it_is(tmp_path: Path) -> None:
    name = "systems/h100-pcie5"
    path = tmp_path / "mine.yaml"
    path.write_text("kind: system\ndescription: one\ndevices: {gpu0: {part: gpu/h100-sxm5-80gb}}\n", encoding="utf-8")
    trace = moe_trace()
    assert ss.simulate(trace, name) == ss.simulate(trace, load_system(name))
    assert ss.simulate(trace, path).latency_s == ss.simulate(trace, str(path)).latency_s > 0


def test_memory_is_told_by_device_and_purpose() -> None:
    """3 layers of two 16 x 16 linears of 512 bytes, and of four experts of 6,144 bytes."""
    linears, moe = 3 * 2 * 512, 3 * 4 * 6144
    resident = ss.simulate(moe_trace(), offload_system()).memory
    assert resident == {"gpu0": {"weights": linears + moe, "activations": 64}}
    streamed = ss.simulate(moe_trace(), offload_system(), "pregated").memory
    assert streamed == {
        "gpu0": {"weights": linears, "activations": 64, "buffers": 2 * 2 * 6144},
        "host": {"weights": moe},
    }


def test_energy_of_copies_is_priced_on_the_link_and_in_both_memories() -> None:
    """6 experts of 6,144 bytes at 3, 10 and 2 pJ a byte: link, host read, device write."""
    result = ss.simulate(moe_trace(layers=3, hit=2), offload_system(), "on_demand")
    moved = 6 * 6144
    copies = sum(op.energy_j for op in result.ops if op.kind == "copy")
    assert copies == pytest.approx(moved * (3 + 10 + 2) * 1e-12)
    assert result.energy_by_component["pcie.link.byte"] == pytest.approx(moved * 3e-12)


def test_ops_that_nothing_checks_are_listed() -> None:
    result = ss.simulate(moe_trace(layers=1), load_system("accel/systolic-ws-32x32"))
    assert any("linear on accel/systolic-ws-32x32" in text for text in result.unvalidated)


def test_observers_see_the_run() -> None:
    seen: list[int] = []
    ss.simulate(moe_trace(), offload_system(), observers=[Progress(lambda done, _: seen.append(done), every=4)])
    assert seen == [4, 8]


@pytest.mark.parametrize(("argument", "value"), [("level", 3), ("policy", "pre_gated")])
def test_bad_arguments_are_named(argument: str, value: object) -> None:
    with pytest.raises(SpecError, match=f"{value!r}"):
        ss.simulate(moe_trace(), offload_system(), **{argument: value})


def test_functions_stay_functions_when_their_modules_are_imported() -> None:
    importlib.import_module("simsparse._simulate")
    importlib.import_module("simsparse._estimate")
    assert callable(ss.simulate)
    assert callable(ss.estimate)


def test_the_closed_form_bounds_the_engine_from_below_where_copies_share_a_link() -> None:
    """A 20 kB transfer beside two experts on demand: level 0 gives each copy the whole link.

    The engine shares it, so it takes longer, but no longer than with all copies one after the other.
    """
    trace = Trace("shared", (ops.transfer(20_000, "host", "gpu0"), *moe_trace(layers=1, hit=2).ops))
    estimate, events = (ss.simulate(trace, offload_system(), "on_demand", level=level) for level in (0, 1))
    copies_s = (1 + 20 + 2 * 7.144) * 1e-6
    assert estimate.latency_s < events.latency_s <= copies_s + 4e-6


@pytest.mark.parametrize("name", ["systems/systolic-ws-128x128", "systems/edge-moe-zcu102"])
def test_level_2_times_operators_by_cycle_cores(name: str) -> None:
    op = ss.ops.linear(m=32, n=96, k=160, dtype="int8", name="fc")
    trace = ss.TraceBuilder("one").add(op).build()
    closed, walked = (ss.simulate(trace, ss.load_system(name), level=level) for level in (1, 2))
    assert (closed.level, walked.level) == (1, 2)
    assert walked.latency_s == pytest.approx(closed.latency_s, rel=0.5)
    assert walked.summary()["level"] == 2


@pytest.mark.parametrize("level", [0, 1])
class TestWaiting:
    """Two devices that take turns: each stands still while the other works, which is no transfer."""

    POLICY: ClassVar = {"placement": {"kind": "mapped", "rules": [{"ops": "*.fast", "device": "fast"},
                                                                 {"ops": "*.slow", "device": "slow"}]}}  # fmt: skip

    def run(self, level: int) -> ss.Result:
        builder = TraceBuilder("turns")
        for i in range(4):
            builder.add(ops.linear(1, 100, 100, name=f"{i}.{'slow' if i % 2 else 'fast'}"))
        return ss.simulate(builder.build(), two_processors(), self.POLICY, level=level)

    def test_copies_count_what_they_take(self, level: int) -> None:
        """Three copies of 200 bytes at 1 TB/s; 2 us on ``slow`` and 2/3 us on ``fast``."""
        seconds = self.run(level).seconds_by_bound
        assert seconds["transfer"] == pytest.approx(3 * 200e-12)
        assert seconds["compute"] == pytest.approx((2 + 2 / 3) * 1e-6)

    def test_all_causes_add_up_to_the_latency_of_each_device(self, level: int) -> None:
        result = self.run(level)
        assert sum(result.seconds_by_bound.values()) == pytest.approx(2 * result.latency_s)
        assert result.seconds_by_bound["waiting"] == pytest.approx((2 + 2 / 3) * 1e-6, rel=1e-3)

    def test_a_result_is_bound_by_what_runs(self, level: int) -> None:
        assert self.run(level).bound == "compute"


@pytest.mark.parametrize("policy", ["resident", "on_demand", "prefetch_all", "pregated"])
def test_one_device_waits_for_copies_alone(policy: str) -> None:
    result = ss.simulate(moe_trace(), offload_system(), policy)
    assert "waiting" not in result.seconds_by_bound
    assert sum(result.seconds_by_bound.values()) == pytest.approx(result.latency_s)


@pytest.mark.parametrize("collects", [True, False])
def test_pythons_collector_is_as_before_after_a_run_and_after_an_error(collects: bool) -> None:
    trace = TraceBuilder("one").add(ops.linear(1, 64, 64)).build()
    try:
        (gc.enable if collects else gc.disable)()
        ss.simulate(trace, "cpu/h100-host")
        with pytest.raises(SpecError):
            ss.simulate(trace, "cpu/h100-host", level=7)
        assert gc.isenabled() is collects
    finally:
        gc.enable()
