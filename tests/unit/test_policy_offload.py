# SPDX-License-Identifier: Apache-2.0
"""Weights that stay for good, caches as large as the memory, and experts that the host computes."""

from __future__ import annotations

from itertools import pairwise

import pytest

import simsparse as ss
from simsparse.core import Result, Trace, TraceBuilder, ops
from simsparse.errors import MappingError, SimulationError, SpecError
from simsparse.events import Observer, Task
from simsparse.policies import policy_of
from simsparse.policies.residency.pinned import Pinned
from simsparse.policies.site.device import OnDevice
from simsparse.policies.site.host import OnHost
from simsparse.policies.site.soonest import Soonest
from simsparse.testing import PolicyPartContract
from simsparse.testing.fake_machine import moe_trace, offload_system


class TestPinned(PolicyPartContract):
    part = Pinned()


class TestPinnedByPopularity(PolicyPartContract):
    part = Pinned(room="2 kB", popularity="zipf:1.0")


class TestOnDevice(PolicyPartContract):
    part = OnDevice()


class TestOnHost(PolicyPartContract):
    part = OnHost()


class TestSoonest(PolicyPartContract):
    part = Soonest()


def run(trace: Trace, capacity: str = "1 MB", **roles: object) -> Result:
    return ss.simulate(trace, offload_system(capacity=capacity), roles)


def expert_bytes(trace: Trace) -> int:
    return next(op.expert_bytes for op in trace.ops if op.kind == "moe_ffn")


def test_all_that_fits_is_pinned_and_nothing_is_copied() -> None:
    trace = moe_trace(layers=3, experts=5)
    result = run(trace, residency={"kind": "pinned"})
    assert result.cache["gpu0"].misses == 0 == result.cache["gpu0"].copied_bytes
    assert result.latency_s == ss.simulate(trace, offload_system(), "resident").latency_s
    assert result.memory["gpu0"]["buffers"] == 15 * expert_bytes(trace)


def test_a_stated_room_holds_whole_weights_in_the_order_of_the_model() -> None:
    trace = moe_trace(layers=3, experts=5, hit=2)
    size = expert_bytes(trace)
    result = run(trace, residency={"kind": "pinned", "room": f"{5 * size + 1} byte"})
    assert (result.cache["gpu0"].hits, result.cache["gpu0"].misses) == (2, 4)
    assert result.memory["gpu0"]["buffers"] == 5 * size + 2 * size


def test_no_room_at_all_is_as_without_pinning() -> None:
    trace = moe_trace(layers=3, experts=5)
    pinned, without = (run(trace, residency={"kind": kind, **more})
                       for kind, more in (("pinned", {"room": "0 byte"}), ("none", {})))  # fmt: skip
    assert (pinned.latency_s, pinned.cache) == (without.latency_s, without.cache)


def test_more_room_is_never_slower() -> None:
    trace = moe_trace(layers=4, experts=5, hit=3)
    times = [run(trace, residency={"kind": "pinned", "room": f"{count * expert_bytes(trace)} byte"}).latency_s
             for count in range(21)]  # fmt: skip
    assert all(more <= less for less, more in pairwise(times))


def test_fit_leaves_room_for_buffers_and_all_else() -> None:
    trace = moe_trace(layers=3, experts=5, hit=2)
    size = expert_bytes(trace)
    resident = ss.simulate(trace, offload_system(), "on_demand").memory["gpu0"]
    others = sum(bytes for what, bytes in resident.items() if what != "buffers")
    result = run(trace, f"{others + 6 * size} byte", residency={"kind": "pinned"})
    assert result.memory["gpu0"]["buffers"] <= 6 * size
    assert result.cache["gpu0"].hits == 2


