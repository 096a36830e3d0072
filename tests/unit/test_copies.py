# SPDX-License-Identifier: Apache-2.0
"""Copies on routes: the slowest of links and memories sets the rate, and what they share they share fairly."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import Connection, System, load_hardware
from simsparse.core import Op, Trace, TraceBuilder, ops
from simsparse.devices.base import device_for
from simsparse.events import CopyEnd, Link
from simsparse.events.network import Hop, fair_rates
from simsparse.events.streaming import left_for_copies
from simsparse.lowering.machine import copy_end
from simsparse.testing.fake_machine import host, link, moe_trace, offload_system, processor

GB = 10**9
READ, WRITE = 0, 1


def ssd_system(link_rate: str = "100 GB/s", dram: str = "1 TB/s", **ssd: str) -> System:
    """An SSD, a host and a GPU in a row; the SSD is the shipped one with some values replaced."""
    return System(
        "row", "",
        {
            "ssd": load_hardware("storage/nvme-gen5", {"latency": "0 us", **ssd}),
            "host": load_hardware("cpu/h100-host", {"memory.bandwidth": dram}), "gpu0": processor(capacity="10 GB"),
        },
        (
            Connection("bus", link(link_rate, "0 us"), ("host", "ssd")),
            Connection("pcie", link(link_rate, "0 us"), ("host", "gpu0")),
        ),
    )  # fmt: skip


def trace_of(*transfers: Op) -> Trace:
    """Copies that do not wait for each other."""
    builder = TraceBuilder("copies")
    for op in transfers:
        builder.add(op, deps=[])
    return builder.build()


def seconds(system: System, *transfers: Op, level: int = 1) -> float:
    return ss.simulate(trace_of(*transfers), system, level=level).latency_s


@pytest.mark.parametrize("level", [0, 1])
class TestOneCopy:
    def test_an_ssd_gives_what_it_reads_whatever_the_link(self, level: int) -> None:
        """1 GB at 1 GB/s, in whole pages: 244,141 of 4 KiB."""
        for rate in ("2 GB/s", "1 TB/s"):
            found = seconds(ssd_system(rate, read="1 GB/s"), ops.transfer(GB, "ssd", "host"), level=level)
            assert found == pytest.approx(1 + 1536e-9, rel=1e-9)

    def test_an_ssd_takes_what_it_writes(self, level: int) -> None:
        system = ssd_system(read="9 GB/s", write="2 GB/s")
        assert seconds(system, ops.transfer(4096 * 10**5, "gpu0", "ssd"), level=level) == pytest.approx(0.2048)

    def test_a_slow_link_limits_a_fast_ssd(self, level: int) -> None:
        system = ssd_system("2 GB/s", read="9 GB/s")
        assert seconds(system, ops.transfer(4096 * 10**5, "ssd", "gpu0"), level=level) == pytest.approx(0.2048)

    def test_the_latency_of_the_ssd_is_waited_for(self, level: int) -> None:
        system = ssd_system(read="1 GB/s", latency="50 us")
        assert seconds(system, ops.transfer(1, "ssd", "host"), level=level) == pytest.approx(50e-6 + 4096e-9)

    def test_dram_of_a_host_limits_its_copies(self, level: int) -> None:
        assert seconds(ssd_system(dram="4 GB/s"), ops.transfer(GB, "host", "gpu0"), level=level) == pytest.approx(0.25)

    def test_a_memory_device_reads_and_writes_at_its_own_rate(self, level: int) -> None:
        """38.4 GB/s at a share of 0.918 in order."""
        ddr = System("ddr", "", {"ddr": load_hardware("memory/ddr5-4800"), "gpu0": processor(capacity="10 GB")},
                     (Connection("bus", link("1 TB/s", "0 us"), ("ddr", "gpu0")),))  # fmt: skip
        for src, dst in (("ddr", "gpu0"), ("gpu0", "ddr")):
            found = seconds(ddr, ops.transfer(64 * 10**6, src, dst), level=level)
            assert found == pytest.approx(64e6 / (38.4e9 * 0.918))


class TestEnergy:
    def test_both_ends_and_every_link_count_whole_pages(self) -> None:
        result = ss.simulate(trace_of(ops.transfer(4097, "ssd", "gpu0")), ssd_system())
        counts = {".".join(action): count for action, count in result.counts.items() if count}
        assert counts == {"ssd.flash.read_byte": 8192, "bus.link.byte": 8192, "pcie.link.byte": 8192,
                          "gpu0.hbm.write_byte": 8192}  # fmt: skip

    def test_every_copy_moves_pages_of_its_own_and_rows_add_up(self) -> None:
        result = ss.simulate(trace_of(ops.transfer(1, "ssd", "gpu0"), ops.transfer(1, "ssd", "gpu0")), ssd_system())
        assert result.counts.of("ssd.flash", "read_byte") == 2 * 4096
        dynamic = sum(joules for name, joules in result.energy_by_component.items() if not name.endswith(".static"))
        assert sum(row.energy_j for row in result.ops) == pytest.approx(dynamic)

    def test_a_memory_device_opens_rows(self) -> None:
        ddr = System("ddr", "", {"ddr": load_hardware("memory/ddr5-4800"), "gpu0": processor()},
                     (Connection("bus", link(), ("ddr", "gpu0")),))  # fmt: skip
        result = ss.simulate(trace_of(ops.transfer(10_000, "gpu0", "ddr")), ddr)
        assert (result.counts.of("ddr.dram", "activate"), result.counts.of("ddr.dram", "write_byte")) == (3, 10_048)
        assert result.energy_by_component["ddr.dram.write_byte"] == pytest.approx(10_048 * 31.8e-12)


class TestContention:
    def test_two_readers_of_one_memory_share_it(self) -> None:
        """The host's 8 GB/s go to both GPUs in equal parts, then to the longer copy alone."""
        dram = load_hardware("cpu/h100-host", {"memory.bandwidth": "8 GB/s"})
        links = tuple(Connection(f"to-{gpu}", link("6 GB/s", "0 us"), ("host", gpu)) for gpu in ("gpu0", "gpu1"))
        system = System("fan", "", {"host": dram, "gpu0": processor("9 GB"), "gpu1": processor("9 GB")}, links)
        both = seconds(system, ops.transfer(GB, "host", "gpu0"), ops.transfer(2 * GB, "host", "gpu1"))
        assert both == pytest.approx(1 / 4 + 1 / 6)

    def test_what_a_slow_flow_leaves_goes_to_the_others(self) -> None:
        """The SSD writes 1 GB/s into the DRAM of 8 GB/s; the copy to the GPU has the other 7."""
        system = ssd_system("100 GB/s", "8 GB/s", read="1 GB/s")
        both = seconds(system, ops.transfer(GB, "ssd", "host"), ops.transfer(7 * GB, "host", "gpu0"))
        assert both == pytest.approx(1, rel=1e-5)

    def test_reads_and_writes_of_an_ssd_do_not_slow_each_other(self) -> None:
        system = ssd_system(read="2 GB/s", write="1 GB/s")
        assert seconds(
            system, ops.transfer(4096 * 10**5, "ssd", "host"), ops.transfer(2048 * 10**5, "host", "ssd")
        ) == pytest.approx(0.2048)  # fmt: skip


