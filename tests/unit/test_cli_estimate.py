# SPDX-License-Identifier: Apache-2.0
"""``simsparse estimate``: an operator in words, its answer, and what is refused."""

from __future__ import annotations

import json

import pytest
from cli_runs import run

MOE = ("estimate", "moe_ffn", "tokens=4", "d_model=64", "d_ff=128", "experts=8")


def test_experts_of_one_operator_are_drawn_by_a_process(capsys: pytest.CaptureFixture[str]) -> None:
    def seconds(*words: str) -> float:
        code, out, err = run(capsys, *MOE, *words, "--hw", "cpu/h100-host", "--json")
        assert code == 0, err
        return float(json.loads(out)["latency_s"])

    one, two = seconds("routing=[[0],[0],[0],[0]]"), seconds("top_k=1", "routing=counts:mixtral-8x7b-c4", "seed=1")
    assert one < two < seconds("top_k=8")
    assert seconds("top_k=2") == seconds("top_k=2", "routing=uniform", "seed=0")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "moe_ffn.routing: give routing, rows of expert ids"), (("top_k=9",), "top-9 of 8 experts"),
        (("top_k=2", "routing=unifrom"), "'unifrom' is not a routing process"),
        (("routing=[[1,1],[0,1],[0,1],[0,1]]",), "token 0 has an expert twice"),
        (("routing=[[0.5],[0],[0],[0]]",), "0.5 is not an expert id"),
        (("top_k=2", "experts=999999999999"), "at most 67108864 pairs are drawn"), (("top_k=x",), "moe_ffn.top_k: 'x'"),
        (("routing=[[0],[0],[0],[0]]", "bias=maybe"), "bias: 'maybe' is not true or false"),
    ],
)  # fmt: skip
def test_odd_routing_of_one_operator_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    code, _, err = run(capsys, *MOE, *words, "--hw", "cpu/h100-host")
    assert code == 2 and says in err


def test_numbers_apart_by_commas_are_one_argument() -> None:
    from simsparse.cli.operator import operator
    from simsparse.core import ops

    words = "batch=1 c_in=8 c_out=16 h_in=32 w_in=32 kh=3 kw=3"
    made = operator(["conv2d", *words.split(), "stride=2,1", "dilation=1,2"])
    assert made == ops.conv2d(1, 8, 16, 32, 32, 3, 3, stride=(2, 1), dilation=(1, 2))


def test_estimate_of_an_operator(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("linear", "m=8", "n=64", "k=64", "weight_sparsity=2:4", "--hw", "cpu/h100-host")
    code, out, _ = run(capsys, "estimate", *words, "--json")
    assert code == 0 and json.loads(out)["latency_s"] > 0
    code, out, _ = run(capsys, "estimate", *words)
    assert code == 0 and "latency" in out and "bound" in out
