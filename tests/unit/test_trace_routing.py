# SPDX-License-Identifier: Apache-2.0
"""Generated routing: seeded, exact in its shares, honest in its label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from simsparse.errors import TraceError
from simsparse.trace.routing import RoutingProcess, generate, measured_counts


@pytest.mark.parametrize("text", ["uniform", "zipf:0.8", "zipf:2", "counts:mixtral-8x7b-c4", "reuse:0.88"])
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


def kept(ids: Sequence[tuple[int, ...]]) -> list[int]:
    """How many experts of each token the one before it used."""
    return [len(set(now) & set(before)) for before, now in pairwise(ids)]


@pytest.mark.parametrize("reuse", [0.0, 0.5, 0.88, 1.0])
@pytest.mark.parametrize(("experts", "top_k"), [(64, 8), (8, 2), (4, 2)])
def test_a_token_keeps_each_expert_of_the_one_before_with_the_probability_given(
    reuse: float, experts: int, top_k: int
) -> None:
    tokens = 6000
    routing = generate(RoutingProcess.parse(f"reuse:{reuse}"), tokens, experts, top_k, layer=1, seed=3)
    found, trials = sum(kept(routing.ids)), (tokens - 1) * top_k
    assert found == pytest.approx(reuse * trials, abs=4 * math.sqrt(trials * reuse * (1 - reuse)) + 1e-9)
    by_number = np.bincount(kept(routing.ids), minlength=top_k + 1)
    expected = [(tokens - 1) * math.comb(top_k, n) * reuse**n * (1 - reuse) ** (top_k - n) for n in range(top_k + 1)]
    assert chi_square(by_number, np.array(expected)) < chi2.ppf(0.9999, top_k)


def chi_square(found: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    rare = expected < 5
    return float((((found - expected) ** 2)[~rare] / expected[~rare]).sum())


@pytest.mark.parametrize("text", ["uniform", "reuse:0.5", "reuse:0.88"])
def test_every_token_is_uniform_over_the_experts_by_itself(text: str) -> None:
    """One token of each of many sequences: with reuse, the tokens of one sequence are no independent draws."""
    sequences, experts, top_k = 4000, 16, 4
    routing = generate(RoutingProcess.parse(text), 6 * sequences, experts, top_k, 0, 0, sequences=sequences)
    ids = np.array(routing.ids).reshape(sequences, 6, top_k)
    for position in (0, 5):
        counts = np.bincount(ids[:, position].ravel(), minlength=experts)
        expected = np.full(experts, sequences * top_k / experts)
        assert chi_square(counts, expected) < chi2.ppf(0.9999, experts - 1)


def test_sequences_do_not_reuse_one_anothers_experts() -> None:
    process, length = RoutingProcess.parse("reuse:1"), 5
    ids = generate(process, 40 * length, 64, 8, 0, 0, sequences=40).ids
    first = [ids[i * length] for i in range(40)]
    assert all(set(ids[i * length + j]) == set(first[i]) for i in range(40) for j in range(length))
    assert len(set(first)) == 40


@pytest.mark.parametrize("text", ["reuse:0.7", "uniform", "zipf:1"])
def test_steps_go_on_where_the_one_before_ended(text: str) -> None:
    process = RoutingProcess.parse(text)
    whole = generate(process, 3 * 4, 16, 2, 5, 9, sequences=3)
    if text.startswith("reuse"):
        steps = [generate(process, 3, 16, 2, 5, 9, sequences=3, start=start).ids for start in range(4)]
        assert [steps[i % 4][i // 4] for i in range(12)] == list(whole.ids)
    else:
        later = generate(process, 12, 16, 2, 5, 9, sequences=3, start=1)
        assert later.ids != whole.ids


def test_neighbours_of_an_independent_process_share_no_more_than_chance() -> None:
    tokens, experts, top_k = 20_000, 64, 8
    routing = generate(RoutingProcess.parse("uniform"), tokens, experts, top_k, 0, 0)
    assert sum(kept(routing.ids)) / (tokens - 1) / top_k == pytest.approx(top_k / experts, abs=0.005)


def test_reuse_needs_experts_to_change_to() -> None:
    with pytest.raises(TraceError, match="top-4 of 6 experts; a token that keeps none needs 8"):
        generate(RoutingProcess.parse("reuse:0.5"), 4, 6, 4, 0, 0)
    assert generate(RoutingProcess.parse("reuse:1"), 4, 6, 4, 0, 0).counts.count(4) == 4


@pytest.mark.parametrize(
    "text", ["unifrom", "zipf", "zipf:x", "zipf:-1", "zipf:nan", "counts", "counts:", "model", "", "reuse", "reuse:1.1"]
)
def test_other_processes_are_refused(text: str) -> None:
    with pytest.raises(TraceError, match=r"expected uniform|from 0 to 1"):
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
    for tokens, top_k in ((-1, 2), (4, -1), (4, 0)):
        with pytest.raises(TraceError, match=r"of 8 experts|-1 is not a count of tokens"):
            generate(RoutingProcess.parse("uniform"), tokens, 8, top_k, 0, 0)
