# SPDX-License-Identifier: Apache-2.0
"""Every part of a policy keeps its contract; compositions and views by themselves."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

import simsparse as ss
from simsparse.config.composition import composed_text, composition, parse_composed
from simsparse.errors import SimulationError, SpecError
from simsparse.events.simulator import Process
from simsparse.lowering.live_run import LiveRun
from simsparse.lowering.weights import Weight
from simsparse.policies import POLICIES, Policy, option_names, policy_of
from simsparse.policies.part import View
from simsparse.policies.placement.greedy import Greedy
from simsparse.policies.prefetch.all_experts import AllExperts
from simsparse.policies.prefetch.base import Prefetch
from simsparse.policies.prefetch.next_layer import NextLayer
from simsparse.policies.prefetch.none import NoPrefetch
from simsparse.policies.residency.belady import Belady
from simsparse.policies.residency.keep_all import KeepAll
from simsparse.policies.residency.lfu import Lfu
from simsparse.policies.residency.lru import Lru
from simsparse.policies.residency.none import KeepNone
from simsparse.policies.residency.random_choice import RandomChoice
from simsparse.testing import PolicyPartContract
from simsparse.testing.fake_machine import moe_trace, offload_system


class TestGreedy(PolicyPartContract):
    part = Greedy()


class TestKeepAll(PolicyPartContract):
    part = KeepAll()


class TestKeepNone(PolicyPartContract):
    part = KeepNone(chunk_bytes=1000)


class TestLru(PolicyPartContract):
    part = Lru(experts=4)


class TestLfu(PolicyPartContract):
    part = Lfu(experts=4)


class TestRandomChoice(PolicyPartContract):
    part = RandomChoice(experts=4)


class TestBelady(PolicyPartContract):
    part = Belady(experts=4)


class TestNoPrefetch(PolicyPartContract):
    part = NoPrefetch()


class TestNextLayer(PolicyPartContract):
    part = NextLayer()


class TestNextLayerAcrossSteps(PolicyPartContract):
    part = NextLayer(across_steps=True)


class TestAllExperts(PolicyPartContract):
    part = AllExperts()


class TestAllExpertsAcrossSteps(PolicyPartContract):
    part = AllExperts(across_steps=True)


def test_named_policies_are_compositions() -> None:
    """The same answers, part by part."""
    trace, system = moe_trace(layers=5, experts=4), offload_system()
    for name, prefetch in (("on_demand", "none"), ("pregated", "next_layer"), ("prefetch_all", "all")):
        named = ss.simulate(trace, system, name)
        composed = ss.simulate(trace, system, {"residency": {"kind": "none"}, "prefetch": prefetch})
        assert (named.ops, named.timeline, named.memory) == (composed.ops, composed.timeline, composed.memory)
        assert composed.policy == f"residency: none, prefetch: {prefetch}"
        assert f"policy {composed.policy}" in composed.unvalidated


def test_the_text_of_a_composition_reads_back() -> None:
    said = {"residency": {"kind": "lru", "experts": 64, "what": "a, (b)"}, "prefetch": "none",
            "placement": {"kind": "mapped", "rules": [{"ops": "*attn*", "device": "pim0"}]}}  # fmt: skip
    full = composition(said)
    assert parse_composed(composed_text(full)) == full
    assert composed_text(full).startswith('residency: lru(experts=64, what="a, (b)"), prefetch: none, placement: ')


@pytest.mark.parametrize("text", ["residency:", "residency: lru(", "residency: lru(experts=x)", "a: b,c: d",
                                  "a: b, a: c",
                                  "residency: lru(experts=1"])  # fmt: skip
def test_text_that_is_no_composition_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="expected such as"):
        parse_composed(text)


def test_options_reach_the_part_that_they_name() -> None:
    found = policy_of("residency: lru(experts=8), prefetch: none", {"residency.experts": 5})
    assert found.residency == Lru(experts=5)
    assert policy_of("on_demand", {"chunk_bytes": 7}).residency == KeepNone(7)
    assert "residency.chunk_bytes" in option_names("residency: lru")
    assert option_names("pregated") == ["what", "chunk_bytes", "across_steps"]


@pytest.mark.parametrize(("policy", "name"), [("on_demand", "chunk"), ("residency: lru", "prefetch.kind"),
                                              ("residency: lru", "residency.expert")])  # fmt: skip
def test_an_unknown_option_is_named(policy: str, name: str) -> None:
    with pytest.raises(SpecError, match="is no option"):
        policy_of(policy, {name: 1})


def test_every_name_is_a_policy() -> None:
    assert {policy_of(name).name for name in POLICIES} == set(POLICIES)


class Peeking(Prefetch):
    """Copies what the layer after the next one reads, and says that it sees one layer."""

    name = "peeking"
    lookahead = 1

    def ahead(self, view: View) -> Iterable[Weight]:
        return view.read(2)


class Prophet(NoPrefetch):
    """Asks for everything that comes."""

    name = "prophet"

    def ahead(self, view: View) -> tuple[Weight, ...]:
        view.next_use(Weight(0, "x", 0, 1))
        return ()


@pytest.mark.parametrize("part", [Peeking(), Prophet()])
def test_no_part_sees_more_than_it_declares(part: Prefetch) -> None:
    with pytest.raises(SimulationError, match=f"the policy part {part.name} asks for .* lookahead of {part.lookahead}"):
        ss.simulate(moe_trace(), offload_system(), Policy("p", residency=KeepNone(), prefetch=part))


def test_a_view_shows_the_past_and_the_room() -> None:
    seen: list[tuple[int, int | None]] = []

    class Looking(NoPrefetch):
        def ahead(self, view: View) -> tuple[Weight, ...]:
            seen.append((sum(map(len, view.past)), view.free_bytes["gpu0"]))
            return ()

    ss.simulate(moe_trace(layers=2), offload_system("1 MB"), Policy("p", residency=KeepNone(), prefetch=Looking()))
    kept = 2 * 2 * 512 + 64
    assert seen == [(0, 10**6 - kept), (2, 10**6 - kept), (4, 10**6 - kept)]


def test_a_part_may_decide_during_the_run() -> None:
    class Late(NoPrefetch):
        def control(self, run: LiveRun) -> Process:
            yield run.task("layers.0.moe")
            yield run.copy("host", "gpu0", 4000, "late")

    policy = Policy("late", residency=KeepNone(), prefetch=Late())
    result = ss.simulate(moe_trace(layers=1), offload_system(), policy)
    assert next(row for row in result.ops if row.name == "late").bytes == 4000
