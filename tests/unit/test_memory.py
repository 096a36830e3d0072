# SPDX-License-Identifier: Apache-2.0
"""DRAM parts give the rates and energies of the command-level runs they were read from."""

from __future__ import annotations

import pytest

from simsparse import ops
from simsparse.config.hardware import load_hardware
from simsparse.devices.base import device_for
from simsparse.devices.memory import ACTIVATE, READ, MemoryDevice
from simsparse.errors import MappingError

MIB16 = 16 << 20


def memory(name: str) -> MemoryDevice:
    device = device_for(load_hardware(f"memory/{name}"))
    assert isinstance(device, MemoryDevice)
    return device


def test_a_stream_takes_bytes_over_the_share_of_peak() -> None:
    ddr4 = memory("ddr4-2400")
    assert ddr4.seconds(MIB16) == pytest.approx(MIB16 / (0.9505 * 19.2e9))
    assert ddr4.seconds(MIB16, random=True) == pytest.approx(MIB16 / (0.5851 * 19.2e9))


def test_one_byte_costs_a_burst_and_a_row() -> None:
    counts = memory("ddr5-4800").counts(1)
    assert (counts.of(*READ), counts.of(*ACTIVATE)) == (64, 1)


def test_random_accesses_open_a_row_each() -> None:
    hbm = memory("hbm3-6400")
    assert hbm.counts(1 << 20).of(*ACTIVATE) == 1024
    assert hbm.counts(1 << 20, random=True).of(*ACTIVATE) == 32768


@pytest.mark.parametrize(
    ("name", "channels", "activations", "clocks", "clock_ns", "per_clock"),
    [  # DRAMsim3, random reads of 16 MiB on one channel; the prices were read off its sequential runs
        ("ddr4-2400", 1, 262994, 1198796, 1 / 1.2, 3213.0127),
        ("ddr4-3200", 1, 262299, 1294715, 1 / 1.6, 4425.9445),
        ("hbm2e", 8, 262759, 2134947, 1.0, 599.8133),
    ],
)
def test_prices_give_the_energy_of_random_reads(
    name: str, channels: int, activations: int, clocks: int, clock_ns: float, per_clock: float
) -> None:
    """The simulator counts energy as mA x V x clocks: ``per_clock`` are microjoules at a clock of 1 ns."""
    device, seconds, joules = memory(name), clocks * clock_ns * 1e-9, per_clock * clock_ns * 1e-6
    static = device.static_watts / channels * seconds
    dynamic = activations * device.prices[ACTIVATE] + MIB16 * device.prices[READ]
    assert dynamic + static == pytest.approx(joules, rel=0.03)


def test_random_reads_activate_as_often_as_in_the_command_level_runs() -> None:
    assert memory("ddr4-2400").counts(MIB16, random=True).of(*ACTIVATE) == pytest.approx(262994, rel=0.01)


def test_a_transfer_is_a_sequential_read() -> None:
    hbm = memory("hbm3e")
    cost = hbm.costs([ops.transfer(bytes=MIB16, src="host", dst="gpu0")])[0]
    assert cost.latency_s == hbm.seconds(MIB16)
    assert cost.counts == hbm.counts(MIB16)
    assert cost.validated is None


def test_memory_computes_nothing() -> None:
    with pytest.raises(MappingError, match="memory computes nothing"):
        memory("lpddr5-6400").costs([ops.linear(1, 1, 1)])
