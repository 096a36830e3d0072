# SPDX-License-Identifier: Apache-2.0
"""Placements: independent work spreads, busy devices are seen, faster machines are not slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import Connection, System, load_hardware, load_system
from simsparse.core import Trace, TraceBuilder, ops
from simsparse.errors import MappingError, SimulationError, SpecError
from simsparse.lowering.machine import Machine, machine_of
from simsparse.lowering.trace_index import TraceIndex, trace_index_of
from simsparse.paths import data_root
from simsparse.policies import Policy
from simsparse.policies.placement import PLACEMENTS, Placer
from simsparse.policies.placement.greedy import Greedy
from simsparse.policies.placement.mapped import Mapped
from simsparse.testing.fake_machine import host, link, moe_trace, offload_system, processor, two_processors

US = 1e-6
GEMM = ops.linear(4096, 4096, 4096)


def independent(count: int, op: ss.Op = GEMM) -> Trace:
    builder = TraceBuilder("independent")
    for _ in range(count):
        builder.add(op, deps=[])
    return builder.build()


def devices(trace: Trace, system: System, placer: Placer | None = None) -> tuple[str, ...]:
    return (placer or Greedy()).devices(trace_index_of(trace), machine_of(system), [False] * len(trace.ops))


@pytest.mark.parametrize("level", [0, 1])
class TestSpread:
    def test_two_gemms_on_two_gpus_overlap(self, level: int) -> None:
        one, two = (ss.simulate(independent(n), load_system("systems/h200-x2-nvlink"), level=level) for n in (1, 2))
        assert two.latency_s == pytest.approx(one.latency_s, rel=1e-3)
        assert {row.device for row in two.ops} == {"gpu0", "gpu1"}

    def test_eight_gemms_use_eight_gpus(self, level: int) -> None:
        one, eight, nine = (
            ss.simulate(independent(n), load_system("systems/h100-x8-nvlink"), level=level) for n in (1, 8, 9)
        )
        assert eight.latency_s == pytest.approx(one.latency_s, rel=1e-3)
        assert {row.device for row in eight.ops} == {f"gpu{i}" for i in range(8)}
        assert nine.latency_s == pytest.approx(2 * one.latency_s, rel=1e-3)

    def test_a_device_that_is_slower_gets_what_it_ends_soonest(self, level: int) -> None:
        """Three times faster: of four operators the slow one runs one, and all end after 1 us."""
        result = ss.simulate(independent(4, ops.linear(1, 8, 8)), two_processors(), level=level)
        assert [row.device for row in result.ops].count("slow") == 1
        assert result.latency_s == pytest.approx(1 * US)


class TestRules:
    def test_hosts_compute_where_the_placement_says_so(self) -> None:
        system = System("s", "", {"gpu0": processor(), "host": host()}, (Connection("l", link(), ("host", "gpu0")),))
        trace = independent(2, ops.linear(1, 8, 8))
        assert devices(trace, system) == ("gpu0", "gpu0")
        assert devices(trace, system, Greedy(hosts=True)) == ("gpu0", "host")

    def test_rules_put_operators_on_devices(self) -> None:
        rules = [{"ops": "*.moe", "device": "slow"}, {"ops": "layers.1", "device": "slow"}]
        found = devices(moe_trace(layers=2, linears=1), two_processors(), Mapped(rules))
        assert found == ("fast", "slow", "slow", "slow")

    def test_a_rule_may_name_a_host(self) -> None:
        system = System("s", "", {"gpu0": processor(), "host": host()}, (Connection("l", link(), ("host", "gpu0")),))
        assert devices(independent(1, ops.linear(1, 8, 8)), system, Mapped([{"ops": "linear", "device": "host"}])) == (
            "host",)  # fmt: skip

    def test_a_host_reads_streamed_weights_where_they_rest(self) -> None:
        """Experts on the host: only the activations of three layers cross the link, and nothing is copied in place."""
        policy = 'placement: mapped(rules=[{"ops": "*.moe", "device": "host"}]), residency: none'
        result = ss.simulate(moe_trace(layers=3), offload_system(), policy)
        assert {row.device for row in result.ops if row.kind == "moe_ffn"} == {"host"}
        assert result.counts.of("pcie.link", "byte") == 5 * 32
        assert result.memory["host"] == {"weights": 73728, "activations": 64}

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            ([{"ops": "*"}], r"rules\[0\].*expected {ops: PATTERN, device: NAME}"),
            ([{"ops": "*", "device": "gpu7"}], r"rules\[0\]\.device: 'gpu7' is no device of pair"),
            ([{"ops": "conv*", "device": "slow"}], r"rules\[0\]\.ops: 'conv\*' fits no op of independent"),
        ],
    )
    def test_rules_that_fit_nothing_are_named(self, rules: Sequence[dict[str, str]], message: str) -> None:
        with pytest.raises(SpecError, match=message):
            devices(independent(1), two_processors(), Mapped(rules))

    def test_a_device_that_refuses_what_a_rule_gives_it_is_named(self) -> None:
        with pytest.raises(MappingError, match="no device of pair runs it: fast: linear is refused"):
            devices(independent(1), two_processors(refuses="linear"), Mapped([{"ops": "*", "device": "fast"}]))

    def test_every_placement_is_registered(self) -> None:
        assert list(PLACEMENTS) == ["coprocess", "greedy", "layer_split", "mapped", "stages"]
        with pytest.raises(SpecError, match=r"hosts: 1 is not true or false"):
            Greedy(hosts=1)  # type: ignore[arg-type]

    def test_no_room_anywhere_is_an_error_that_names_the_operator(self) -> None:
        pair = System("pair", "", {"a": processor("1 kB"), "b": processor("1 kB")},
                      (Connection("l", link(), ("a", "b")),))  # fmt: skip
        with pytest.raises(SimulationError, match=r"a, b full: linear needs 33\.55 MB"):
            devices(independent(1), pair)


# Against all placements there are


@st.composite
def graphs(draw: st.DrawFn, most: int = 6) -> Trace:
    """Operators of any size that wait for any of those before them."""
    builder = TraceBuilder("drawn")
    for i in range(draw(st.integers(1, most))):
        size = [draw(st.sampled_from([256, 1024, 4096])) for _ in range(3)]
        op = draw(st.sampled_from([ops.linear(*size), ops.elementwise(size[0] ** 2, size[1] ** 2)]))
        deps = draw(st.lists(st.integers(0, i - 1), max_size=2, unique=True)) if i else []
        builder.add(op.with_(name=f"op{i}", deps=()), deps=[f"op{dep}" for dep in deps])
    return builder.build()


def pair(**overrides: Any) -> System:
    return load_system("systems/h200-x2-nvlink", overrides)


def plain_pair(**overrides: Any) -> System:
    """Two GPUs of the same rates, without a power limit that averages over the run: placement does not see one."""
    parts = {name: load_hardware("gpu/a100-sxm4-80gb") for name in ("gpu0", "gpu1")}
    links = (Connection("nvlink", load_hardware("link/nvlink4"), ("gpu0", "gpu1")),)
    return System("plain pair", "", parts, links).with_overrides(overrides)


RATES = {"gpu0.memory.bandwidth": 4.8e12, "gpu1.memory.bandwidth": 4.8e12, "nvlink.bandwidth": 450e9,
         "gpu0.l2.bandwidth": 5.5e12}  # fmt: skip


@st.composite
def systems(draw: st.DrawFn) -> dict[str, float]:
    """Bandwidths of two GPUs and the link between them, from an eighth of the shipped values to eight times."""
    return {path: rate * 2 ** draw(st.integers(-3, 3)) for path, rate in RATES.items()}


def system_of(rates: dict[str, float], latency: str) -> System:
    said = {path: f"{rate:.6g} byte/s" for path, rate in rates.items()}
    return plain_pair(**said, **{"nvlink.latency": latency, "nvlink.issue": latency, "nvlink.duplex": "2"})


@settings(max_examples=25, deadline=None)
@given(graphs(), systems(), st.sampled_from(["0 us", "3 us", "31 us"]))
def test_a_small_graph_is_placed_best(trace: Trace, rates: dict[str, float], latency: str) -> None:
    """No placement of up to six operators on two GPUs ends sooner at level 0."""
    system = system_of(rates, latency)
    best = min(
        ss.simulate(trace, system, Policy("fixed", placement=Fixed(names)), level=0).latency_s
        for names in product(("gpu0", "gpu1"), repeat=len(trace.ops))
    )
    assert ss.simulate(trace, system, level=0).latency_s == best


@settings(max_examples=60, deadline=None)
@given(graphs(), systems(), st.sampled_from(["0 us", "3 us", "31 us"]), st.sampled_from(sorted(RATES)),
       st.sampled_from([1.1, 2, 5]), st.sampled_from([0, 1]))  # fmt: skip
def test_more_bandwidth_is_never_slower(
    trace: Trace, rates: dict[str, float], latency: str, path: str, factor: float, level: int
) -> None:
    slow, fast = (system_of(own, latency) for own in (rates, {**rates, path: rates[path] * factor}))
    before, after = (ss.simulate(trace, system, level=level).latency_s for system in (slow, fast))
    assert after <= 1.02 * before


@pytest.mark.parametrize("path", ["gpu0.memory.bandwidth", "gpu1.memory.bandwidth", "nvlink.bandwidth"])
@pytest.mark.parametrize("name", ["llama2-7b-decode-b8", "llama2-7b-prefill", "mixtral-8x7b-decode-b1", "cnn-small"])
def test_doubling_a_bandwidth_of_the_shipped_pair_is_not_slower(name: str, path: str) -> None:
    trace = ss.load_trace(data_root() / "traces" / f"{name}.trace")
    doubled = f"{2 * RATES[path]:.6g} byte/s"
    assert ss.simulate(trace, pair(**{path: doubled})).latency_s <= ss.simulate(trace, pair()).latency_s


@dataclass(frozen=True)
class Fixed(Placer):
    """Operators on devices that a test names."""

    name = "fixed"
    names: tuple[str, ...] = ()

    def devices(self, index: TraceIndex, machine: Machine, streamed: Sequence[bool]) -> tuple[str, ...]:
        del index, machine, streamed
        return self.names


@pytest.mark.parametrize("weight_sparsity", ["dense", "2:4"])
def test_layers_go_to_the_host_where_memory_ends_with_room_for_caches_and_activations(weight_sparsity: str) -> None:
    """The cache of 16 steps and the activations are counted before the last layer is placed on the GPU."""
    trace = ss.load_trace("traces/mixtral-8x7b-decode-b1.trace").with_weight_sparsity(weight_sparsity)
    policy = Policy("split", placement=Greedy(hosts=True))
    result = ss.simulate(trace, "systems/rtx4090-pcie4", policy, steps=16, routing="zipf:1.0", keep="summary")
    assert 0.9 * 24e9 < sum(result.memory["gpu0"].values()) <= 24e9
    assert result.memory["host"]["weights"] > 20e9
