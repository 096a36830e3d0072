"""simulate: the pipeline on machines whose arithmetic can be done by hand."""

from __future__ import annotations

import pytest
from contracts.fake_machine import moe_trace, offload_system

import simsparse as ss


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
