# SPDX-License-Identifier: Apache-2.0
"""Collectives against ring arithmetic by hand, on links of 1 GB/s with 1 us latency."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import Connection, System
from simsparse.config.quantity import Part
from simsparse.core import Op, Trace, TraceBuilder, ops
from simsparse.errors import MappingError, SpecError
from simsparse.lowering.collectives import ALGORITHMS, results_of
from simsparse.lowering.machine import Machine
from simsparse.testing.fake_machine import link, processor

US = 1e-6


def gpus(count: int) -> dict[str, Part]:
    return {f"gpu{i}": processor() for i in range(count)}


def ring_system(ranks: int, slow: int | None = None) -> System:
    """GPUs in a ring of links; link ``slow`` has half the bandwidth."""
    links = tuple(
        Connection(f"link{i}", link("500 MB/s" if i == slow else "1 GB/s"), (f"gpu{i}", f"gpu{(i + 1) % ranks}"))
        for i in range(ranks)
    )
    return System("ring", "", gpus(ranks), links)


def full_system(ranks: int) -> System:
    """A link between every two GPUs."""
    pairs = [(i, j) for i in range(ranks) for j in range(i)]
    links = tuple(Connection(f"link{i}-{j}", link(), (f"gpu{i}", f"gpu{j}")) for i, j in pairs)
    return System("full", "", gpus(ranks), links)


def star_system(ranks: int) -> System:
    """GPUs round one in the middle that takes no part; two hops from any to any."""
    links = tuple(Connection(f"link{i}", link(latency="0.5 us"), (f"gpu{i}", "hub")) for i in range(ranks))
    return System("star", "", {**gpus(ranks), "hub": processor()}, links)


def alone(label: str, bytes: int, ranks: int, **fields: object) -> Trace:
    return TraceBuilder("t").add(ops.collective(label, bytes, ranks, name="move", **fields)).build()


def latency_us(trace: Trace, system: System, level: int = 1) -> float:
    return ss.simulate(trace, system, level=level).latency_s / US


@pytest.mark.parametrize("level", [0, 1])
class TestTimes:
    @pytest.mark.parametrize("ranks", [2, 3, 4, 8])
    def test_an_all_reduce_costs_what_ring_arithmetic_says(self, ranks: int, level: int) -> None:
        """2 (N - 1) steps, each of a latency and an N-th of the bytes; two ranks have one link, used both ways."""
        bytes, steps = 840_000, 2 * (ranks - 1)
        system = full_system(2) if ranks == 2 else ring_system(ranks)
        expected = steps / ranks * bytes / 1e9 / US + steps * 1
        assert latency_us(alone("all_reduce", bytes, ranks), system, level) == pytest.approx(expected)

    def test_half_the_bandwidth_of_one_link_sets_every_step(self, level: int) -> None:
        """The slow link carries an eighth of the bytes in each of 14 steps, one after the other."""
        trace = alone("all_reduce", 800_000, 8)
        assert latency_us(trace, ring_system(8), level) == pytest.approx(14 * (100 + 1))
        assert latency_us(trace, ring_system(8, slow=5), level) == pytest.approx(14 * (200 + 1))

    def test_all_ranks_round_a_hub_use_their_links_both_ways(self, level: int) -> None:
        assert latency_us(alone("all_reduce", 800_000, 8), star_system(8), level) == pytest.approx(14 * (100 + 1))

    @pytest.mark.parametrize(("label", "share", "steps"), [("all_gather", 1, 3), ("reduce_scatter", 1 / 4, 3),
                                                           ("all_to_all", 1 / 4, 3)])  # fmt: skip
    def test_the_others_take_a_step_per_other_rank(self, label: str, share: float, steps: int, level: int) -> None:
        expected = steps * (share * 400 + 1)
        assert latency_us(alone(label, 400_000, 4), full_system(4), level) == pytest.approx(expected)

    def test_a_broadcast_and_a_reduce_pass_pieces_along_a_chain(self, level: int) -> None:
        """Four pieces over three links: six steps of a piece and a latency. Short ones are one piece."""
        piece = 512 * 1024
        for label in ("broadcast", "reduce"):
            expected = 6 * (piece / 1e9 / US + 1)
            assert latency_us(alone(label, 4 * piece, 4), ring_system(4), level) == pytest.approx(expected)
            assert latency_us(alone(label, 1000, 4), ring_system(4), level) == pytest.approx(3 * 2)

    def test_a_gather_and_a_scatter_go_through_the_links_of_the_root(self, level: int) -> None:
        """Round a hub the copies of the three other ranks share the root's link."""
        assert latency_us(alone("gather", 400_000, 4), star_system(4), level) == pytest.approx(3 * 400 + 1)
        assert latency_us(alone("scatter", 400_000, 4), star_system(4), level) == pytest.approx(3 * 100 + 1)

    def test_a_send_is_one_copy(self, level: int) -> None:
        assert latency_us(alone("send_recv", 400_000, 2), full_system(3), level) == pytest.approx(401)

    def test_one_shot_pays_one_latency_and_more_bytes(self, level: int) -> None:
        """Over links of their own all copies run at once; through a hub a rank's seven share its link."""
        system = replace(full_system(8), collectives={"all_reduce": "one_shot"})
        assert latency_us(alone("all_reduce", 100_000, 8), system, level) == pytest.approx(100 + 1)
        hub = replace(star_system(8), collectives={"all_reduce": "one_shot"})
        assert latency_us(alone("all_reduce", 100_000, 8), hub, level) == pytest.approx(700 + 1)

    def test_half_duplex_links_take_twice_as_long(self, level: int) -> None:
        """Both directions of the one link between two ranks share its rate."""
        shared = link().model_validate({**dict(link()), "duplex": {"value": 1, "source": "test", "basis": "derived"}})
        system = replace(full_system(2), links=(Connection("l", shared, ("gpu0", "gpu1")),))
        assert latency_us(alone("all_reduce", 400_000, 2), system, level) == pytest.approx(2 * (400 + 1))

    def test_groups_beside_each_other_do_not_wait(self, level: int) -> None:
        system = replace(full_system(4), groups={"left": ("gpu0", "gpu1"), "right": ("gpu2", "gpu3")})
        both = (
            TraceBuilder("t").add(ops.collective("all_reduce", 400_000, 2, group="left"), deps=[])
            .add(ops.collective("all_reduce", 400_000, 2, group=("gpu2", "gpu3")), deps=[]).build()
        )  # fmt: skip
        assert latency_us(both, system, level) == pytest.approx(2 * (200 + 1))

    def test_what_follows_waits_on_every_rank(self, level: int) -> None:
        builder = TraceBuilder("t").add(ops.collective("all_reduce", 400_000, 2, name="sum"))
        for name in ("a", "b"):
            builder.add(ops.linear(1, 8, 8, name=name), deps=["sum"])
        result = ss.simulate(builder.build(), full_system(2), level=level)
        assert result.latency_s / US == pytest.approx(2 * (200 + 1) + 1)
        assert {row.device for row in result.ops if row.kind == "linear"} == {"gpu0", "gpu1"}
        assert not [row for row in result.ops if row.kind == "copy"]


