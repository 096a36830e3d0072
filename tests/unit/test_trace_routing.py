"""Generated routing: seeded, exact in its shares, honest in its label."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from simsparse.errors import TraceError
from simsparse.trace.routing import RoutingProcess, generate, measured_counts


@pytest.mark.parametrize("text", ["uniform", "zipf:0.8", "zipf:2", "counts:mixtral-8x7b-c4"])
def test_each_token_gets_top_k_different_experts(text: str) -> None:
    routing = generate(RoutingProcess.parse(text), tokens=200, experts=8, top_k=2, layer=3, seed=1)
    assert all(len(set(row)) == 2 for row in routing.ids)
    assert sum(routing.counts) == 400
    assert routing.origin == f"generated:{text}"


def test_equal_seeds_agree_and_other_seeds_and_layers_differ() -> None:
    process = RoutingProcess.parse("uniform")
    base = generate(process, 64, 8, 2, layer=0, seed=0)
    assert base == generate(process, 64, 8, 2, layer=0, seed=0)
    assert base.ids != generate(process, 64, 8, 2, layer=0, seed=1).ids
    assert base.ids != generate(process, 64, 8, 2, layer=1, seed=0).ids


def test_routing_of_a_seed_is_fixed_for_good() -> None:
    assert generate(RoutingProcess.parse("uniform"), 6, 8, 2, layer=0, seed=0).ids == (
        (5, 6), (2, 4), (0, 2), (2, 3), (4, 7), (0, 5),
    )  # fmt: skip


@pytest.mark.parametrize("layer", [0, 11, 31])
def test_measured_shares_come_out_within_sampling_error(layer: int) -> None:
    tokens = 20_000
    row = np.array(measured_counts("mixtral-8x7b-c4")[layer])
    routing = generate(RoutingProcess.parse("counts:mixtral-8x7b-c4"), tokens, 8, 2, layer, seed=0)
    expected = 2 * tokens * row / row.sum()
    deviation = np.abs(np.array(routing.counts) - expected) / np.sqrt(expected)
    assert deviation.max() < 4.0


def test_zipf_shares_follow_the_exponent_where_no_expert_is_certain() -> None:
    counts = sorted(generate(RoutingProcess.parse("zipf:0.5"), 40_000, 16, 1, 0, 0).counts, reverse=True)
    weights = [rank**-0.5 for rank in range(1, 17)]
    expected = [40_000 * weight / sum(weights) for weight in weights]
    assert all(abs(count - mean) < 5 * math.sqrt(mean) for count, mean in zip(counts, expected, strict=True))


def test_a_share_beyond_one_expert_a_token_is_capped() -> None:
    routing = generate(RoutingProcess.parse("zipf:10"), 100, 8, 2, 0, 0)
    assert max(routing.counts) == 100


@pytest.mark.parametrize("text", ["unifrom", "zipf", "zipf:x", "zipf:-1", "zipf:nan", "counts", "counts:", "model", ""])
def test_other_processes_are_refused(text: str) -> None:
    with pytest.raises(TraceError, match=r"expected uniform|from 0 to 10"):
        RoutingProcess.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no columns"), ("layer,count_e0\n", "no columns"), ("layer,count_e0\n0,x\n", "2: an expert's count"),
        ("# note\nlayer,count_e0,count_e1\n0,1\n", "3: an expert's count"), ("layer,count_e0\n0,-1\n", "2: counts"),
        ("layer,count_e0\n0,0\n", "2: counts"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_by_file_and_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "experts.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=rf"experts\.csv:.*{says}"):
        RoutingProcess.parse(f"counts:{path}")


def test_the_bundled_counts_add_up_to_the_published_selections() -> None:
    table = measured_counts("mixtral-8x7b-c4")
    assert len(table) == 32
    assert {sum(row) for row in table} == {262_144 * 2}


def test_misfit_of_table_and_model_is_refused() -> None:
    with pytest.raises(TraceError, match="8 experts, the model 16"):
        generate(RoutingProcess.parse("counts:mixtral-8x7b-c4"), 4, 16, 2, 0, 0)
    with pytest.raises(TraceError, match="top-3 of 2"):
        generate(RoutingProcess.parse("uniform"), 4, 2, 3, 0, 0)
