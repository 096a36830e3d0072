# SPDX-License-Identifier: Apache-2.0
"""Training steps under layouts: schedules against closed forms, memory against published figures, what moves."""

from __future__ import annotations

import time
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simsparse as ss
from simsparse.advice import rank_layouts, training_memory, training_step
from simsparse.config.layout import Layout
from simsparse.core import OpKind, Trace, TraceBuilder, ops
from simsparse.errors import MappingError, SpecError
from simsparse.lowering.parallel import rank_trace
from simsparse.lowering.parallel.pieces import backward_trace, forward_trace, pieces_of
from simsparse.lowering.parallel.schedule import blocks, orders

BOARD, CLUSTER = "systems/h100-x8-nvlink", "systems/h100-x2048-ndr"
ADAM_BYTES = 12
"""Of a 16-bit parameter: two moments and a copy in fp32."""


@cache
def step(layers: int = 8, d: int = 512, tokens: int = 512, experts: int = 0) -> Trace:
    """A training step of feed-forward layers, as a trace from torch has it."""
    builder = TraceBuilder("step", phase="train")
    forward: list[str] = []
    for i in range(layers):
        builder.add(_forward(f"model.layers.{i}", d, tokens, experts), deps=forward[-1:])
        forward.append(builder.last)
        if not experts:
            builder.add(_product(f"model.layers.{i}.down", "fwd", tokens, d, 4 * d), deps=forward[-1:])
            forward.append(builder.last)
        builder.add(ops.elementwise(4 * tokens * d, 2 * tokens * d, label="fwd add", name=f"model.layers.{i}.add",
                                    module=f"model.layers.{i}"), deps=forward[-1:])  # fmt: skip
        forward.append(builder.last)
    gradient = forward[-1]
    parts = {name: op for op in builder.build().ops if (name := op.name) and op.weight}
    for name in reversed(parts):
        for label in ("bwd_weight", "bwd_input"):
            builder.add(_backward(parts[name], label), deps=[gradient, name])
        gradient = builder.last
    for op in parts.values():
        size = op.resident_bytes
        state = ADAM_BYTES // 2 * size
        builder.add(ops.elementwise(size + state, size + state, label="update", name=f"{op.weight}.update", weight=(
            f"{op.weight}.up" if experts else op.weight), module=op.module, stats={"state_bytes": state}),
            deps=[f"{op.name}.bwd_weight"])  # fmt: skip
    return builder.build()


def _forward(module: str, d: int, tokens: int, experts: int):
    if not experts:
        return _product(f"{module}.up", "fwd", tokens, 4 * d, d)
    routing = [[t % experts] for t in range(tokens)]
    name = f"{module}.experts"
    return ops.moe_ffn(tokens, d, 4 * d, experts, routing=routing, name=name, module=name, weight=name, label="fwd")


def _product(name: str, label: str, m: int, n: int, k: int):
    return ops.linear(m, n, k, name=name, module=name, weight=f"{name}.weight", label=label)


def _backward(op, label: str):
    name, d = f"{op.name}.{label}", op.dims
    if op.kind == OpKind.MOE_FFN:
        return op.with_(name=name, label=label)
    if label == "bwd_input":
        return ops.linear(d["m"], d["k"], d["n"], name=name, module=op.module, weight=op.weight, label=label)
    return ops.matmul(1, d["n"], d["k"], d["m"], name=name, module=op.module, weight=op.weight, label=label,
                      stats={"parameter_bytes": op.resident_bytes})  # fmt: skip


