# SPDX-License-Identifier: Apache-2.0
"""What is kept of a simulation changes none of its numbers, to the last bit."""

from __future__ import annotations

import pytest

from simsparse import simulate
from simsparse.core import Keep, TraceBuilder, ops
from simsparse.errors import SimulationError, SpecError
from simsparse.paths import data_root
from simsparse.policies import POLICIES
from simsparse.testing.fake_machine import moe_trace, offload_system
from simsparse.trace.file import load_trace

TRACES = ("llama2-7b-decode-b8", "llama2-7b-prefill", "mixtral-8x7b-decode-b1")
SYSTEMS = ("systems/h100-pcie5", "systems/bank-pim", "systems/sat-vcu1525", "cpu/h100-host")


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_summary_is_that_of_the_whole_simulation(name: str, system: str) -> None:
    trace = load_trace(data_root() / "traces" / f"{name}.trace").with_weight_sparsity("2:4")
    if system == "systems/bank-pim" and name.startswith("mixtral"):
        system = "systems/h200-pcie5"  # bank PIM holds 2:4 weights as dense ones, for which it is too small
    short, rows, whole = (simulate(trace, system, seed=3, level=0, keep=keep) for keep in Keep)
    assert short.summary() == rows.summary() == whole.summary()
    assert list(short.seconds_by_bound) == list(whole.seconds_by_bound)
    assert (short.ops, short.timeline.spans, short.timeline.end_fs) == ((), (), whole.timeline.end_fs)
    assert (rows.ops, rows.timeline) == (whole.ops, short.timeline)
    sums: dict[str, float] = {}
    for row in whole.ops:
        sums[row.bound] = sums.get(row.bound, 0.0) + row.latency_s
    assert sums == short.seconds_by_bound


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("level", [0, 1])
def test_copies_are_summed_up_the_same(policy: str, level: int) -> None:
    short, whole = (simulate(moe_trace(), offload_system(), policy, level=level, keep=keep)
                    for keep in ("summary", "timeline"))  # fmt: skip
    assert short.summary() == whole.summary()


def test_a_full_memory_is_the_same_error() -> None:
    trace = TraceBuilder("t").add(ops.linear(8, 1 << 20, 1 << 20)).build()
    errors = []
    for keep in Keep:
        with pytest.raises(SimulationError) as error:
            simulate(trace, "systems/h100-pcie5", level=0, keep=keep)
        errors.append(str(error.value))
    assert len(set(errors)) == 1


def test_what_can_not_be_kept_is_named() -> None:
    with pytest.raises(SpecError, match=r"'row' can't be kept.*rows"):
        simulate(moe_trace(), offload_system(), keep="row")
