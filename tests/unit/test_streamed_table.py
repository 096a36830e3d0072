# SPDX-License-Identifier: Apache-2.0
"""Tables that are written some rows after others: the files and the frame of one that is held."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from spec_files import write
from sweep_runs import BASE, in_closed_form, save_trace

from simsparse.store import frames
from simsparse.store.schema import DETAILS
from simsparse.sweep import run, run_sweep

FAILING = (
    BASE
    + """axes:
  seed: [0, 1, 13]
  card:
    - {label: as it is, weight_sparsity: dense}
    - {label: fast, override.cpu0.memory.bandwidth: 400 GB/s}
    - {label: faster, override.cpu0.memory.bandwidth: 500 GB/s}
"""
)
LIMITED = (
    BASE
    + """axes:
  seed: [0, 1]
  override.cpu0.memory.bandwidth: {low: 100, high: 900, step: 200, unit: GB/s}
constraints: {latency_s: 30 us, memory_bytes: 1 GB}
"""
)


@pytest.mark.parametrize("text", [FAILING, LIMITED])
def test_streamed_tables_are_those_that_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    in_closed_form(monkeypatch)
    monkeypatch.setattr(frames, "AT_ONCE", 4)
    save_trace(tmp_path)
    spec, files = write(tmp_path, text), []
    for name, most in (("held", 1000), ("streamed", 1)):
        monkeypatch.setattr(run, "HELD", most)
        out = tmp_path / name
        frame = run_sweep(spec, out)
        files.append((frame, (out / "results.csv").read_bytes(), pd.read_parquet(out / "results.parquet")))
        brief = run_sweep(spec, out, details=False)
        pd.testing.assert_frame_equal(brief, frame.drop(columns=list(DETAILS)), check_dtype=name == "held")
        assert (frame["error"] != "").sum() == (3 if text is FAILING else 0)
    (held, *written), (streamed, *again) = files  # read from a file, columns of anything have become texts
    assert written[0] == again[0]
    pd.testing.assert_frame_equal(written[1], again[1])
    pd.testing.assert_frame_equal(held, streamed, check_dtype=text is LIMITED)