def test_the_most_popular_experts_of_each_layer_come_first() -> None:
    """Pinning by the process that routes misses less than pinning in the order of the model."""
    trace = ss.load_trace("traces/mixtral-8x7b-decode-b1.trace")
    misses = [
        ss.simulate(trace, "systems/h100-pcie5", {"residency": {"kind": "pinned", "room": "45 GB", **more}}, steps=16,
                    routing="zipf:1.0", keep="summary").cache["gpu0"].misses
        for more in ({}, {"popularity": "zipf:1.0"})
    ]  # fmt: skip
    assert misses[1] < 0.7 * misses[0]


def test_a_cache_as_large_as_the_memory_holds_what_fits() -> None:
    trace = moe_trace(layers=3, experts=5, hit=2)
    size = expert_bytes(trace)
    resident = ss.simulate(trace, offload_system(), "on_demand").memory["gpu0"]
    others = sum(bytes for what, bytes in resident.items() if what != "buffers")
    result = run(trace, f"{others + 4 * size} byte", residency={"kind": "lru", "experts": "fit"})
    assert result.memory["gpu0"]["buffers"] == 4 * size
    with pytest.raises(SimulationError, match="no room for all that the op reads"):
        run(trace, f"{others + size - 1} byte", residency={"kind": "lru", "experts": "fit"})


@pytest.mark.parametrize("room", ["ten", "-1 byte", "nan byte", "1e30 GB"])
def test_rooms_that_are_no_memory_are_refused(room: str) -> None:
    with pytest.raises(SpecError, match=r"residency\.room"):
        run(moe_trace(), residency={"kind": "pinned", "room": room})


def test_the_host_computes_what_is_not_there_and_nothing_is_copied() -> None:
    trace = moe_trace(layers=3, experts=5, hit=2)
    result = run(trace, residency="none", site="host")
    use = result.cache["gpu0"]
    assert (use.hits, use.misses, use.copied_bytes, use.on_host) == (0, 0, 0, 6)
    copied = [span for span in result.timeline.spans if span.kind == "copy"]
    assert all(span.bytes <= trace.ops[0].output_bytes for span in copied)
    assert {row.device for row in result.ops if row.kind == "moe_ffn"} == {"host"}


def test_held_experts_run_on_the_device_beside_the_host() -> None:
    """Both parts of an op begin once its gate has run; their FLOPs are those of the op."""
    trace = moe_trace(layers=1, experts=5, hit=2)
    room = f"{expert_bytes(trace)} byte"
    result = run(trace, residency={"kind": "pinned", "room": room}, site="host")
    whole = next(op for op in trace.ops if op.kind == "moe_ffn")
    rows = [row for row in result.ops if row.kind == "moe_ffn"]
    assert sorted(row.device for row in rows) == ["gpu0", "host"]
    assert sum(row.flops for row in rows) == whole.flops
    spans = {span.device: span for span in result.timeline.spans if span.kind == "moe_ffn"}
    assert spans["host"].start_fs < spans["gpu0"].end_fs or spans["gpu0"].start_fs < spans["host"].end_fs


def test_the_soonest_site_is_no_slower_than_either_alone() -> None:
    trace = ss.load_trace("traces/mixtral-8x7b-decode-b8.trace")
    device, host, soonest = (
        ss.simulate(trace, "systems/h100-pcie5", {"residency": "none", "site": site}).latency_s
        for site in ("device", "host", "soonest")
    )
    assert soonest < 0.9 * min(device, host)


def small_experts(*chosen: int) -> Trace:
    """A layer that chooses experts of Qwen3-30B for one token."""
    layer = ss.TraceBuilder("qwen3").add(ss.ops.linear(1, 2048, 2048, name="layers.0.q", module="layers.0.q"))
    return layer.add(ss.ops.moe_ffn(1, 2048, 768, 128, True, routing=[[*chosen]], name="layers.0.experts",
                                    module="layers.0.experts")).build()  # fmt: skip


