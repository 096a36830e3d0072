# SPDX-License-Identifier: Apache-2.0
"""Statistics and figures of traces: against plain loops, and only where there are data."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simsparse.core import Routing, Trace, TraceBuilder, ops
from simsparse.report.trace import trace_plots, write_plots
from simsparse.trace import load_trace
from simsparse.trace.statistics.totals import (
    expert_load,
    expert_reuse,
    inputs,
    layer_of,
    reuse_by_chance,
    role_of,
    summary,
    weights,
)

TRACES = Path(__file__).resolve().parents[2] / "traces"


def routed_trace(ids: list[list[int]], experts: int, batch: int = 1) -> Trace:
    routing = Routing.from_ids(ids, experts, "recorded")
    return TraceBuilder("moe", batch=batch).add(ops.moe_ffn(len(ids), 8, 16, experts, routing=routing)).build()


def random_ids(tokens: int, experts: int, top_k: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [sorted(rng.choice(experts, top_k, replace=False).tolist()) for _ in range(tokens)]


@pytest.mark.parametrize(("batch", "distance"), [(1, 1), (1, 5), (4, 1), (4, 3)])
def test_reuse_is_the_share_of_experts_that_a_token_before_had(batch: int, distance: int) -> None:
    ids = random_ids(24, 6, 2, seed=1)
    length = 24 // batch
    pairs = [(b * length + i, b * length + i - distance) for b in range(batch) for i in range(distance, length)]
    shared = [len(set(ids[now]) & set(ids[before])) / 2 for now, before in pairs]
    found = expert_reuse(routed_trace(ids, 6, batch), (distance,))
    assert found[0, 0] == pytest.approx(sum(shared) / len(shared))


def test_reuse_of_single_tokens_is_unknown() -> None:
    assert np.isnan(expert_reuse(routed_trace(random_ids(8, 4, 2, seed=0), 4, batch=8), (1, 2))).all()


def test_chance_is_the_reuse_over_all_pairs_of_tokens() -> None:
    ids = random_ids(30, 5, 2, seed=2)
    pairs = [len(set(a) & set(b)) / 2 for a, b in itertools.product(ids, repeat=2)]
    assert reuse_by_chance(routed_trace(ids, 5))[0] == pytest.approx(sum(pairs) / len(pairs))


def test_load_is_tokens_over_the_mean() -> None:
    load = expert_load(routed_trace([[0, 1], [0, 2], [0, 1]], 4))
    assert load.tolist() == [[2.0, pytest.approx(4 / 3), pytest.approx(2 / 3), 0.0]]


@pytest.mark.parametrize(
    ("name", "layer", "role"),
    [
        ("model.layers.12.self_attn.q_proj", 12, "self_attn.q_proj"),
        ("encoder.layer.3.output.dense", 3, "output.dense"),
        ("features.0", 0, "features.0"),
        ("lm_head", None, "lm_head"),
        ("conv1", None, "conv1"),
        ("blocks.0.conv1", 0, "conv1"),
    ],
)
def test_layer_and_role_are_read_off_the_name(name: str, layer: int | None, role: str) -> None:
    op = ops.linear(1, 2, 4, name=name, module=name)
    assert (layer_of(op), role_of(op)) == (layer, role)


def test_the_summary_adds_up() -> None:
    trace = load_trace(TRACES / "mixtral-8x7b-decode-b8.trace")
    data = summary(trace)
    assert sum(row["ops"] for row in data["kinds"]) == len(trace.ops)
    assert sum(row["flops"] for row in data["kinds"]) == trace.flops
    assert sum(row["bytes"] for row in data["kinds"]) == sum(op.min_bytes for op in trace.ops)


def test_conformity_comes_from_the_histogram_of_groups() -> None:
    histogram = [0.1, 0.2, 0.3, 0.15, 0.25]
    stats = {"density": 0.56, "weight": {"groups": {"4": histogram, "8": [1 / 9] * 9}}}
    (found,) = weights(TraceBuilder("t").add(ops.linear(1, 4, 8, stats=stats)).build())
    assert found.conforming["2:4"] == pytest.approx(0.6)
    assert found.conforming["1:4"] == pytest.approx(0.3)
    assert found.conforming["4:8"] == pytest.approx(5 / 9)
    assert "4:16" not in found.conforming and found.measured


@pytest.mark.parametrize(
    "stats",
    [{}, {"density": "x"}, {"weight": 3}, {"weight": {"groups": {"4": [1]}}}, {"weight": {"groups": []}},
     {"input_density": 7}, {"input_density": True}, {"padding": 1.0}],
)  # fmt: skip
def test_stats_that_are_missing_or_odd_are_unknown(stats: dict[str, Any]) -> None:
    trace = TraceBuilder("t").add(ops.linear(1, 4, 8, weight_sparsity="1:4", stats=stats)).build()
    (found,) = weights(trace)
    assert (found.density, found.measured, found.conforming) == (0.25, False, {})
    assert inputs(trace) == []
    assert summary(trace)["kinds"][0]["input_density"] is None
    assert trace_plots(trace)


def measured_trace() -> Trace:
    builder = TraceBuilder("measured")
    groups = {"4": [0.0, 0.0, 1.0, 0.0, 0.0]}
    for layer in range(4):
        for role in ("up", "down"):
            stats = {"density": 0.5, "weight": {"groups": groups}, "input_density": 0.25 * layer, "padding": 0.1}
            name = f"layers.{layer}.{role}"
            builder.add(ops.linear(2, 8, 8, weight_sparsity="2:4", name=name, module=name, stats=stats))
    ids = random_ids(16, 4, 2, seed=3)
    builder.add(ops.moe_ffn(16, 8, 16, 4, routing=Routing.from_ids(ids, 4, "recorded"), name="layers.4.experts"))
    return builder.build()


ALL = ["intensity", "weight-density", "nm-conformity", "input-zeros", "expert-load", "expert-reuse"]


def test_every_figure_is_written_as_png_and_svg_and_twice_the_same(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        assert [path.name for path in write_plots(measured_trace(), folder)] == [
            f"{name}.{format_}" for name in ALL for format_ in ("png", "svg")
        ]
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


def test_figures_say_what_the_data_show() -> None:
    titles = {plot.name: plot.title for plot in trace_plots(measured_trace())}
    assert "mean of 9 operators" in titles["weight-density"]
    assert "conform to 2:4, 3:4" in titles["nm-conformity"]
    assert "recorded from a trained router" in titles["expert-reuse"]


def test_generated_routing_is_never_called_recorded() -> None:
    plots = trace_plots(load_trace(TRACES / "mixtral-8x7b-prefill.trace"))
    assert [plot.name for plot in plots] == ["intensity", "expert-load", "expert-reuse"]
    for plot in plots[1:]:
        assert "generated:counts:mixtral-8x7b-c4, not recorded" in plot.title


def test_a_decode_step_of_many_sequences_has_no_reuse_to_show() -> None:
    plots = trace_plots(load_trace(TRACES / "mixtral-8x7b-decode-b8.trace"))
    assert [plot.name for plot in plots] == ["intensity", "expert-load"]


def test_a_trace_that_moves_nothing_has_no_figure() -> None:
    assert trace_plots(TraceBuilder("empty").build()) == []
