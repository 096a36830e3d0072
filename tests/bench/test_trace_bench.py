"""Processor time of extraction and of trace files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from simsparse.trace import extract, load_trace

pytestmark = pytest.mark.bench
TRACES = Path(__file__).resolve().parents[2] / "traces"


@pytest.mark.torch
def test_llama2_70b_prefill_is_extracted_within_ten_seconds() -> None:
    pytest.importorskip("transformers")
    start = time.process_time()
    trace = extract("llama2-70b", "prefill", batch=1, seq=4096)
    assert time.process_time() - start < 10.0
    assert len(trace.ops) == 80 * 15 + 5


def test_a_committed_trace_loads_within_fifty_milliseconds() -> None:
    path = TRACES / "llama2-7b-decode-b8.trace"
    load_trace(path)
    start = time.process_time()
    load_trace(path)
    assert time.process_time() - start < 0.05
