# SPDX-License-Identifier: Apache-2.0
"""The contracts of a policy and of a part of one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simsparse._simulate import simulate
from simsparse.config.hardware import System
from simsparse.core import Result, Span, Trace
from simsparse.errors import SimulationError, SpecError
from simsparse.lowering.machine import machine_of
from simsparse.lowering.trace_index import TraceIndex
from simsparse.policies import Policy
from simsparse.policies.base import ROLES
from simsparse.policies.part import PolicyPart
from simsparse.policies.placement import Placer
from simsparse.policies.prefetch import Prefetch
from simsparse.policies.residency import Residency
from simsparse.policies.residency.none import KeepNone
from simsparse.policies.site import Site
from simsparse.sources import Steps
from simsparse.testing.fake_machine import moe_trace, offload_system


class PolicyContract:
    """Inherit, set ``policy``, and override ``system`` or ``trace`` if the policy needs others."""

    policy: Policy

    @pytest.fixture(params=[0, 1])
    def level(self, request: pytest.FixtureRequest) -> int:
        """A fidelity at which the policy runs."""
        found: int = request.param
        if found == 0 and self.policy.controls:
            pytest.skip("the policy decides during the run")
        return found

    @pytest.fixture
    def system(self) -> System:
        return offload_system(issue="3 us")

    @pytest.fixture
    def trace(self) -> Trace:
        return moe_trace(layers=4, experts=5, hit=2, linears=3)

    def test_every_op_is_placed_on_a_device_that_exists(self, trace: Trace, system: System) -> None:
        placed = self.policy.place(TraceIndex(trace), machine_of(system))
        assert placed.policy == self.policy.name
        assert set(placed.by_op) == {op.name for op in trace.ops}
        for placement in placed.by_op.values():
            assert placement.device in system.devices
            assert placement.weight_home in system.devices

    def test_every_op_runs_once_in_an_order_that_its_dependencies_allow(
        self, trace: Trace, system: System, level: int
    ) -> None:
        result = simulate(trace, system, self.policy, level=level)
        spans = [span for span in result.timeline.spans if span.kind != "copy"]
        assert len({span.name for span in spans}) == len(spans)
        starts, ends = dict[str, int](), dict[str, int]()
        for span in spans:
            op_name = span.name.removesuffix(" on host")
            starts[op_name] = min(span.start_fs, starts.get(op_name, span.start_fs))
            ends[op_name] = max(span.end_fs, ends.get(op_name, 0))
        assert sorted(starts) == sorted(op.name for op in trace.ops)
        for op in trace.ops:
            for dep in op.deps:
                assert ends[dep] <= starts[op.name]

    def test_lanes_do_one_thing_at_a_time(self, trace: Trace, system: System, level: int) -> None:
        free: dict[tuple[str, str], int] = {}
        for span in simulate(trace, system, self.policy, level=level).timeline.spans:
            assert span.start_fs >= free.get((span.device, span.lane), 0)
            free[span.device, span.lane] = span.end_fs

    def test_same_inputs_give_the_same_result(self, trace: Trace, system: System, level: int) -> None:
        first, second = (simulate(trace, system, self.policy, seed=1, level=level) for _ in range(2))
        assert first == second

    def test_no_policy_beats_compute_alone(self, trace: Trace, system: System) -> None:
        compute = simulate(trace, system, "resident").latency_s
        assert simulate(trace, system, self.policy).latency_s >= compute

    def test_a_full_memory_is_an_error_that_names_device_need_and_capacity(self, trace: Trace, level: int) -> None:
        with pytest.raises(SimulationError, match=r"gpu0 is full: [\d.]+ \w+ needed .*capacity 1000 bytes"):
            simulate(trace, offload_system(capacity="1 kB"), self.policy, level=level)

    def test_an_empty_trace_takes_no_time(self, system: System) -> None:
        result = simulate(Trace("empty", ()), system, self.policy)
        assert result.latency_s == 0
        assert result.energy_j == 0
        assert result.ops == ()

    def test_level_0_refuses_what_needs_events(self, trace: Trace, system: System) -> None:
        if self.policy.controls:
            with pytest.raises(SpecError, match="decides during the run"):
                simulate(trace, system, self.policy, level=0)


class PolicyPartContract(PolicyContract):
    """Inherit and set ``part``; it is checked in a policy whose other parts are the simplest."""

    part: PolicyPart

    @property
    def policy(self) -> Policy:  # type: ignore[override]
        """The policy of the part."""
        if isinstance(self.part, Placer):
            return Policy(self.part.name, placement=self.part)
        if isinstance(self.part, Residency):
            return Policy(self.part.name, residency=self.part)
        if isinstance(self.part, Site):
            return Policy(self.part.name, residency=KeepNone(), site=self.part)
        assert isinstance(self.part, Prefetch)
        return Policy(self.part.name, residency=KeepNone(), prefetch=self.part)

    def test_it_is_registered(self) -> None:
        role = next(role for role, kind in KINDS_OF_PARTS.items() if isinstance(self.part, kind))
        assert ROLES[role].get(self.part.name) is type(self.part)

    def test_it_is_immutable_and_equal_by_its_options(self) -> None:
        again = replace(self.part)
        assert again == self.part and repr(again) == repr(self.part)

    def test_it_draws_only_where_it_says_so(self, system: System) -> None:
        if not self.part.draws:
            source = Steps(moe_trace(experts=5), 8, _routing(0, 8))
            first, other = (simulate(source, system, self.policy, seed=seed) for seed in (1, 2))
            assert (first.timeline, first.cache) == (other.timeline, other.cache)

    def test_it_sees_no_more_of_the_future_than_it_says(self, system: System) -> None:
        """Steps that come later change nothing in the first ones."""
        if self.part.lookahead is not None:
            ends = [_routing(3, 8), [*_routing(3, 4), *_routing(7, 4)]]
            first, other = (simulate(Steps(moe_trace(experts=5), 8, each), system, self.policy) for each in ends)
            assert _first_steps(first, 4) == _first_steps(other, 4)


KINDS_OF_PARTS = {"placement": Placer, "residency": Residency, "prefetch": Prefetch, "site": Site}


def _routing(seed: int, steps: int) -> list[dict[str, list[list[int]]]]:
    """Two experts of five in each of three layers, for each step."""
    return [{f"layers.{layer}.moe": [[(step * seed + layer) % 5, (step * seed + layer + 1 + step % 3) % 5]]
             for layer in range(3)} for step in range(steps)]  # fmt: skip


def _first_steps(result: Result, steps: int) -> list[Span]:
    later = tuple(f"step{step}." for step in range(steps, 64))
    return [span for span in result.timeline.spans if not span.name.startswith(later)]