class TestRoots:
    @pytest.mark.parametrize(
        ("label", "where"),
        [
            ("broadcast", {"gpu0", "gpu1", "gpu2"}),
            ("reduce", {"gpu0"}),
            ("gather", {"gpu0"}),
            ("scatter", {"gpu0", "gpu1", "gpu2"}),
        ],
    )
    def test_the_result_is_where_the_collective_puts_it(self, label: str, where: set[str]) -> None:
        machine = Machine(full_system(3))
        assert set(results_of(ops.collective(label, 400_000, 3), machine)) == where
        builder = TraceBuilder("t").add(ops.collective(label, 400_000, 3, name="move"))
        builder.add(ops.linear(1, 8, 8, name="next"), deps=["move"])
        for level in (0, 1):
            result = ss.simulate(builder.build(), full_system(3), level=level)
            (row,) = [row for row in result.ops if row.kind == "linear"]
            assert row.device in where and not [row for row in result.ops if row.kind == "copy"]

    def test_the_bytes_of_the_result_are_those_of_the_ranks_that_have_it(self) -> None:
        sizes = {
            label: ops.collective(label, 1000, 4).output_bytes for label in ("broadcast", "reduce", "gather", "scatter")
        }
        assert sizes == {"broadcast": 1000, "reduce": 1000, "gather": 4000, "scatter": 250}


