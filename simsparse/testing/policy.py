"""The contract of a policy."""

from __future__ import annotations

import pytest

from simsparse._simulate import simulate
from simsparse.config.hardware import System
from simsparse.core import Trace
from simsparse.errors import SimsparseError, SimulationError
from simsparse.lowering.machine import machine_of
from simsparse.policies import POLICIES, Policy
from simsparse.testing.fake_machine import moe_trace, offload_system


class PolicyContract:
    """Inherit, set ``policy``, and override ``system`` if the policy needs another machine."""

    policy: Policy

    @pytest.fixture
    def system(self) -> System:
        return offload_system(issue="3 us")

    @pytest.fixture
    def trace(self) -> Trace:
        return moe_trace(layers=4, experts=5, hit=2, linears=3)

    def test_it_is_registered(self) -> None:
        assert POLICIES.get(self.policy.name) is type(self.policy)

    def test_every_op_is_placed_on_a_device_that_exists(self, trace: Trace, system: System) -> None:
        placed = self.policy.place(trace, machine_of(system))
        assert placed.policy == self.policy.name
        assert set(placed.by_op) == {op.name for op in trace.ops}
        for placement in placed.by_op.values():
            assert placement.device in system.devices
            assert placement.weight_home in system.devices

    @pytest.mark.parametrize("level", [0, 1])
    def test_every_op_runs_once_in_an_order_that_its_dependencies_allow(
        self, trace: Trace, system: System, level: int
    ) -> None:
        result = simulate(trace, system, self.policy, level=level)
        spans = {span.name: span for span in result.timeline.spans if span.kind != "copy"}
        assert sorted(span.name for span in result.timeline.spans if span.kind != "copy") == sorted(
            op.name for op in trace.ops
        )
        for op in trace.ops:
            for dep in op.deps:
                assert spans[dep].end_fs <= spans[op.name].start_fs

    @pytest.mark.parametrize("level", [0, 1])
    def test_lanes_do_one_thing_at_a_time(self, trace: Trace, system: System, level: int) -> None:
        free: dict[tuple[str, str], int] = {}
        for span in simulate(trace, system, self.policy, level=level).timeline.spans:
            assert span.start_fs >= free.get((span.device, span.lane), 0)
            free[span.device, span.lane] = span.end_fs

    @pytest.mark.parametrize("level", [0, 1])
    def test_same_inputs_give_the_same_result(self, trace: Trace, system: System, level: int) -> None:
        first, second = (simulate(trace, system, self.policy, seed=1, level=level) for _ in range(2))
        assert first == second

    def test_no_policy_beats_compute_alone(self, trace: Trace, system: System) -> None:
        compute = simulate(trace, system, "resident").latency_s
        assert simulate(trace, system, self.policy).latency_s >= compute

    @pytest.mark.parametrize("level", [0, 1])
    def test_a_full_memory_is_an_error_that_names_device_need_and_capacity(self, trace: Trace, level: int) -> None:
        with pytest.raises(SimulationError, match=r"gpu0 is full: [\d.]+ \w+ needed .*capacity 1000 bytes"):
            simulate(trace, offload_system(capacity="1 kB"), self.policy, level=level)

    def test_an_empty_trace_takes_no_time(self, system: System) -> None:
        result = simulate(Trace("empty", ()), system, self.policy)
        assert result.latency_s == 0
        assert result.energy_j == 0
        assert result.ops == ()

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises((SimsparseError, TypeError)):
            type(self.policy)(no_such_option=1)  # type: ignore[call-arg]
