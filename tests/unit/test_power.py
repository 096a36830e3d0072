# SPDX-License-Identifier: Apache-2.0
"""Runs under a power limit that averages over time, against arithmetic by hand.

The fake processor takes 1 us a linear under its limit and 0.5 us with power to spare; the link takes
1 us and 1 ns a byte. Nothing but linears draws power.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import simsparse as ss
from simsparse.config.hardware import Connection, System, load_system
from simsparse.core import Op, OpKind, Trace, TraceBuilder, ops
from simsparse.devices.base import DEVICES, Floats, PowerBudget
from simsparse.errors import SpecError
from simsparse.policies import Policy
from simsparse.policies.on_demand import on_demand
from simsparse.testing.fake_machine import FakeDevice, host, link, number
from simsparse.testing.fake_machine import FakePart as BaseFakePart

US = 1e-6


class LimitedPart(BaseFakePart):
    kind: str = "limited"  # type: ignore[assignment]


class LimitedDevice(FakeDevice):
    kind = "limited"

    @property
    def power_budget(self) -> PowerBudget:
        return PowerBudget(watts=100.0, speed=2.0, window_s=12 * US)

    def burst_gain(self, ops: Sequence[Op]) -> Floats:
        return np.where([op.kind == OpKind.LINEAR for op in ops], self.cost_arrays(ops).latency_s / 2, 0.0)


DEVICES.register("limited")(LimitedDevice)


def limited_system() -> System:
    part = LimitedPart.model_validate(
        {"name": "fake/limited", "description": "", "capacity": number("1 GB"), "speed": number(1),
         "idle": number("10 W")}
    )  # fmt: skip
    return System("limited", "", {"gpu0": part, "host": host()}, (Connection("pcie", link(), ("host", "gpu0")),))


def linears(count: int, d: int = 16) -> Trace:
    builder = TraceBuilder("linears")
    for i in range(count):
        builder.add(ops.linear(1, d, d, name=f"layers.{i}.q", module=f"layers.{i}"))
    return builder.build()


def latency_us(trace: Trace, policy: str | Policy = "resident", repeats: int | None = None, level: int = 1) -> float:
    return ss.simulate(trace, limited_system(), policy, level=level, repeats=repeats).latency_s / US


@pytest.mark.parametrize("level", [0, 1])
class TestBothLevels:
    def test_a_load_without_end_runs_at_the_limit(self, level: int) -> None:
        assert latency_us(linears(10), level=level) == pytest.approx(10)

    def test_one_short_run_has_power_to_spare(self, level: int) -> None:
        """Three linears at twice the speed, each 2^2 us of the limit's power: 12 us, the window."""
        assert latency_us(linears(3), repeats=1, level=level) == pytest.approx(1.5)

    def test_a_longer_run_spends_what_the_window_holds(self, level: int) -> None:
        """Six linears at speed s spend 6 s^2 us of 12: s is the square root of two."""
        assert latency_us(linears(6), repeats=1, level=level) == pytest.approx(6 / 2**0.5)

    def test_runs_in_a_row_share_the_window(self, level: int) -> None:
        assert latency_us(linears(3), repeats=2, level=level) == pytest.approx(3 / 2**0.5)
        assert latency_us(linears(3), repeats=3, level=level) == pytest.approx(3 / (4 / 3) ** 0.5)
        assert latency_us(linears(3), repeats=9, level=level) == pytest.approx(3)

    def test_waiting_for_copies_leaves_power(self, level: int) -> None:
        """A 16 x 16 linear's 512 bytes take 1.512 us: at speed s, s^2 = 1.512 + 1 / s."""
        speed = max(root.real for root in np.roots([1, 0, -1.512, -1]) if abs(root.imag) < 1e-9)
        found = latency_us(linears(5), on_demand(what="all"), level=level)
        assert found == pytest.approx(5 * (1.512 + 1 / speed), rel=2e-3)

    def test_speed_ends_at_that_of_a_rested_device(self, level: int) -> None:
        """32 KiB of weights take 33.8 us, far more than the linear."""
        found = latency_us(linears(4, d=128), on_demand(what="all"), level=level)
        assert found == pytest.approx(4 * (1 + 32.768 + 0.5))


def test_the_power_of_other_operators_counts() -> None:
    """Half a microsecond that draws the whole limit leaves nothing; one that draws next to nothing, all."""
    dear = TraceBuilder("mixed").add(ops.linear(1, 16, 16, name="a"))
    size = round(2 * 100 * US / 3e-12)
    dear.add(ops.elementwise(size, size, name="b"))
    assert latency_us(dear.build()) == pytest.approx(1.5)
    cheap = TraceBuilder("mixed").add(ops.linear(1, 16, 16, name="a")).add(ops.elementwise(1, 1, name="b"))
    speed = max(root.real for root in np.roots([1, 0, -0.5, -1]) if abs(root.imag) < 1e-9)
    assert latency_us(cheap.build()) == pytest.approx(0.5 + 1 / speed, rel=2e-3)


def test_the_short_way_of_sweeps_is_paced_too() -> None:
    builder = TraceBuilder("mixed")
    for layer in range(4):
        builder.add(ops.linear(1, 16, 16, name=f"{layer}.a")).add(ops.elementwise(8, 8, name=f"{layer}.b"))
    trace, system = builder.build(), limited_system()
    short, whole = (ss.simulate(trace, system, level=0, keep=keep) for keep in ("summary", "timeline"))
    assert short.summary() == whole.summary()
    assert short.ops == ()


@pytest.mark.parametrize("repeats", [0, -1])
def test_no_runs_are_an_error(repeats: int) -> None:
    with pytest.raises(SpecError, match="repeats"):
        ss.simulate(linears(1), limited_system(), repeats=repeats)


def large_gemms() -> Trace:
    builder = TraceBuilder("large")
    for i in range(8):
        builder.add(ops.linear(8192, 8192, 8192, name=f"layers.{i}.q", module=f"layers.{i}"))
    return builder.build()


def test_a_measured_card_runs_faster_between_copies_than_without_end() -> None:
    """8 GEMMs of 1.5 ms behind copies of 2.4 ms each: 39 % of the time, under what the limit averages."""
    system, trace = load_system("systems/h200-pcie5"), large_gemms()
    steady = ss.simulate(trace, system).latency_s
    burst = ss.simulate(trace, system, repeats=1).latency_s
    streamed = ss.simulate(trace, system, on_demand(what="all"))
    computing = sum(op.latency_s for op in streamed.ops if op.kind == "linear")
    assert computing == pytest.approx(burst, rel=1e-9)
    assert 1.08 < steady / burst < 1.15


def test_decode_is_the_same_whatever_ran_before() -> None:
    trace = TraceBuilder("decode").add(ops.linear(8, 8192, 8192)).build()
    system = load_system("systems/h100-pcie5")
    assert ss.simulate(trace, system, repeats=1).latency_s == ss.simulate(trace, system).latency_s