class TestSchedules:
    @given(st.integers(1, 8), st.integers(1, 12), st.sampled_from(["1f1b", "gpipe"]))
    @settings(max_examples=30)
    def test_bubbles_are_those_of_the_closed_form(self, pp: int, micro: int, schedule: str) -> None:
        """Equal stages: the step takes (micro + pp - 1) (F + B). Source: Narayanan et al., SC 2021, 2.2."""
        found = blocks(Layout(pp=pp, micro=micro, schedule=schedule), [1.0] * pp, [2.0] * pp, [2.0] * pp, 0.0)
        assert max(block.end_s for block in found) == pytest.approx(3.0 * (micro + pp - 1))

    @pytest.mark.parametrize(("pp", "chunks", "groups"), [(2, 2, 2), (4, 2, 2), (4, 4, 1), (8, 2, 3)])
    def test_interleaving_divides_the_bubble(self, pp: int, chunks: int, groups: int) -> None:
        """The bubble is (pp - 1) (F + B) / chunks. Source: the same, 2.2."""
        layout = Layout(pp=pp, chunks=chunks, micro=pp * groups, schedule="interleaved")
        pieces = pp * chunks
        found = blocks(layout, [1 / chunks] * pieces, [2 / chunks] * pieces, [2 / chunks] * pieces, 0.0)
        assert max(each.end_s for each in found) == pytest.approx(3 * pp * groups + 3 * (pp - 1) / chunks)

    def test_1f1b_has_no_more_micro_batches_under_way_than_later_stages(self) -> None:
        for stage, order in enumerate(orders(Layout(pp=4, micro=16))):
            alive = most = 0
            for _, _, backward in order:
                alive += -1 if backward else 1
                most = max(most, alive)
            assert most == 4 - stage

    def test_interleaving_needs_whole_groups(self) -> None:
        with pytest.raises(MappingError, match="in groups of pp 4"):
            orders(Layout(pp=4, micro=6, chunks=2, schedule="interleaved"))

    def test_a_slow_stage_sets_the_pace(self) -> None:
        found = blocks(Layout(pp=2, micro=10), [1.0, 3.0], [1.0, 3.0], [1.0, 3.0], 0.0)
        assert max(block.end_s for block in found) == pytest.approx(1 + 10 * 6 + 1)


class TestMemory:
    def test_zero_divides_states_gradients_and_parameters_as_published(self) -> None:
        """7.5 billion parameters, 64 GPUs: 120, 31.4, 16.6 and 1.9 GB (Rajbhandari et al., ZeRO, SC 2020, figure 1)."""
        trace = step(layers=8)
        parameters = sum(op.resident_bytes for op in trace.ops if op.label == "fwd") / 2
        for zero, published in enumerate((120e9, 31.4e9, 16.6e9, 1.9e9)):
            own = training_memory(trace, Layout(dp=64, zero=zero))[0]
            kept = sum(size for purpose, size in own.items() if purpose != "activations")
            assert kept / parameters * 7.5e9 == pytest.approx(published, rel=0.02)

    def test_recomputation_keeps_the_inputs_of_layers(self) -> None:
        trace = step(layers=8)
        whole, again = (training_memory(trace, Layout(recompute=flag))[0]["activations"] for flag in (False, True))
        assert again < whole / 2

    def test_early_stages_keep_more_micro_batches(self) -> None:
        found = [own["activations"] for own in training_memory(step(layers=8), Layout(pp=4, micro=8))]
        assert found == sorted(found, reverse=True) and found[0] > 3 * found[3]