class TestAccounts:
    def test_a_collective_is_one_row_with_the_energy_of_all_its_copies(self) -> None:
        """Each of four ranks sends 6/4 of its input: 3 pJ on a link, and a read and a write of memory."""
        result = ss.simulate(alone("all_reduce", 400_000, 4), ring_system(4))
        (row,) = result.ops
        assert (row.name, row.label, row.bound) == ("move", "all_reduce", "transfer")
        assert row.latency_s == result.latency_s
        assert row.energy_j == pytest.approx(4 * 600_000 * (3 + 1 + 2) * 1e-12)
        assert sum(result.counts.of(f"link{i}.link", "byte") for i in range(4)) == 4 * 600_000
        assert "collectives: copies on links" in result.unvalidated

    def test_every_step_has_its_copies_on_the_timeline(self) -> None:
        spans = ss.simulate(alone("all_reduce", 400_000, 4), ring_system(4)).timeline.spans
        assert Counter((span.device, span.lane) for span in spans) == {(f"gpu{i}", "collective"): 6 for i in range(4)}


class TestGroups:
    def test_the_first_ranks_of_a_group_take_part_in_its_order(self) -> None:
        system = replace(full_system(4), groups={"back": ("gpu3", "gpu2", "gpu1")})
        trace = alone("all_reduce", 400_000, 2, group="back")
        assert {span.device for span in ss.simulate(trace, system).timeline.spans} == {"gpu3", "gpu2"}

    @pytest.mark.parametrize(
        ("op", "message"),
        [
            (ops.collective("all_gather", 8, 4), "all_gather over 4 ranks; full has 3 processors"),
            (ops.collective("all_gather", 8, 3, group=("gpu0", "gpu1")), "3 ranks; the group gpu0, gpu1 has 2 devices"),
            (ops.collective("all_gather", 8, 2, group="gpu7"), "'gpu7' is no group and no device; did you mean gpu"),
            (ops.collective("all_gather", 8, 2, group=("gpu1", "gpu1")), "'gpu1' has two ranks in the group"),
        ],
    )
    def test_a_group_that_does_not_fit_is_named(self, op: Op, message: str) -> None:
        with pytest.raises(MappingError, match=message):
            ss.simulate(TraceBuilder("t").add(op).build(), full_system(3))

    def test_an_algorithm_must_be_there_and_serve_the_collective(self) -> None:
        for said, error, message in (("rings", SpecError, "did you mean ring"), ("pairwise", MappingError, "serves")):
            with pytest.raises(error, match=message):
                ss.simulate(alone("all_reduce", 8, 2), replace(full_system(2), collectives={"all_reduce": said}))

    def test_graphs_of_commands_are_not_shared_by_systems_that_differ_in_groups(self) -> None:
        first, second = (replace(full_system(3), groups={"g": own}) for own in (("gpu0", "gpu1"), ("gpu1", "gpu2")))
        assert Machine(first).topology != Machine(second).topology


def served() -> list[tuple[str, str]]:
    return [(name, label) for name in ALGORITHMS for label in ALGORITHMS.get(name).labels]


@pytest.mark.parametrize(("name", "label"), served())
@given(bytes=st.integers(1, 10**6), ranks=st.integers(2, 9))
def test_every_rank_hears_from_every_other(name: str, label: str, bytes: int, ranks: int) -> None:
    """Played by who knows of whose input: a copy passes on what its sender knew before the step."""
    steps = ALGORITHMS.get(name)().steps(label, bytes, ranks)
    knows = [{rank} for rank in range(ranks)]
    for step in steps:
        before = [set(own) for own in knows]
        for send in step:
            assert send.src != send.dst
            knows[send.dst] |= before[send.src]
    if label in ("broadcast", "scatter", "send_recv"):
        assert all(0 in own for own in (knows[1:2] if label == "send_recv" else knows))
    else:
        assert all(len(own) == ranks for own in (knows[:1] if label in ("gather", "reduce") else knows))


@given(bytes=st.integers(1, 10**6), ranks=st.integers(2, 9))
def test_all_ranks_send_the_bytes_of_the_textbook(bytes: int, ranks: int) -> None:
    """In sum over ranks, to the byte: shares of uneven size are all sent."""
    others = ranks - 1
    sums = {
        ("ring", "all_reduce"): 2 * others, ("ring", "reduce_scatter"): others, ("pairwise", "all_to_all"): others,
        ("ring", "all_gather"): ranks * others, ("one_shot", "all_reduce"): ranks * others,
        ("chain", "broadcast"): others, ("chain", "reduce"): others, ("one_shot", "gather"): others,
    }  # fmt: skip
    for (name, label), times in sums.items():
        sent = [send.bytes for step in ALGORITHMS.get(name)().steps(label, bytes, ranks) for send in step]
        assert sum(sent) == times * bytes
