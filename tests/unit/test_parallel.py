# SPDX-License-Identifier: Apache-2.0
"""Layouts over GPUs: what one rank runs, moves and keeps, and what a wrong layout says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse.config.hardware import load_system
from simsparse.config.layout import Layout
from simsparse.core import OpKind, Trace
from simsparse.errors import MappingError, SpecError
from simsparse.lowering.parallel import rank_system, rank_trace
from simsparse.validate import validate

BOARD = "systems/h100-x8-nvlink"


@pytest.fixture(scope="module")
def dense() -> Trace:
    return ss.load_trace("traces/llama2-7b-decode-b8.trace")


@pytest.fixture(scope="module")
def mixture() -> Trace:
    return ss.load_trace("traces/mixtral-8x7b-decode-b8.trace")


def of_kind(trace: Trace, kind: str) -> list[ss.Op]:
    return [op for op in trace.ops if op.kind == kind]


class TestText:
    @pytest.mark.parametrize("said", ["tp=2 ep=4 dp=2", {"tp": 2, "ep": 4, "dp": 2}])
    def test_a_layout_is_a_mapping_or_its_text(self, said: object) -> None:
        layout = Layout.parse(said)  # type: ignore[arg-type]
        assert (layout.ranks, str(layout)) == (4, "tp=2 dp=2 ep=4")
        assert Layout.parse(str(layout)) == layout

    @pytest.mark.parametrize(("said", "words"), [
        ("tp=0", "parallel.tp: 0 is not a whole number"), ("tpp=2", "'tpp' is no part of a layout; did you mean tp"),
        ("tp=2 ep=3", "ep x esp = 3 does not divide tp x cp x dp"),
        ("schedule=1f1c", "'1f1c' is unknown; did you mean 1f1b"),
        ("tp", "KEY=VALUE"), ("chunks=2", "interleaved"), ({"recompute": 1}, "not true or false"),
    ])  # fmt: skip
    def test_a_wrong_one_says_what_is_allowed(self, said: object, words: str) -> None:
        with pytest.raises(SpecError, match=words):
            Layout.parse(said)  # type: ignore[arg-type]


class TestTensorParallel:
    @given(st.sampled_from([2, 4, 8]))
    @settings(max_examples=3)
    def test_products_and_weights_are_divided_and_nothing_is_lost(self, dense: Trace, ranks: int) -> None:
        one, own = dense, rank_trace(dense, Layout(tp=ranks))
        kept = [op for op in own.ops if op.kind != OpKind.COLLECTIVE]
        assert sum(op.dense_macs for op in kept) * ranks == sum(op.dense_macs for op in one.ops)
        assert sum(op.weight_bytes for op in kept if op.kind == OpKind.LINEAR) * ranks == sum(
            op.weight_bytes for op in one.ops if op.kind == OpKind.LINEAR)  # fmt: skip

    def test_a_layer_has_two_all_reduces_of_its_activations(self, dense: Trace) -> None:
        found = of_kind(rank_trace(dense, Layout(tp=2)), OpKind.COLLECTIVE)
        assert [op.label for op in found].count("all_reduce") == 64 and found[-1].label == "all_gather"
        assert {op.dims["bytes"] for op in found[:-1]} == {8 * 4096 * 2}
        assert {op.name.rsplit(".", 2)[-2] for op in found[:-1]} == {"o_proj", "down_proj"}

    def test_heads_that_do_not_divide_are_refused(self, dense: Trace) -> None:
        with pytest.raises(MappingError, match="heads 32 can't be divided by tp 3"):
            rank_trace(dense, Layout(tp=3))

    def test_a_layer_takes_less_time_the_more_ranks_share_it(self, dense: Trace) -> None:
        times = [ss.simulate(dense, BOARD, parallel={"tp": ranks}).latency_s for ranks in (2, 4, 8)]
        times.insert(0, ss.simulate(dense, "systems/h100-pcie5").latency_s)
        assert times == sorted(times, reverse=True)


class TestExperts:
    def test_ranks_with_one_part_of_the_tokens_exchange_them(self, mixture: Trace) -> None:
        own = rank_trace(mixture, Layout(dp=8, ep=8))
        layer = of_kind(mixture, OpKind.MOE_FFN)[0]
        mine = of_kind(own, OpKind.MOE_FFN)[0]
        assert layer.routing is not None
        assert mine.dims["tokens"] == 8 * max(layer.routing.counts) and mine.dims["experts"] == 1
        labels = [op.label for op in own.ops if op.kind == OpKind.COLLECTIVE]
        assert labels == ["all_to_all"] * 64

    def test_ranks_with_all_tokens_add_up(self, mixture: Trace) -> None:
        own = rank_trace(mixture, Layout(tp=4, ep=4))
        layer, mine = of_kind(mixture, OpKind.MOE_FFN)[0], of_kind(own, OpKind.MOE_FFN)[0]
        assert layer.routing is not None
        counts = layer.routing.counts
        assert mine.dims["tokens"] == max(sum(counts[i : i + 2]) for i in range(0, 8, 2))
        assert "all_to_all" not in {op.label for op in own.ops}

    def test_experts_that_do_not_divide_are_refused(self, mixture: Trace) -> None:
        with pytest.raises(MappingError, match="8 experts can't be dealt out to 3 ranks"):
            rank_trace(mixture, Layout(dp=3, ep=3))

    def test_weights_of_all_ranks_are_those_of_the_model(self, mixture: Trace) -> None:
        """Eight ranks with an expert of each layer, and each with all else."""
        one = ss.simulate(mixture, "systems/h200-pcie5").memory["gpu0"]["weights"]
        each = ss.simulate(mixture, BOARD, parallel="dp=8 ep=8").memory["gpu0"]["weights"]
        experts = sum(op.resident_bytes for op in of_kind(mixture, OpKind.MOE_FFN))
        assert each == one - experts + experts // 8


class TestStages:
    def test_stages_have_half_of_the_layers_each(self, dense: Trace) -> None:
        result = ss.simulate(dense, BOARD, parallel="pp=2")
        layers = [{row.module.split(".")[2] for row in result.ops if row.device == name and ".layers." in row.module
                   and row.kind != "copy"}
                  for name in ("gpu0", "gpu1")]  # fmt: skip
        assert list(map(len, layers)) == [16, 16] and not layers[0] & layers[1]
        weights = [result.memory[name]["weights"] for name in ("gpu0", "gpu1")]
        assert weights[0] == pytest.approx(weights[1], rel=0.05)

    def test_one_pass_through_stages_takes_as_long_as_one_gpu_and_the_copies_between(self, dense: Trace) -> None:
        one = ss.simulate(dense, "systems/h100-pcie5").latency_s
        assert ss.simulate(dense, BOARD, parallel="pp=4").latency_s == pytest.approx(one, rel=0.01)


class TestSystem:
    @pytest.mark.parametrize("level", [0, 1])
    def test_both_levels_agree(self, mixture: Trace, level: int) -> None:
        found = ss.simulate(mixture, BOARD, parallel="tp=2 dp=4 ep=8", level=level)
        assert found.latency_s == pytest.approx(
            ss.simulate(mixture, BOARD, parallel="tp=2 dp=4 ep=8", level=1 - level).latency_s)  # fmt: skip

    def test_too_many_ranks_are_refused(self) -> None:
        with pytest.raises(MappingError, match="takes 16 ranks; systems/h100-x8-nvlink has 8 processors"):
            rank_system(load_system(BOARD), Layout(tp=16))

    def test_processors_that_nothing_joins_are_refused(self, dense: Trace) -> None:
        with pytest.raises(MappingError, match="has 1 processors"):
            ss.simulate(dense, "systems/h100-pcie5", parallel="tp=2")

    def test_a_policy_that_places_ops_itself_is_refused(self, dense: Trace) -> None:
        policy = {"placement": {"kind": "greedy", "hosts": True}}
        with pytest.raises(MappingError, match="a layout places layers itself"):
            ss.simulate(dense, BOARD, policy, parallel="tp=2")


class TestMeasuredLayers:
    """A few rows of two H200s (second set), within what the whole sections have; see docs/howto/validate.md."""

    def test_a_tensor_parallel_layer_in_a_graph(self) -> None:
        """Of the model on which nothing was fitted: 70B, 16 sequences of 4,096."""
        row = {"section": "tp_layer", "d": 8192, "ff": 28672, "heads": 64, "kv_heads": 8, "head_dim": 128, "tp": 2,
               "phase": "decode", "batch": 16, "seq": 4096, "mode": "graph", "dtype": "bf16", "s": 319e-6}  # fmt: skip
        (found,) = validate([row], "systems/h200-x2-nvlink").section("tp_layer").predictions
        assert abs(found.error) < 0.05

    def test_an_expert_layer_by_counts(self) -> None:
        counts = [[1024] * 64] * 2
        row = {"section": "ep_skew", "d": 2048, "ff": 1408, "experts": 64, "ep": 2, "counts": counts, "dtype": "bf16",
               "s": 1e-3}  # fmt: skip
        one, two = (validate([{**row, "counts": each}], "systems/h200-x2-nvlink").section("ep_skew").predictions[0]
                    for each in (counts, [[2048] * 32 + [0] * 32] * 2))  # fmt: skip
        assert two.predicted > 1.5 * one.predicted

    def test_counts_of_another_shape_are_refused(self) -> None:
        row = {"section": "ep_skew", "d": 64, "ff": 64, "experts": 8, "ep": 2, "counts": [[1] * 8], "dtype": "bf16",
               "s": 1e-3}  # fmt: skip
        with pytest.raises(SpecError, match="are not rows by rank and expert"):
            validate([row], "systems/h200-x2-nvlink")

    def test_an_overlapped_layer_takes_the_longer_of_product_and_exchange(self) -> None:
        """flux on eight H800: 1.146 and 0.955 ms."""
        rows = [{"section": "overlap_table", "layer": "layer0", "gpu": "H800", "s": seconds, "config": (
            f"M=8192, K=8192, N=8192, TP={tp}, EP={ep}, num_experts={experts}, topk={k}")}
            for tp, ep, experts, k, seconds in ((8, 1, 32, 4, 1.146e-3), (4, 2, 8, 2, 0.955e-3))]  # fmt: skip
        found = validate(rows, "systems/h800-x256-ndr").section("overlap_table").predictions
        assert all(abs(each.error) < 0.25 for each in found)

    def test_pieces_hide_exchanges_behind_experts(self) -> None:
        trace, cluster = ss.load_trace("traces/studies/moe-layer-16.trace.gz"), "systems/a100-x2048-hdr"
        one, two = (ss.simulate(trace, cluster, parallel=f"dp=16 ep=16 degree={degree}") for degree in (1, 2))
        assert two.latency_s < 0.8 * one.latency_s
        assert two.memory["gpu0"]["weights"] == one.memory["gpu0"]["weights"]