class TestPieces:
    @pytest.mark.parametrize("count", [1, 2, 4, 8])
    def test_every_op_is_in_one_piece(self, count: int) -> None:
        trace = step(layers=8)
        pieces = pieces_of(trace, count)
        assert sum(len(p.forward) + len(p.backward) + len(p.updates) for p in pieces) == len(trace.ops)
        assert {piece.layers for piece in pieces} == {8 // count}

    def test_gradients_are_added_up_once_after_the_last_micro_batch(self) -> None:
        (piece,) = pieces_of(step(layers=4), 1)
        layout = Layout(dp=8)
        before, last = (backward_trace(piece, layout, last=flag) for flag in (False, True))
        moved = [op for op in last.ops if op.kind == OpKind.COLLECTIVE]
        assert not [op for op in before.ops if op.kind == OpKind.COLLECTIVE]
        assert len(moved) == 4 and sum(op.dims["bytes"] for op in moved) == piece.parameters

    def test_zero_3_gathers_every_parameter_in_both_passes(self) -> None:
        (piece,) = pieces_of(step(layers=4), 1)
        layout = Layout(dp=8, zero=3)
        for trace in (forward_trace(piece, layout), backward_trace(piece, layout, last=False)):
            moved = [op for op in trace.ops if op.label == "all_gather"]
            assert sum(op.dims["bytes"] for op in moved) * 8 == piece.parameters

    def test_experts_are_added_up_over_the_ranks_that_have_them(self) -> None:
        trace = rank_trace(step(layers=2, experts=8), Layout(dp=8, ep=4))
        (piece,) = pieces_of(trace, 1)
        moved = [op for op in backward_trace(piece, Layout(dp=8, ep=4), last=True).ops if op.group == ("edp",)]
        assert len(moved) == 2 and {op.dims["ranks"] for op in moved} == {2}

    def test_a_trace_of_a_forward_pass_is_refused(self) -> None:
        with pytest.raises(MappingError, match="no training step"):
            pieces_of(Trace("t", (), {"phase": "prefill"}), 1)


class TestStep:
    @pytest.mark.parametrize("layout", ["dp=8", "tp=2 dp=4", "pp=4 dp=2 micro=4", "dp=8 zero=3", "dp=8 recompute=true"])
    def test_levels_agree(self, layout: str) -> None:
        closed, events = (training_step(step(), BOARD, layout, level) for level in (0, 1))
        assert closed.step_s == pytest.approx(events.step_s, rel=0.1)

    def test_synchronization_hides_behind_the_backward_pass(self) -> None:
        """What the exchange adds is less than what it takes alone."""
        alone, synced = (training_step(step(tokens=8192), BOARD, layout) for layout in ("dp=1", "dp=8"))
        assert alone.step_s < synced.step_s < alone.step_s + synced.exchange_s + 1e-6
        assert synced.exchange_s < 0.5 * synced.step_s

    def test_recomputing_takes_another_forward_pass(self) -> None:
        once, twice = (training_step(step(), BOARD, layout) for layout in ("dp=1", "dp=1 recompute=true"))
        assert 1.1 * once.step_s < twice.step_s < 1.5 * once.step_s

    def test_two_thousand_gpus_are_as_fast_as_few(self) -> None:
        """Equal ranks are simulated once."""
        trace = step(layers=8, experts=64)
        began = time.process_time()
        found = training_step(trace, CLUSTER, "dp=2048 ep=64 micro=2 zero=1")
        assert time.process_time() - began < 10 and len(found.memory) == 1
        assert found.step_s > training_step(trace, CLUSTER, "dp=64 ep=64 micro=2 zero=1").step_s

    def test_the_timeline_has_every_pass(self) -> None:
        found = training_step(step(), BOARD, "pp=4 micro=6")
        assert len(found.timeline.spans) == 2 * 4 * 6
        assert found.timeline.seconds == pytest.approx(found.step_s)


class TestSimulate:
    def test_one_micro_batch_is_followed_by_an_exchange_of_gradients(self) -> None:
        found = ss.simulate(step(), BOARD, parallel="dp=8")
        moved = sum(row.bytes for row in found.ops if row.kind == OpKind.COLLECTIVE)
        assert moved and found.latency_s == pytest.approx(training_step(step(), BOARD, "dp=8").step_s, rel=0.01)
        assert found.memory["gpu0"]["activations"] > 0

    def test_keys_of_whole_steps_are_refused(self) -> None:
        with pytest.raises(SpecError, match="micro, zero are of whole training steps"):
            ss.simulate(step(), BOARD, parallel="dp=8 zero=1 micro=2")


class TestRanking:
    def test_layouts_come_best_first_and_use_all_gpus(self) -> None:
        found = rank_layouts(step(), BOARD, gpus=4)
        rates = [each.passes_per_s for each in found if not each.refused]
        assert rates == sorted(rates, reverse=True) and len(found) > 10
        assert all(Layout.parse(each.layout).ranks == 4 for each in found)

    def test_layouts_that_do_not_fit_say_so(self) -> None:
        found = rank_layouts(step(layers=8, d=16384, tokens=16), BOARD, gpus=2, batches=2)
        refused = [each for each in found if each.refused]
        assert refused and all("GB" in each.refused for each in refused) and found[-1].refused
