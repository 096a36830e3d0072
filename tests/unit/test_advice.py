# SPDX-License-Identifier: Apache-2.0
"""Questions about kernels and cards: the winner over tokens, times on cards, seconds lost per kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import simsparse as ss
from simsparse.advice import crossover, headroom, parse_choice, sparse_gains, times_on_cards
from simsparse.advice.headroom import CALLS, Headroom, KernelLoss
from simsparse.cli import main
from simsparse.core import Trace
from simsparse.errors import SpecError
from simsparse.report.crossover import pays_text
from simsparse.report.headroom import headroom_plot
from simsparse.report.sparse_gain import breakeven_text

H100 = "gpu/h100-sxm5-80gb"
LAYER = ss.ops.linear(m=1, n=4096, k=4096)


@pytest.fixture(scope="module")
def decode() -> Trace:
    return ss.load_trace("traces/llama2-7b-decode-b8.trace")


@pytest.mark.parametrize(
    ("text", "sparsity", "dtype", "weights"),
    [("2:4", "2:4", "bf16", "bf16"), ("fp8", "dense", "fp8", "fp8"), ("fp8/2:4", "2:4", "fp8", "fp8"),
     ("weights=int4", "dense", "bf16", "int4"), ("weights=int8/1:4", "1:4", "bf16", "int8")],
)  # fmt: skip
def test_choice_holds_the_weights_as_stated(text: str, sparsity: str, dtype: str, weights: str) -> None:
    op = parse_choice(text).of(LAYER)
    assert (str(op.weight_sparsity), op.dtype, op.w_dtype) == (sparsity, dtype, weights)


@pytest.mark.parametrize("text", ["3:2:1", "fp8/fp16", "weights=int5", "2:4/1:4", ""])
def test_choice_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_choice(text)


def test_winner_is_the_fastest_of_the_estimates_at_every_token_count() -> None:
    counts = list(range(1, 700, 7))
    choices = [parse_choice(text) for text in ("dense", "2:4")]
    found = crossover(ss.ops.linear(m=1, n=14336, k=4096), H100, choices, counts)
    for count in counts:
        stated = [choice for first, choice in found.winners if first <= count][-1]
        seconds = {
            choice.text: ss.estimate(ss.ops.linear(m=count, n=14336, k=4096, weight_sparsity=choice.text), H100)
            for choice in choices
        }
        assert stated == min(seconds, key=lambda text: seconds[text].latency_s)


def test_change_of_the_winner_is_found_to_the_token() -> None:
    choices = [parse_choice(text) for text in ("dense", "2:4")]
    found = crossover(ss.ops.linear(m=1, n=14336, k=4096), H100, choices, [1, 4096])
    assert len(found.winners) == 2
    first = found.winners[1][0]
    by_one = crossover(ss.ops.linear(m=1, n=14336, k=4096), H100, choices, [first - 1, first])
    assert by_one.winners == ((first - 1, "dense"), (first, "2:4"))


def test_a_choice_pays_where_it_is_the_faster_of_two() -> None:
    choices = [parse_choice(text) for text in ("dense", "int8")]
    found = crossover(ss.ops.linear(m=1, n=14336, k=4096), "gpu/h200", choices, [1, 128, 256, 4096])
    turns = [first for first, _ in found.winners] + [4097]
    wins = [(first, end - 1) for (first, name), end in zip(found.winners, turns[1:], strict=True) if name == "int8"]
    assert len(wins) > 1
    assert found.pays == {"int8": tuple(wins)}
    assert pays_text(found) == f"Faster than dense: int8 up to {wins[0][1]:,} tokens and from {wins[-1][0]:,} tokens"


def test_zeros_that_the_card_skips_nothing_of_are_noted_and_tie_with_dense() -> None:
    found = crossover(LAYER, H100, [parse_choice("dense"), parse_choice("unstructured:0.1")], [1, 64])
    assert found.winners == ((1, "dense"),)
    assert "unstructured:0.1" in found.notes


def test_refused_choices_are_listed_and_all_refused_is_an_error() -> None:
    fp64 = parse_choice("fp64")
    assert "fp64" in crossover(LAYER, H100, [parse_choice("dense"), fp64], [1]).refused
    with pytest.raises(SpecError, match="none of the choices"):
        crossover(LAYER, H100, [fp64], [1])


@pytest.mark.parametrize("tokens", [[], [0, 1], [4, 4], [8, 1]])
def test_tokens_rise_from_one(tokens: list[int]) -> None:
    with pytest.raises(SpecError, match="rising"):
        crossover(LAYER, H100, [parse_choice("dense")], tokens)


def test_cards_equal_the_simulation_of_each_and_refusals_give_reasons(decode: Trace) -> None:
    times = times_on_cards(decode, [H100, "gpu/t4"], ["eager", "fused+graph"])
    assert [(time.card, time.stack) for time in times[:2]] == [(H100, "eager"), (H100, "fused+graph")]
    for time in times[:2]:
        assert time.latency_s == ss.simulate(decode, H100, stack=time.stack).latency_s
    assert all("bf16" in time.refused and time.latency_s is None for time in times[2:])


def test_unknown_stack_or_card_is_an_error_not_a_refusal(decode: Trace) -> None:
    with pytest.raises(SpecError):
        times_on_cards(decode, [H100], ["eagre"])
    with pytest.raises(SpecError):
        times_on_cards(decode, ["gpu/no-such-card"], ["eager"])


@pytest.mark.parametrize("stack", ["eager", "eager+graph", "fused+graph"])
def test_seconds_of_all_kernels_and_gaps_are_the_latency(decode: Trace, stack: str) -> None:
    found = headroom(decode, H100, stack)
    assert sum(loss.seconds for loss in found.losses) == pytest.approx(found.latency_s)
    assert [loss.lost_s for loss in found.losses] == sorted((loss.lost_s for loss in found.losses), reverse=True)
    assert sum(loss.ops for loss in found.losses if loss.name != CALLS) == len(decode.ops)


def test_bound_of_a_layer_is_its_bytes_over_the_bandwidth_of_the_data_sheet(decode: Trace) -> None:
    down = next(loss for loss in headroom(decode, H100, "fused+graph").losses if "down_proj" in loss.name)
    bytes_ = 2 * (4096 * 11008 + 8 * (4096 + 11008))
    assert down.bound_s == pytest.approx(32 * bytes_ / 3.35e12)
    assert down.bound == "memory"


def test_against_another_stack_the_differences_add_up_to_that_of_the_latencies(decode: Trace) -> None:
    found = headroom(decode, H100, "eager+graph", against="fused+graph")
    other = ss.simulate(decode, H100, stack="fused+graph").latency_s
    assert found.bound_s == pytest.approx(other)
    assert sum(loss.lost_s for loss in found.losses) == pytest.approx(found.latency_s - other)
    assert "norm" in found.losses[0].name  # eight kernels a norm where the other stack has one


@pytest.mark.parametrize("few", [2e-4, 4e-4])
def test_trivial_losses_are_counted_and_not_drawn(few: float) -> None:
    shares = (0.3, 0.001, few, few / 2, 0.0)
    losses = tuple(KernelLoss(f"op{i}", "linear: m 8", 1, 1, 0.1 + share, 0.1, "memory", True)
                   for i, share in enumerate(shares))  # fmt: skip
    (ax,) = headroom_plot(Headroom("t", H100, "eager", 1.0, losses)).figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["op0", "op1"]
    assert ax.get_xlabel().endswith(f"not drawn: 2 kinds of op, which together lose {1.5 * few:.2%}")
    (ax,) = headroom_plot(Headroom("t", H100, "eager", 1.0, losses[:2])).figure.axes
    assert "not drawn" not in ax.get_xlabel()


def test_headroom_is_of_gpus(decode: Trace) -> None:
    with pytest.raises(SpecError, match="written for GPUs"):
        headroom(decode, "accel/sigma", "fused+graph")


@pytest.mark.parametrize(
    ("command", "stem"),
    [(["crossover", "linear", "n=4096", "k=4096", "--hw", H100, "--tokens", "1:64"], "crossover"),
     (["cards", "traces/tiny-moe-prefill.trace", "--hw", H100, "--stack", "fused+graph"], "cards"),
     (["headroom", "traces/llama2-7b-decode-b1.trace", "--hw", H100], "headroom")],
)  # fmt: skip
def test_commands_write_table_and_figures(
    command: list[str], stem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command, "--out", str(tmp_path / "out"), "--json"])
    assert left.value.code == 0
    json.loads(capsys.readouterr().out)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{stem}.{end}" for end in ("csv", "png", "svg")}


@pytest.mark.parametrize("tokens", ["8:1", "a", "0:4", "1,x", str(2**40)])
def test_tokens_of_the_command_line_are_checked(tokens: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["crossover", "linear", "n=64", "k=64", "--hw", H100, "--tokens", tokens])
    assert left.value.code == 2
    assert "--tokens" in capsys.readouterr().err


XEON = "cpu/xeon-w2145"
SMALL = ss.ops.linear(m=1, n=256, k=1024, dtype="fp32")


def test_sparse_weights_win_below_the_density_of_equal_times() -> None:
    found = sparse_gains(SMALL, XEON, ["csr", "fan_in"], [0.01, 0.1, 0.5], [1, 64, 1024], resident=True)
    assert len(found.gains) == 18 and not found.refused
    for gain in found.gains:
        end = found.breakeven[gain.pattern, gain.tokens]
        assert gain.gain == pytest.approx(gain.dense_s / gain.sparse_s)
        assert (gain.gain >= 1) == (end is not None and gain.density <= end)


def test_a_pattern_that_wins_everywhere_is_told_from_one_that_ends_at_the_highest_density() -> None:
    found = sparse_gains(SMALL, XEON, ["fan_in"], [0.01, 0.02], [1, 1024], resident=True)
    assert found.always("fan_in", 1) and breakeven_text(found) == "fan_in wins at every density asked"
    found = sparse_gains(SMALL, XEON, ["fan_in"], [0.01, 0.5], [1, 1024], resident=True)
    assert not found.always("fan_in", 1024)
    assert "wins up to" in breakeven_text(found) and breakeven_text(found).endswith("at 1,024 tokens")


def test_the_density_of_equal_times_is_found_to_a_thousandth() -> None:
    (end,) = sparse_gains(SMALL, XEON, ["fan_in"], [0.001, 0.999], [16], resident=True).breakeven.values()
    assert end is not None
    for density, faster in ((end - 0.002, True), (end + 0.002, False)):
        (gain,) = sparse_gains(SMALL, XEON, ["fan_in"], [density], [16], resident=True).gains
        assert (gain.gain >= 1) is faster


def test_grouped_weights_have_densities_of_eighths_alone() -> None:
    found = sparse_gains(SMALL, XEON, ["nmg"], [0.01, 0.1, 0.13, 0.5], [16])
    assert [gain.density for gain in found.gains] == [0.125, 0.5]


def test_patterns_without_a_kernel_are_refused() -> None:
    with pytest.raises(SpecError, match="no kernel skips zeros of csr"):
        sparse_gains(SMALL, "cpu/xeon-8380", ["csr"], [0.1], [1])
    with pytest.raises(SpecError, match="did you mean csr"):
        sparse_gains(SMALL, XEON, ["crs"], [0.1], [1])
    for densities in ([], [0.2, 0.1], [0.0], [1.5]):
        with pytest.raises(SpecError, match="densities"):
            sparse_gains(SMALL, XEON, ["csr"], densities, [1])


def test_the_command_answers_by_density(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["crossover", "linear", "n=256", "k=1024", "dtype=fp32", "--hw", XEON, "--densities", "0.02,0.2"]
    with pytest.raises(SystemExit) as left:
        main([*words, "--tokens", "1:4", "--patterns", "csr,block16", "--out", str(tmp_path / "out"), "--json"])
    assert left.value.code == 0
    answer = json.loads(capsys.readouterr().out)
    assert {end["pattern"] for end in answer["breakeven"]} == {"csr", "block16"} and len(answer["gains"]) == 12
    assert {path.suffix for path in (tmp_path / "out").glob("sparse-gain.*")} == {".csv", ".png", ".svg"}
    with pytest.raises(SystemExit):
        main([*words[:-1], "a,b"])
    assert "--densities" in capsys.readouterr().err