@given(st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True), min_size=1, max_size=6),
       st.lists(st.integers(50, 10**9), min_size=4, max_size=4), st.booleans())  # fmt: skip
def test_fair_rates_fill_what_is_shared_and_no_more(routes: list[list[int]], rates: list[int], shared: bool) -> None:
    """Every flow has a place that is full, where no other flow has more: the definition of max-min fairness."""
    places: list[Link | CopyEnd] = [
        Link("a", ("x", "y"), rates[0]), Link("b", ("y", "z"), rates[1], duplex=1.3),
        CopyEnd("x", (rates[2], rates[3]), shared), CopyEnd("z", (rates[3], rates[3])),
    ]  # fmt: skip
    flows: list[tuple[Hop, ...]] = [tuple((places[step // 2], step % 2) for step in route) for route in routes]
    used = {hop for hops in flows for hop in hops}
    found = fair_rates(flows)
    for i, hops in enumerate(flows):
        slack = []
        for place, direction in hops:
            key = place.share_key(direction)
            others = [rate for rate, own in zip(found, flows, strict=True)
                      for each, way in own if each is place and each.share_key(way) == key]  # fmt: skip
            whole = place.rate(direction, (place, 1 - direction) in used)
            assert sum(others) <= max(whole, len(others))
            slack.append(whole - sum(others) < len(others) and found[i] == max(others))
        assert any(slack)


def test_a_host_of_the_fake_machine_limits_nothing() -> None:
    """So that tests with it stay arithmetic on links alone."""
    system = System("s", "", {"host": host(), "gpu0": processor()}, (Connection("l", link(), ("host", "gpu0")),))
    assert seconds(system, ops.transfer(1000, "host", "gpu0")) == pytest.approx(2e-6)


@pytest.mark.parametrize("level", [0, 1])
def test_a_copy_in_place_reads_and_writes_one_memory(level: int) -> None:
    """100 GB/s that reads and writes share, at the efficiency of the part."""
    system = ssd_system(dram="100 GB/s")
    end = copy_end("host", device_for(system.devices["host"]))
    assert end is not None and end.shared
    taken = seconds(system, ops.transfer(GB, "host", "host"), level=level)
    assert taken == pytest.approx(2 * GB / end.bytes_per_s[READ])
    result = ss.simulate(trace_of(ops.transfer(GB, "host", "host")), system, level=level)
    for action in ("read_byte", "write_byte"):
        assert result.energy_by_component[f"host.dram.{action}"] == pytest.approx(GB * 100e-12)


def test_rows_of_short_copies_hold_the_gap_until_the_next() -> None:
    copies = [ops.transfer(8, "host", "gpu0", name=f"c{i}") for i in range(5)]
    result = ss.simulate(trace_of(*copies), offload_system(issue="3 us"))
    assert sum(row.latency_s for row in result.ops) == pytest.approx(result.latency_s)
    assert result.latency_s > 12e-6


@pytest.mark.parametrize("policy", ["on_demand", "pregated"])
def test_rows_of_short_copies_of_weights_hold_the_gap_until_the_next(policy: str) -> None:
    """Copies on the compute lane that wait for nothing but the link: those before the first operators."""
    result = ss.simulate(moe_trace(layers=2, experts=4, hit=3), offload_system(issue="30 us"), policy)
    assert sum(row.latency_s for row in result.ops) == pytest.approx(result.latency_s)
    assert result.latency_s > 3 * 30e-6


class TestWorkBesideCopies:
    """A host that streams 50 GB at 50 GB/s, of 100 GB/s of its channels, beside copies of 20 GB/s."""

    ON_HOST: ClassVar = {"placement": {"kind": "mapped", "rules": [{"ops": "work", "device": "host"}]}}

    def latency(self, copied: int, flops: int = 0) -> float:
        system = System(
            "pair", "",
            {"host": load_hardware("cpu/xeon-gold-6338", {
                "memory.bandwidth": "100 GB/s", "memory.efficiency": "0.5", "compute.launch": "0 s",
                "compute.efficiency": "1", "compute.peak.fp32": "1 TFLOPS",
            }), "gpu0": processor(capacity="200 GB")},
            (Connection("pcie", link("20 GB/s", "0 us"), ("host", "gpu0")),),
        )  # fmt: skip
        work = ops.elementwise(50 * GB, 0, flops, dtype="fp32", name="work")
        result = ss.simulate(trace_of(ops.transfer(copied, "host", "gpu0"), work), system, self.ON_HOST)
        return float(next(op.latency_s for op in result.ops if op.name == "work"))

    def test_alone_and_beside(self) -> None:
        assert self.latency(1) == pytest.approx(1)
        assert self.latency(100 * GB) == pytest.approx(1 / 0.8)

    def test_a_copy_that_ends_leaves_the_rest_its_pace(self) -> None:
        """Half a second at 0.8, then 0.6 of the work alone."""
        assert self.latency(10 * GB) == pytest.approx(0.5 + 0.6)

    def test_arithmetic_hides_the_slower_streams(self) -> None:
        assert self.latency(100 * GB, flops=13 * 10**11) == pytest.approx(1.3)
        assert self.latency(100 * GB, flops=11 * 10**11) == pytest.approx(1.25)


def test_streams_leave_copies_half_of_the_channels() -> None:
    assert left_for_copies(100, 30) == 70
    assert left_for_copies(100, 90) == 50
    end, pcie = CopyEnd("host", (100, 100), channels_per_s=100), Link("pcie", ("host", "gpu0"), 80)
    assert fair_rates([((pcie, 0), (end, READ))], {end: left_for_copies(100, 90)}) == [50]


@pytest.mark.parametrize("level", [0, 1])
def test_rows_of_copies_beside_operators_hold_what_compute_waited_for(level: int) -> None:
    """A copy that is hidden takes nothing, the end of one that outlasts the operators that much."""
    work = [ops.linear(64, 256, 256, name=f"l{i}") for i in range(3)]
    for size in (8, 10**6, 10**8):
        trace = trace_of(ops.transfer(size, "host", "gpu0"), *work)
        result = ss.simulate(trace, offload_system(), level=level)
        assert sum(row.latency_s for row in result.ops) == pytest.approx(result.latency_s)
        assert sum(result.seconds_by_bound.values()) == pytest.approx(result.latency_s)
