# SPDX-License-Identifier: Apache-2.0
"""What a policy does during a run costs time, link bytes, rows and energy as the trace's own work does.

The fake processor takes 1 us per linear and per expert; the link 1 us and 1 ns per byte.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import simsparse as ss
from simsparse.core import ActionCounts, Result, ops
from simsparse.errors import MappingError, SimulationError, SpecError
from simsparse.events.simulator import Process
from simsparse.lowering.live_run import LiveRun
from simsparse.policies import Policy
from simsparse.policies.prefetch.none import NoPrefetch
from simsparse.testing.fake_machine import READ, moe_trace, offload_system, two_processors

US = 1e-6
GB = 10**9
TRACE = moe_trace(layers=1, linears=1, hit=1)


def policy(decide: Callable[[LiveRun], Process]) -> Policy:
    """Everything resident, and a part that does during the run what ``decide`` says."""

    class Deciding(NoPrefetch):
        def control(self, run: LiveRun) -> Process:
            return decide(run)

    return Policy("deciding", prefetch=Deciding())


def simulated(decide: Callable[[LiveRun], Process], seed: int = 0) -> Result:
    return ss.simulate(
        moe_trace(layers=1, linears=1, hit=1), offload_system(capacity="2 GB"), policy(decide), seed=seed
    )


def copy_and_kernel(run: LiveRun) -> Process:
    yield run.copy("host", "gpu0", GB, "late copy")
    yield run.kernel("gpu0", 10**12, "late kernel", ActionCounts({READ: 5000}))


def test_a_copy_and_a_kernel_cost_what_they_take() -> None:
    """A linear and an expert in 2 us, then idle until 1 us + 1 s of copying have passed, then 1 ms of kernel."""
    plain, result = ss.simulate(TRACE, offload_system()), simulated(copy_and_kernel)
    assert result.latency_s == pytest.approx(1 * US + 1.0 + 1e-3, rel=1e-12)
    rows = {row.name: row for row in result.ops}
    assert rows["late copy"].bytes == result.counts.of("pcie.link", "byte") == GB
    assert rows["late copy"].energy_j == pytest.approx(GB * (3 + 10 + 2) * 1e-12)
    assert rows["late kernel"].energy_j == pytest.approx(5000 * 1e-12)
    assert rows["late kernel"].latency_s == pytest.approx(1e-3)
    assert sum(row.latency_s for row in result.ops) == pytest.approx(result.latency_s, rel=1e-12)
    assert result.bound == "transfer"
    own = sum(row.energy_j for row in result.ops)
    static = sum(joules for name, joules in result.energy_by_component.items() if name.endswith(".static"))
    assert own + static == pytest.approx(result.energy_j, rel=1e-12)
    assert own == pytest.approx(sum(row.energy_j for row in plain.ops) + GB * 15e-12 + 5e-9, rel=1e-12)
    assert {"late copy", "late kernel"} <= {span.name for span in result.timeline.spans}
    assert "gpu0: control on fake/processor" in result.unvalidated


def test_an_operator_that_a_policy_adds_runs_as_the_device_says() -> None:
    def decide(run: LiveRun) -> Process:
        yield run.task("layers.0.moe")
        run.run(ops.linear(1, 8, 8, name="again"), "gpu0")

    result = simulated(decide)
    row = next(row for row in result.ops if row.name == "again")
    assert (row.kind, row.latency_s, row.validated) == ("linear", pytest.approx(US), "by hand")
    assert row.start_s == pytest.approx(2 * US)
    assert row.flops == 2 * 8 * 8


def test_an_operator_is_held_back_until_what_it_needs_has_come() -> None:
    def decide(run: LiveRun) -> Process:
        ready = run.event()
        run.hold("layers.0.moe", ready)
        yield run.task("layers.0.q0")
        yield run.copy("host", "gpu0", 4000, "expert")
        ready.succeed()

    result = simulated(decide)
    assert next(row for row in result.ops if row.name == "layers.0.moe").start_s == pytest.approx((1 + 1 + 4) * US)
    assert result.latency_s == pytest.approx(7 * US)


def test_what_has_started_is_not_held_back() -> None:
    def decide(run: LiveRun) -> Process:
        yield run.task("layers.0.q0")
        run.hold("layers.0.q0", run.event())

    with pytest.raises(SimulationError, match=r"layers\.0\.q0 has started"):
        simulated(decide)


def test_memory_that_is_taken_and_given_back_shows_in_the_peak() -> None:
    def decide(run: LiveRun) -> Process:
        assert run.free_bytes("gpu0") == 2 * GB - before
        yield run.alloc("gpu0", GB, "buffers")
        run.free("gpu0", GB, "buffers")
        yield run.alloc("gpu0", 10, "KV cache")

    before = sum(ss.simulate(TRACE, offload_system()).memory["gpu0"].values())
    result = simulated(decide)
    assert sum(result.memory["gpu0"].values()) == before + GB
    assert result.memory["gpu0"]["buffers"] == GB
    assert "KV cache" not in result.memory["gpu0"]


def test_random_decisions_follow_the_seed() -> None:
    def decide(run: LiveRun) -> Process:
        yield run.timeout(int(run.rng.integers(10**12)))
        run.copy("host", "gpu0", 1, "late")

    first, again, other = (simulated(decide, seed).latency_s for seed in (1, 1, 2))
    assert first == again != other


def test_level_0_refuses_what_needs_events() -> None:
    system = offload_system()
    with pytest.raises(SpecError, match="deciding decides during the run, which level 0 has not"):
        ss.simulate(moe_trace(), system, policy(copy_and_kernel), level=0)


def test_an_unknown_operator_is_named() -> None:
    def decide(run: LiveRun) -> Process:
        yield run.task("layers.0.moo")

    with pytest.raises(SimulationError, match=r"'layers\.0\.moo' is no operator of the trace.*layers\.0\.moe"):
        simulated(decide)


@pytest.mark.parametrize(
    ("device", "message"),
    [("fast", "late: can't run on fast: elementwise is refused"), ("fest", "late: 'fest' is no device of pair.*fast")],
)
def test_a_device_that_cannot_run_an_operator_is_named(device: str, message: str) -> None:
    def decide(run: LiveRun) -> Process:
        yield run.run(ops.elementwise(8, 8, name="late"), device)

    with pytest.raises(MappingError, match=message):
        ss.simulate(moe_trace(layers=1), two_processors(refuses="elementwise"), policy(decide))