def test_small_experts_are_copied_rather_than_computed() -> None:
    """As measured on the host of an H200: an expert of Qwen3-30B is always faster copied (section cpu)."""
    result = ss.simulate(small_experts(3), "systems/h200-pcie5", {"residency": "none", "site": "soonest"})
    assert (result.cache["gpu0"].on_host, result.cache["gpu0"].misses) == (0, 1)


@pytest.mark.parametrize("prefetch", ["none", "next_layer", {"kind": "guessed", "right": 0.5}])
def test_the_host_computes_what_a_cache_has_no_room_for(prefetch: object) -> None:
    """Two experts would sooner be copied; the cache holds one, and on the device alone that is an error."""
    trace, cache = small_experts(3, 7), {"kind": "lru", "experts": 1}
    roles = {"residency": cache, "prefetch": prefetch}
    result = ss.simulate(trace, "systems/h200-pcie5", {**roles, "site": "soonest"})
    use = result.cache["gpu0"]
    assert (use.hits + use.misses, use.on_host) == (1, 1)
    assert sum(row.flops for row in result.ops) == sum(op.flops for op in trace.ops)
    with pytest.raises(SimulationError, match="no room for all that the op reads"):
        ss.simulate(trace, "systems/h200-pcie5", {**roles, "site": "device"})


def test_a_site_needs_weights_in_host_memory() -> None:
    with pytest.raises(SpecError, match="site: host is for weights that rest in host memory"):
        run(moe_trace(), site="host")


@pytest.mark.parametrize("site", ["host", "soonest"])
@pytest.mark.parametrize("level", [0, 1])
def test_causes_add_up_to_the_latency_of_the_device_and_of_the_host(site: str, level: int) -> None:
    """The host waits for activations and for its turn, as the device waits for the host's results."""
    policy = {"residency": {"kind": "pinned", "room": "2 kB"}, "site": site}
    result = ss.simulate(moe_trace(layers=4, experts=8, hit=4), offload_system(), policy, level=level)
    assert {op.device for op in result.ops} == {"gpu0", "host"}
    assert sum(result.seconds_by_bound.values()) == pytest.approx(2 * result.latency_s)


def test_level_0_and_1_agree_on_shared_experts() -> None:
    trace = ss.load_trace("traces/mixtral-8x7b-decode-b1.trace")
    policy = {"residency": {"kind": "pinned"}, "site": "soonest"}
    closed, run_ = (ss.simulate(trace, "systems/h100-pcie5", policy, level=level).latency_s for level in (0, 1))
    assert closed == pytest.approx(run_, rel=0.02)


@pytest.mark.parametrize("residency", ["pinned", {"kind": "lru", "experts": "fit"}])
def test_a_larger_memory_holds_more_in_the_same_session(residency: object) -> None:
    trace = moe_trace(layers=3, experts=5, hit=2)
    small, large = (run(trace, f"{size} kB", residency=residency).memory["gpu0"]["buffers"] for size in (40, 1000))
    assert small < large


def test_a_faster_link_copies_more_in_the_same_session() -> None:
    trace = ss.load_trace("traces/mixtral-8x7b-decode-b1.trace")
    slow = ss.load_system("systems/h100-pcie5").with_overrides({"pcie.bandwidth": "5 GB/s"})
    uses = [ss.simulate(trace, system, {"residency": "none", "site": "soonest"}).cache["gpu0"]
            for system in (slow, "systems/h100-pcie5")]  # fmt: skip
    assert uses[0].misses < uses[1].misses


def test_a_host_that_waits_for_gates_and_copies_launches_nothing_meanwhile() -> None:
    """Calls that run ahead hide behind copies; a synchronous host's come after them. A graph needs no calls."""
    trace, system = moe_trace(layers=4, experts=5, hit=2, linears=24, d=256), "systems/a100-pcie4"

    def seconds(stack: str, synchronous: bool) -> float:
        residency = {"kind": "none", "synchronous": synchronous}
        return ss.simulate(trace, system, {"residency": residency}, stack=stack).latency_s

    copies = seconds("fused+graph", False) - ss.simulate(trace, system, "resident").latency_s
    calls = ss.simulate(trace, system, "resident", stack="fused").latency_s
    assert seconds("fused", False) < 0.9 * (copies + calls)
    assert seconds("fused", True) == pytest.approx(copies + calls, rel=0.05)
    assert seconds("fused+graph", True) == seconds("fused+graph", False)


