# SPDX-License-Identifier: Apache-2.0
"""Policies against closed forms worked out by hand.

The fake processor takes 1 us a linear and 1 us an expert; the link 1 us and 1 ns a byte. An expert of a
16-wide gated MoE with 64 hidden units has 3 * 16 * 64 * 2 = 6,144 bytes: 7.144 us a copy.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import simsparse as ss
from simsparse.config.hardware import Connection, System
from simsparse.core import Op, Trace, TraceBuilder, ops
from simsparse.errors import MappingError, SimulationError, SpecError
from simsparse.lowering.trace_index import layer_of
from simsparse.policies import POLICIES, Policy, issue
from simsparse.policies.on_demand import on_demand
from simsparse.policies.prefetch_all import prefetch_all
from simsparse.policies.pregated import pregated
from simsparse.policies.resident import resident
from simsparse.testing import PolicyContract
from simsparse.testing.fake_machine import host, link, moe_trace, offload_system, processor, two_processors

US = 1e-6
EXPERT_US = 7.144
EXPERT_BYTES = 6144


class TestResidentContract(PolicyContract):
    policy = resident()


class TestOnDemandContract(PolicyContract):
    policy = on_demand()


class TestOnDemandOfAllWeightsContract(PolicyContract):
    policy = on_demand(what="all", chunk_bytes=1000)


class TestPrefetchAllContract(PolicyContract):
    policy = prefetch_all()


class TestPrefetchOfAllWeightsContract(PolicyContract):
    policy = prefetch_all(what="all")


class TestPregatedContract(PolicyContract):
    policy = pregated()


def latency_us(trace: Trace, policy: str | Policy, level: int) -> float:
    return ss.simulate(trace, offload_system(), policy, level=level).latency_s / US


@pytest.mark.parametrize("level", [0, 1])
class TestLatencies:
    """Of ``layers`` layers of ``linears`` linears and a MoE that hits ``hit`` of ``experts`` experts."""

    def test_on_demand_is_the_sum_of_compute_and_copies(self, level: int) -> None:
        trace = moe_trace(layers=5, experts=4, hit=2, linears=3)
        assert latency_us(trace, "on_demand", level) == pytest.approx(5 * (3 + 2 + 2 * EXPERT_US))

    @pytest.mark.parametrize("linears", [1, 12, 40])
    def test_pregated_is_the_larger_of_compute_and_copies_a_layer(self, level: int, linears: int) -> None:
        trace = moe_trace(layers=5, experts=4, hit=2, linears=linears)
        copies, compute = 2 * EXPERT_US, linears + 2
        expected = copies + 4 * max(copies, compute) + compute
        assert latency_us(trace, "pregated", level) == pytest.approx(expected)

    @pytest.mark.parametrize("linears", [1, 12, 40])
    def test_prefetch_all_copies_every_expert_but_in_the_first_layer(self, level: int, linears: int) -> None:
        trace = moe_trace(layers=5, experts=4, hit=2, linears=linears)
        compute = linears + 2
        expected = 2 * EXPERT_US + 4 * max(4 * EXPERT_US, compute) + compute
        assert latency_us(trace, "prefetch_all", level) == pytest.approx(expected)

    def test_all_weights_of_a_layer_are_copied_with_what_all(self, level: int) -> None:
        """A 16 x 16 linear has 512 bytes: 1.512 us."""
        trace = moe_trace(layers=3, experts=2, hit=2, linears=2)
        copies, compute = 2 * 1.512 + 2 * EXPERT_US, 2 + 2
        assert latency_us(trace, on_demand(what="all"), level) == pytest.approx(3 * (copies + compute))
        assert latency_us(trace, prefetch_all(what="all"), level) == pytest.approx(3 * copies + compute)

    def test_chunks_pay_the_latency_each(self, level: int) -> None:
        trace = moe_trace(layers=1, experts=2, hit=1, linears=0)
        expected = 1 + 7 * 1 + EXPERT_BYTES * 1e-3
        assert latency_us(trace, on_demand(chunk_bytes=1000), level) == pytest.approx(expected)

    def test_a_trace_without_experts_runs_as_if_resident(self, level: int) -> None:
        trace = TraceBuilder("dense").add(ops.linear(1, 8, 8)).build()
        for policy in POLICIES:
            assert latency_us(trace, policy, level) == pytest.approx(1)


class TestCopies:
    def test_compute_and_copies_ahead_are_on_lanes_of_their_own(self, tmp_path: Path) -> None:
        timeline = ss.simulate(moe_trace(), offload_system(), "pregated").timeline
        assert {(span.kind == "copy", span.lane) for span in timeline.spans if span.start_fs > 15e9} == {
            (True, "h2d"), (False, "compute"),
        }  # fmt: skip
        events = json.loads(timeline.to_perfetto(tmp_path / "t.json").read_text())["traceEvents"]
        assert {event["args"]["name"] for event in events if event["name"] == "thread_name"} == {"compute", "h2d"}

    def test_copies_on_demand_hold_the_compute_lane(self) -> None:
        timeline = ss.simulate(moe_trace(), offload_system(), "on_demand").timeline
        assert {span.lane for span in timeline.spans} == {"compute"}

    def test_a_buffer_is_not_overwritten_before_its_layer_is_done(self) -> None:
        """Two buffers: the copies for layer l+1 start when layer l-1 has run."""
        timeline = ss.simulate(moe_trace(layers=6, linears=9), offload_system(), "prefetch_all").timeline
        end = {span.name: span.end_fs for span in timeline.spans if span.kind != "copy"}
        for span in timeline.spans:
            layer = int(span.name.split(".")[1])
            if span.kind == "copy" and layer >= 2:
                assert span.start_fs >= end[f"layers.{layer - 2}.moe"]

    def test_no_layer_starts_before_its_weights_have_come(self) -> None:
        for policy in ("on_demand", "pregated", "prefetch_all"):
            timeline = ss.simulate(moe_trace(), offload_system(), policy).timeline
            for layer in range(3):
                arrived = max(s.end_fs for s in timeline.spans if s.name.startswith(f"layers.{layer}.moe.expert"))
                assert next(s for s in timeline.spans if s.name == f"layers.{layer}.moe").start_fs >= arrived

    @pytest.mark.parametrize(("policy", "experts"), [("on_demand", 6), ("pregated", 6), ("prefetch_all", 2 + 4 + 4)])
    def test_bytes_over_the_link_are_those_of_the_experts(self, policy: str, experts: int) -> None:
        trace = moe_trace(layers=3, experts=4, hit=2)
        result = ss.simulate(trace, offload_system(), policy)
        assert result.counts.of("pcie.link", "byte") == experts * EXPERT_BYTES
        assert result.counts.of("host.dram", "read_byte") == experts * EXPERT_BYTES
        assert result.counts.of("gpu0.hbm", "write_byte") == experts * EXPERT_BYTES

    def test_time_that_waits_for_copies_is_bound_by_transfer(self) -> None:
        result = ss.simulate(moe_trace(), offload_system(), "on_demand")
        assert result.bound == "transfer"
        assert result.seconds_by_bound["transfer"] == pytest.approx(3 * 2 * EXPERT_US * US)

    def test_hidden_copies_bind_nothing(self) -> None:
        """Compute of 40 us hides the 14.3 us of the later layers' copies; the first layer's show."""
        result = ss.simulate(moe_trace(linears=38), offload_system(), "pregated")
        assert result.seconds_by_bound == pytest.approx({"compute": 120 * US, "transfer": 2 * EXPERT_US * US})


class TestMemory:
    def test_experts_in_host_memory_take_only_buffers_on_the_device(self) -> None:
        """4 layers of 8 experts are 196,608 bytes and do not fit 150 kB; two layers of them do."""
        trace, system = moe_trace(layers=4, experts=8), offload_system(capacity="150 kB")
        with pytest.raises(SimulationError, match=r"gpu0 is full: [\d.]+ \w+ needed \(weights \d+"):
            ss.simulate(trace, system, "resident")
        for policy in ("on_demand", "pregated", "prefetch_all"):
            assert ss.simulate(trace, system, policy).latency_s > 0

    def test_prefetching_all_needs_room_for_two_layers(self) -> None:
        trace, system = moe_trace(layers=4, experts=8), offload_system(capacity="90 kB")
        with pytest.raises(SimulationError, match=r"buffers 98\.3 kB"):
            ss.simulate(trace, system, "prefetch_all")
        assert ss.simulate(trace, system, "pregated").latency_s > 0

    def test_the_host_must_hold_what_is_streamed(self) -> None:
        with pytest.raises(SimulationError, match=r"host is full: .*weights"):
            ss.simulate(moe_trace(), offload_system(host_capacity="1 kB"), "on_demand")

    def test_the_kv_cache_counts(self) -> None:
        trace = TraceBuilder("long").add(ops.attention(1, 8, 8, 128, 1, 300_000)).build()
        with pytest.raises(SimulationError, match=r"KV cache 1\.229 GB"):
            ss.simulate(trace, offload_system(capacity="1 GB"))

    def test_a_shared_weight_takes_memory_once(self) -> None:
        tied = [ops.linear(1, 4096, 4096, weight="embed") for _ in range(40)]
        builder = TraceBuilder("tied")
        for op in tied:
            builder.add(op)
        assert ss.simulate(builder.build(), offload_system()).latency_s == pytest.approx(40 * US)


class TestPlacement:
    def test_every_op_goes_where_it_runs_fastest(self) -> None:
        result = ss.simulate(moe_trace(layers=1), two_processors())
        assert {op.device for op in result.ops} == {"fast"}

    def test_what_a_device_refuses_goes_elsewhere_and_its_input_moves(self) -> None:
        result = ss.simulate(moe_trace(layers=2), two_processors(refuses="moe_ffn"))
        where = {op.name: op.device for op in result.ops if op.kind != "copy"}
        assert where["layers.0.q0"] == "fast"
        assert where["layers.0.moe"] == "slow"
        assert [op.name for op in result.ops if op.kind == "copy"] == ["layers.0.q1 copies", "layers.0.moe copies",
                                                                        "layers.1.q1 copies"]  # fmt: skip

    def test_an_op_stays_where_its_input_is_when_moving_costs_more(self) -> None:
        slow_bus = System("pair", "", {"slow": processor(refuses="moe_ffn"), "fast": processor(refuses="linear")},
                          (Connection("bus", link("1 MB/s", "1 ms"), ("slow", "fast")),))  # fmt: skip
        trace = (
            TraceBuilder("t").add(ops.linear(1, 8, 8, name="a"))
            .add(ops.elementwise(64, 64, name="b")).build()
        )  # fmt: skip
        assert [op.device for op in ss.simulate(trace, slow_bus).ops] == ["slow", "slow"]

    def test_a_full_device_passes_work_on(self) -> None:
        trace, pair = moe_trace(layers=3, experts=4), two_processors(capacity="60 kB")
        devices = [op.device for op in ss.simulate(trace, pair).ops if op.kind == "moe_ffn"]
        assert devices == ["fast", "fast", "slow"]

    def test_an_op_that_nothing_runs_is_named_with_the_reasons(self) -> None:
        system = System("s", "", {"gpu0": processor(refuses="linear")})
        with pytest.raises(MappingError, match=r"layers\.0\.q0: no device of s runs it: gpu0: linear is refused"):
            ss.simulate(moe_trace(), system)

    def test_offloading_needs_a_host(self) -> None:
        with pytest.raises(MappingError, match="policy pregated keeps weights in host memory; s has no host"):
            ss.simulate(moe_trace(), System("s", "", {"gpu0": processor()}), "pregated")

    def test_a_host_alone_computes(self) -> None:
        assert ss.simulate(moe_trace(layers=1), System("s", "", {"host": host()})).ops[0].device == "host"


class TestOpsOnLinks:
    def test_a_transfer_holds_a_copy_lane_and_its_successor_waits(self) -> None:
        trace = (
            TraceBuilder("t").add(ops.transfer(5000, "host", "gpu0", name="in")).add(ops.linear(1, 8, 8, name="op"))
            .build()
        )  # fmt: skip
        result = ss.simulate(trace, offload_system())
        assert result.latency_s == pytest.approx((1 + 5 + 1) * US)
        assert result.ops[0].bound == "transfer"
        assert result.counts.of("pcie.link", "byte") == 5000

    def test_an_unknown_end_is_named(self) -> None:
        trace = TraceBuilder("t").add(ops.transfer(5000, "host", "gpu7")).build()
        with pytest.raises(MappingError, match="'gpu7' is no device of offload"):
            ss.simulate(trace, offload_system())


@pytest.mark.parametrize(("option", "value"), [("what", "some"), ("chunk_bytes", 0), ("chunk_bytes", True)])
def test_options_are_checked(option: str, value: object) -> None:
    with pytest.raises(SpecError, match=option):
        POLICIES.get("on_demand")(**{option: value})


@pytest.mark.parametrize("policy", ["on_demand", "prefetch_all", "pregated"])
def test_copies_too_small_to_simulate_are_refused_with_a_size_that_is_enough(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issue, "MAX_PIECES", 100)
    trace = moe_trace(layers=3, experts=4, hit=2)
    with pytest.raises(SpecError, match=r"chunk_bytes: copies of 1 bytes .* 100 .*; \d+ bytes and more") as refused:
        ss.simulate(trace, offload_system(), POLICIES.get(policy)(chunk_bytes=1))
    enough = int(refused.value.message.split("; ")[1].split()[0])
    ss.simulate(trace, offload_system(), POLICIES.get(policy)(chunk_bytes=enough))


@pytest.mark.parametrize(
    ("module", "layer"),
    [("model.layers.13.mlp", 13), ("h.2", 2), ("transformer.h.4.attn", 4), ("lm_head", None), ("layers", None)],
)
def test_layers_are_read_from_module_paths(module: str, layer: int | None) -> None:
    op: Op = ops.linear(1, 8, 8, name="x", module=module)
    assert layer_of(op) == layer
