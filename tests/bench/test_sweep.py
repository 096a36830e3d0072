# SPDX-License-Identifier: Apache-2.0
"""How fast sweeps are: store, tables and process start-up included."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from simsparse.paths import data_root
from simsparse.sweep import run_sweep

pytestmark = pytest.mark.bench

LLAMA = """
name: bench
workload: {trace: traces/llama2-7b-decode-b8.trace}
system: systems/h100-pcie5
level: 0
axes:
  weight_sparsity: [dense, "2:4", "1:4", "1:8"]
  override.gpu0.memory.bandwidth: {low: 1, high: 10, log: true, unit: TB/s}
sample: {kind: random, points: 10000}
"""


def test_ten_thousand_points_within_30_s(tmp_path: Path) -> None:
    spec = tmp_path / "sweep.yaml"
    spec.write_text(LLAMA, encoding="utf-8")
    began = time.perf_counter()
    frame = run_sweep(spec, tmp_path / "out", jobs=2)
    seconds = time.perf_counter() - began
    print(f"10,000-point level-0 sweep of a Llama-2-7B decode step, two processes: {seconds:.1f} s")
    assert len(frame) == 10_000 and (frame["error"] == "").all()
    assert seconds < 30.0


def test_a_rerun_of_a_finished_sweep_is_quick(tmp_path: Path) -> None:
    spec = tmp_path / "sweep.yaml"
    spec.write_text(LLAMA.replace("10000", "1000"), encoding="utf-8")
    run_sweep(spec, tmp_path / "out", jobs=2)
    began = time.perf_counter()
    run_sweep(spec, tmp_path / "out", jobs=2)
    seconds = time.perf_counter() - began
    print(f"rerun of 1,000 finished points: {seconds:.2f} s")
    assert seconds < 3.0


def test_the_demo_within_30_s(tmp_path: Path) -> None:
    began = time.perf_counter()
    frame = run_sweep(data_root() / "configs" / "sweeps" / "demo.yaml", tmp_path / "out", jobs=2)
    seconds = time.perf_counter() - began
    print(f"demo sweep, {len(frame)} points at level 1: {seconds:.1f} s")
    assert seconds < 30.0