def test_a_result_says_that_copied_patterns_are_unpacked_in_no_time() -> None:
    experts = ops.moe_ffn(4, 256, 512, 4, routing=[[0, 1]] * 4, weight_sparsity="1:8", module="layers.0.experts")
    trace = TraceBuilder("t").add(experts).build()
    said = "gpu0: copies of 1:8 weights move the bytes of 1:8; making 2:4 of them takes no time here"
    assert said in ss.simulate(trace, "systems/h100-pcie5", "on_demand").notes
    assert said not in ss.simulate(trace, "systems/h100-pcie5").notes


def test_a_run_on_one_lane_is_the_same_without_events() -> None:
    """An observer makes the event engine run all commands; without one their times are added up."""

    class Watching(Observer):
        def on_start(self, task: Task) -> None:
            assert task.start_fs >= 0

    trace, policy = ss.load_trace("traces/mixtral-8x7b-decode-b1.trace"), {"residency": {"kind": "lru", "experts": 64}}
    added, watched = (
        ss.simulate(trace, "systems/h200-pcie5", policy, steps=2, routing="zipf:1.0", observers=observers)
        for observers in ((), (Watching(),))
    )
    assert added.timeline == watched.timeline
    assert added.energy_j == watched.energy_j


class TestHostMemory:
    """Two layers of 32 MiB over PCIe 3, whose arithmetic takes no time to speak of."""

    BYTES = 2 * 4096 * 4096 * 2

    def run(self, memory: str, level: int = 1, **roles: object) -> Result:
        builder = TraceBuilder("two")
        for i in range(2):
            builder.add(ops.linear(1, 4096, 4096, "fp16", name=f"l{i}", module=f"layers.{i}"))
        policy = {"residency": {"kind": "none", "what": "all", "host_memory": memory}, **roles}
        return ss.simulate(builder.build(), "systems/t4-pcie3", policy, level=level)

    @pytest.mark.parametrize("level", [0, 1])
    def test_copies_run_at_the_rate_of_their_memory(self, level: int) -> None:
        for memory, rate in (("pinned", 15.754e9 * 0.8), ("pageable", 8e9), ("unified", 5.4e9)):
            assert self.run(memory, level).latency_s == pytest.approx(self.BYTES / rate, rel=0.1)

    def test_staging_reads_and_writes_the_hosts_memory_once_more(self) -> None:
        pinned, pageable = (self.run(memory).energy_by_component for memory in ("pinned", "pageable"))
        read, written = (f"host.dram.{way}_byte" for way in ("read", "write"))
        assert pageable[read] == pytest.approx(2 * pinned[read])
        assert pageable[written] == pytest.approx(pinned[read])
        assert written not in pinned

    def test_pages_come_when_a_kernel_touches_them(self) -> None:
        with pytest.raises(SpecError, match="use prefetch: none"):
            self.run("unified", prefetch="next_layer")

    def test_a_rate_that_no_link_states_is_named(self) -> None:
        with pytest.raises(MappingError, match=r"states no rate of copies of unified memory; override pcie\.unified"):
            ss.simulate(moe_trace(), "systems/h100-pcie5", {"residency": {"kind": "none", "host_memory": "unified"}})

    def test_words_and_homes_that_it_has_not_are_refused(self) -> None:
        for options in ({"host_memory": "swapped"}, {"host_memory": "pageable", "home": "storage"}):
            with pytest.raises(SpecError) as caught:
                policy_of({"residency": {"kind": "none", **options}})
            assert caught.value.key == "residency.host_memory"
