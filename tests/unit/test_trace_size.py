# SPDX-License-Identifier: Apache-2.0
"""Sizes of trace files of large models, and what routing costs to read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from simsparse.core import Routing, Trace, TraceBuilder, ops
from simsparse.trace import load_trace, save_trace
from simsparse.trace.routing import RoutingProcess, generate

LIMIT_BYTES = 200_000


@pytest.mark.torch
def test_a_llama2_70b_prefill_of_4096_tokens_takes_less_than_200_kb(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from simsparse.models import extract

    trace = extract("llama2-70b", "prefill", batch=1, seq=4096)
    assert save_trace(trace, tmp_path / "a.trace").stat().st_size < LIMIT_BYTES


def routed(tokens: int, layers: int) -> Trace:
    builder, process = TraceBuilder("routed"), RoutingProcess.parse("zipf:0.5")
    for layer in range(layers):
        routing: Routing = generate(process, tokens, 64, 8, layer, seed=0)
        builder.add(ops.moe_ffn(tokens, 64, 128, 64, routing=routing))
    return builder.build()


def test_an_expert_id_takes_less_than_a_byte_on_disk(tmp_path: Path) -> None:
    trace = routed(tokens=2000, layers=4)
    size = save_trace(trace, tmp_path / "a.trace").stat().st_size
    assert size < 2000 * 4 * 8
    assert load_trace(tmp_path / "a.trace") == trace


@pytest.mark.bench
def test_a_million_expert_ids_load_within_half_a_second(tmp_path: Path) -> None:
    path = save_trace(routed(tokens=8192, layers=16), tmp_path / "a.trace")
    load_trace(path)
    start = time.process_time()
    load_trace(path)
    assert time.process_time() - start < 0.5
