# SPDX-License-Identifier: Apache-2.0
"""Layouts of experts: sharded experts, experts that every rank gets, and when gradients are added up."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from simsparse.advice import exported_rank, rank_rows, training_memory, training_step
from simsparse.config.layout import Layout
from simsparse.core import Op, Trace
from simsparse.errors import SpecError
from simsparse.lowering.parallel import rank_trace
from simsparse.models.gpt import EqualLayers
from simsparse.models.gpt import training_step as step_of
from simsparse.trace.interchange import export_trace, import_trace

CLUSTER = "systems/a100-x64-edr"


@cache
def step(skew: float = 0.0) -> Trace:
    return step_of("small", EqualLayers(2, 512, 8, 4, 256, 16, 1000, every=1, top_k=2, skew=skew))


def experts(layout: str, trace: Trace | None = None) -> dict[str, Op]:
    """The ops of the forward pass of the first layer's experts, by the end of their names."""
    ops = rank_trace(trace or step(), Layout.parse(layout)).ops
    at = "model.layers.0.experts"
    return {op.name.removeprefix(at): op for op in ops if op.name.startswith(at) and "bwd" not in op.name}


def test_sharded_experts_have_the_work_of_whole_ones_and_exchange_rows_within_their_group() -> None:
    whole, parts = experts("dp=16 ep=16"), experts("dp=16 ep=4 esp=4")
    assert parts[""].dense_macs == whole[""].dense_macs
    assert parts[""].dims["d_ff"] * 4 == whole[""].dims["d_ff"]
    assert parts[""].resident_bytes == whole[""].resident_bytes
    rows = parts[".dispatch"].dims["bytes"]
    assert parts[".dispatch"].dims["ranks"] == parts[".gather"].dims["ranks"] == 4
    assert parts[".gather"].dims["bytes"] == rows == whole[".dispatch"].dims["bytes"]
    assert parts[".scatter"].dims["bytes"] == 4 * rows
    assert parts[".combine"].deps == ("model.layers.0.experts.scatter",)


def test_sharded_experts_take_as_much_memory_as_whole_ones() -> None:
    memory = [training_memory(step(), Layout.parse(text))[0] for text in ("dp=16 ep=16", "dp=16 ep=4 esp=4")]
    assert memory[0]["weights"] == memory[1]["weights"] and memory[0]["optimizer state"] == memory[1]["optimizer state"]


def test_experts_on_every_rank_take_rows_out_of_exchanges_and_bytes_into_a_gather() -> None:
    plain, hot = experts("dp=16 ep=16", step(1.0)), experts("dp=16 ep=16 materialized=2", step(1.0))
    each = plain[""].resident_bytes
    assert hot[".materialize"].dims["bytes"] == 2 * each // 16
    assert hot[".dispatch"].dims["bytes"] < plain[".dispatch"].dims["bytes"]
    assert hot[""].dense_macs < plain[""].dense_macs
    assert hot[""].resident_bytes == 3 * each
    assert "model.layers.0.experts.materialize" in hot[".dispatch"].deps


def test_gradients_after_the_backward_pass_take_longer_than_beside_it() -> None:
    beside, after = (training_step(step(), CLUSTER, f"dp=32 ep=16 sync={sync}") for sync in ("beside", "after"))
    assert after.step_s > beside.step_s
    assert after.memory == beside.memory


@pytest.mark.parametrize(
    ("text", "message"),
    [("dp=8 ep=4 esp=4", "16 does not divide"), ("tp=8 materialized=2", "several replicas share"),
     ("dp=2 sync=never", "'never' is unknown")],
)  # fmt: skip
def test_a_layout_that_can_not_be_says_why(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Layout.parse(text)


def test_sharded_and_materialized_experts_exclude_each_other() -> None:
    with pytest.raises(SpecError, match="materialized"):
        Layout.parse("dp=16 ep=4 esp=4 materialized=1")


def test_bubbles_draw_power_and_a_step_of_more_ranks_more_energy() -> None:
    one, four = (training_step(step(), CLUSTER, f"pp=2 micro={micro}") for micro in (1, 8))
    assert one.energy_j / one.batches > four.energy_j / four.batches > 0
    assert training_step(step(), CLUSTER, "dp=8").energy_j > 7 * training_step(step(), CLUSTER, "dp=1").energy_j


def test_every_rank_has_a_row_with_its_memory_and_what_it_sends() -> None:
    rows = rank_rows(step(), CLUSTER, "tp=2 dp=8 pp=2 micro=2")
    assert [row.rank for row in rows] == list(range(32))
    assert rows[19].places == {"tp": 1, "cp": 0, "dp": 1, "pp": 1}
    assert rows[0].memory == training_memory(step(), Layout.parse("tp=2 dp=8 pp=2 micro=2"))[0]
    tokens = 4 * 256
    assert rows[0].traffic["send pp"] == rows[-1].traffic["send pp"] == 2 * tokens * 512 * 2


def test_replicas_send_their_gradients_once_round_the_ring() -> None:
    (row, *_) = rank_rows(step(), CLUSTER, "dp=8")
    gradients = row.memory["gradients"]
    sent = sum(size for name, size in row.traffic.items() if name.startswith("all_reduce"))
    assert sent == pytest.approx(2 * gradients * 7 / 8, rel=1e-3)


def test_a_rank_is_written_as_chakra_with_the_ranks_of_its_groups(tmp_path: Path) -> None:
    rank = exported_rank(step(), "tp=2 dp=8 ep=8")
    export_trace(rank, tmp_path / "rank.et")
    groups = json.loads((tmp_path / "rank.groups.json").read_text())
    assert groups["tp"] == [0, 1] and groups["ep"] == list(range(8)) and groups["ddp"] == list(range(0, 16, 2))
    assert import_trace(tmp_path / "rank.et").trace.ops == rank.ops
