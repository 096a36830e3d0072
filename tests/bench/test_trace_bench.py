# SPDX-License-Identifier: Apache-2.0
"""Processor time and memory of extraction, and of trace files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simsparse.trace import load_trace

pytestmark = pytest.mark.bench
TRACES = Path(__file__).resolve().parents[2] / "traces"
_EXTRACT = """
import json, pathlib, re, resource, sys
from simsparse.models import extract
trace = extract(sys.argv[1], "prefill", batch=1, seq=4096)
used = resource.getrusage(resource.RUSAGE_SELF)
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
print(json.dumps({"seconds": used.ru_utime + used.ru_stime, "bytes": peak, "ops": len(trace.ops)}))
"""
"""The peak is VmHWM: a process begins with ru_maxrss at that of the one which started it."""


def extracted(model: str) -> dict[str, Any]:
    """What a fresh process needs to extract a prefill of 4,096 tokens, imports included."""
    pytest.importorskip("transformers")
    done = subprocess.run([sys.executable, "-c", _EXTRACT, model], capture_output=True, text=True, check=True)
    used: dict[str, Any] = json.loads(done.stdout)
    return used


@pytest.mark.torch
def test_llama2_70b_prefill_takes_ten_seconds_and_a_gigabyte_at_most() -> None:
    used = extracted("llama2-70b")
    assert used["seconds"] < 10.0
    assert used["bytes"] < 1e9
    assert used["ops"] == 80 * 15 + 5


@pytest.mark.torch
def test_deepseek_v3_prefill_takes_thirty_seconds_at_most() -> None:
    used = extracted("deepseek-v3")
    assert used["seconds"] < 30.0
    assert used["bytes"] < 1e9


@pytest.mark.torch
@pytest.mark.parametrize("family", ["bert", "llama", "resnet"])
def test_tracing_takes_three_times_the_models_own_run_at_most(family: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from simsparse.trace import trace_model

    tokens = {"input_ids": torch.zeros(4, 128, dtype=torch.long)}
    shapes: dict[str, dict[str, Any]] = {
        "bert": {"num_hidden_layers": 4},
        "llama": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8,
                  "num_key_value_heads": 8, "vocab_size": 8000},
        "resnet": {},
    }  # fmt: skip
    inputs = {"pixel_values": torch.randn(4, 3, 224, 224)} if family == "resnet" else tokens
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(family, **shapes[family])).eval()
    with torch.no_grad():
        own = _fastest(lambda: model(**inputs))
    assert _fastest(lambda: trace_model(model, inputs)) < 3 * own


def _fastest(run: Callable[[], object]) -> float:
    seconds = []
    run()
    for _ in range(5):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def test_a_committed_trace_loads_within_fifty_milliseconds() -> None:
    path = TRACES / "llama2-7b-decode-b8.trace"
    load_trace(path)
    start = time.process_time()
    load_trace(path)
    assert time.process_time() - start < 0.05
