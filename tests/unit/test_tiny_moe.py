# SPDX-License-Identifier: Apache-2.0
"""The tiny mixture of experts: text, balance loss, training, and what its committed trace shows."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsparse.core import OpKind, Routing, TraceBuilder
from simsparse.core.ops import moe_ffn
from simsparse.trace import load_trace
from simsparse.trace.statistics.routing_facts import reuse, routing_facts

TRACE = Path(__file__).resolve().parents[2] / "traces" / "tiny-moe-prefill.trace"


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
def test_reuse_is_what_counting_gives(sequences: int, length: int, top_k: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    ids = np.array([draw.permutation(5)[:top_k] for _ in range(sequences * length)])
    found = [
        len(set(now) & set(before)) / top_k
        for rows in ids.reshape(sequences, length, top_k).tolist()
        for before, now in itertools.pairwise(rows)
    ]
    assert reuse(ids, sequences) == pytest.approx(np.mean(found) if found else 0.0)


def test_chance_is_what_independent_tokens_reuse() -> None:
    draw = np.random.default_rng(0)
    ids = [draw.choice(8, 2, replace=False).tolist() for _ in range(20_000)]
    trace = TraceBuilder("x").add(
        moe_ffn(20_000, 4, 4, 8, True, "bf16", routing=Routing.from_ids(ids, 8, "generated:uniform"), name="e")
    ).build()  # fmt: skip
    facts = routing_facts(trace)
    assert facts["chance"][0] == pytest.approx(0.25, abs=2e-3)
    assert facts["reuse"][0] == pytest.approx(0.25, abs=0.01)
    assert facts["entropy"][0] == pytest.approx(1.0, abs=1e-3)
    assert facts["max_over_mean"][0] == pytest.approx(1.0, abs=0.05)


def test_the_committed_routing_is_recorded_and_balanced() -> None:
    trace = load_trace(TRACE)
    layers = [op for op in trace.ops if op.kind == OpKind.MOE_FFN]
    assert [op.routing.origin for op in layers if op.routing] == ["recorded"] * 4
    facts, training = trace.meta["routing_facts"], trace.meta["training"]
    assert facts == routing_facts(trace)
    assert training["held_out_bits_per_byte"] < 0.5 * training["byte_entropy"]
    assert min(facts["entropy"]) > 0.95
    assert max(facts["max_over_mean"]) < 2.0


torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
tiny_moe = pytest.importorskip("simsparse.models.tiny_moe")


@pytest.mark.torch
def test_text_is_held_out_by_topic_and_the_committed_one() -> None:
    text = tiny_moe.corpus()
    assert len(text.training) > 300_000
    assert text.held_out[:2000] not in text.training
    assert 0.03 < len(text.held_out) / (len(text.held_out) + len(text.training)) < 0.2


@pytest.mark.torch
def test_the_balance_loss_is_one_for_equal_use_and_the_number_of_experts_for_one() -> None:
    even = torch.eye(8).repeat(16, 1) * 1e-3
    assert float(tiny_moe.balance_loss([even])) == pytest.approx(1.0, abs=1e-3)
    collapsed = torch.zeros(64, 8)
    collapsed[:, 3], collapsed[:, 5] = 40.0, 39.999
    assert float(tiny_moe.balance_loss([collapsed])) == pytest.approx(4.0, abs=0.01)
    assert float(tiny_moe.balance_loss([even, collapsed])) == pytest.approx(2.5, abs=0.01)


@pytest.mark.torch
def test_training_is_deterministic_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_moe, "BATCH", 2)
    monkeypatch.setattr(tiny_moe, "LENGTH", 32)
    runs: list[list[float]] = []
    weights: list[Any] = []
    for _ in range(2):
        model = tiny_moe.build_tiny_moe()
        runs.append(list(tiny_moe.train(model, 20)))
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert runs[0] == runs[1]
    assert torch.equal(*weights)
    assert runs[0][0] == pytest.approx(math.log(256) + tiny_moe.BALANCE_WEIGHT, abs=0.2)
    assert min(runs[0][-5:]) < runs[0][0] - 0.5


@pytest.mark.torch
def test_a_trace_takes_texts_from_all_over_what_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_moe, "trained_tiny_moe", lambda: tiny_moe.build_tiny_moe().eval())
    monkeypatch.setattr(tiny_moe, "held_out_bits", lambda _: 8.0)
    trace = tiny_moe.tiny_moe_trace(4, 16)
    routed = [op.routing for op in trace.ops if op.routing]
    assert len(routed) == 4
    assert all(len(routing.ids) == 64 and sum(routing.counts) == 128 for routing in routed)
    with pytest.raises(Exception, match="the held-out text has"):
        tiny_moe.tiny_moe_trace(10**6, 16)
