# SPDX-License-Identifier: Apache-2.0
"""Sweeps run once, whole and in order: points, the store, local processes, kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from spec_files import write
from sweep_runs import BASE, GRID

from simsparse.core import Span
from simsparse.errors import SpecError, StoreError
from simsparse.store import STORE_NAME, Store
from simsparse.sweep import point, run_sweep


def test_a_grid_is_the_product_of_its_axes_in_order(sweep_folder: Path, runs: list[Any]) -> None:
    frame = run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    assert list(zip(frame["weight_sparsity"], frame["seed"], strict=True)) == [
        ("dense", 0), ("dense", 1), ("2:4", 0), ("2:4", 1), ("1:4", 0), ("1:4", 1)]  # fmt: skip
    assert [run[0] for run in runs] == list(frame["weight_sparsity"])
    dense = 2 * (64 * 64 * 7 + 100 * 64)
    assert frame["latency_s"][0] == pytest.approx(1e-9 * dense)
    assert (frame["energy_j"] == frame["latency_s"]).all() and (frame["error"] == "").all()


def test_excluded_weights_stay_dense(sweep_folder: Path, runs: list[Any]) -> None:
    kept = run_sweep(write(sweep_folder, GRID), sweep_folder / "a")
    every = run_sweep(write(sweep_folder, GRID + "exclude: []\n"), sweep_folder / "b")
    gap = (kept["latency_s"] - every["latency_s"])[2]
    saved = 100 * 64 * 2 - 100 * (64 // 4) * (2 * 16 + 4) // 8
    assert gap == pytest.approx(1e-9 * saved) and every["latency_s"][0] == kept["latency_s"][0]
    assert len(runs) == 12


def test_skip_drops_the_points_that_match_all_of_an_item(sweep_folder: Path, runs: list[Any]) -> None:
    text = GRID + "skip:\n- {weight_sparsity: [2:4, 1:4], seed: 1}\n"
    frame = run_sweep(write(sweep_folder, text), sweep_folder / "out")
    assert list(zip(frame["weight_sparsity"], frame["seed"], strict=True)) == [
        ("dense", 0), ("dense", 1), ("2:4", 0), ("1:4", 0)]  # fmt: skip
    assert len(runs) == 4


def test_a_named_axis_sets_several_keys_and_shows_its_labels(sweep_folder: Path, runs: list[Any]) -> None:
    items = "[{label: slow, seed: 3, weight_sparsity: 2:4}, {label: fast, override.cpu0.memory.bandwidth: 1 TB/s}]"
    frame = run_sweep(write(sweep_folder, BASE + f"axes:\n  setup: {items}\n"), sweep_folder / "out")
    assert list(frame["setup"]) == ["slow", "fast"] and list(frame["seed"]) == [3, 0]
    assert frame["si.cpu0.memory.bandwidth"][1] == 1e12 and frame["override.cpu0.memory.bandwidth"][1] == "1 TB/s"
    assert runs[0][:3] == ("2:4", "resident", 3)


def test_a_rerun_runs_nothing_and_a_wider_sweep_only_what_is_missing(sweep_folder: Path, runs: list[Any]) -> None:
    first = run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    again = run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    assert len(runs) == 6
    pd.testing.assert_frame_equal(first, again)
    wider = run_sweep(write(sweep_folder, GRID.replace("1:4]", "1:4, 1:8]")), sweep_folder / "out")
    assert [run[0] for run in runs[6:]] == ["1:8", "1:8"] and len(wider) == 8


@pytest.mark.parametrize("name", ["results.csv", "results.parquet", "resolved.yaml"])
def test_a_rerun_of_a_finished_sweep_writes_only_what_has_changed(
    sweep_folder: Path, runs: list[Any], name: str
) -> None:
    out, calls = sweep_folder / "out", []
    first = run_sweep(write(sweep_folder, GRID), out)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = run_sweep(write(sweep_folder, GRID), out, progress=lambda *state: calls.append(state))
    pd.testing.assert_frame_equal(first, again)
    assert not again.attrs and calls == [(6, 6, 0)] and len(runs) == 6
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    (out / name).write_bytes(b"spoilt")
    pd.testing.assert_frame_equal(run_sweep(write(sweep_folder, GRID), out), first)
    assert (out / name).read_bytes() != b"spoilt" and len(runs) == 6


def test_failed_points_are_recorded_and_tried_again(sweep_folder: Path, runs: list[Any]) -> None:
    path, calls = write(sweep_folder, BASE + "axes:\n  seed: [0, 13, 14]\n"), []
    frame = run_sweep(path, sweep_folder / "out", progress=lambda *state: calls.append(state))
    assert list(frame["error"]) == ["", "gpu0: memory full", "internal error: ZeroDivisionError: a slip"]
    assert frame["latency_s"].isna().tolist() == [False, True, True]
    assert calls == [(0, 3, 0), (1, 3, 0), (2, 3, 1), (3, 3, 2)]
    run_sweep(path, sweep_folder / "out")
    assert [run[2] for run in runs] == [0, 13, 14, 13, 14]


def test_the_files_hold_the_table_and_the_inputs(sweep_folder: Path, runs: list[Any]) -> None:
    from simsparse.config.yaml import read_yaml

    frame = run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    assert sorted(path.name for path in (sweep_folder / "out").iterdir()) == [
        "resolved.yaml", "results.csv", "results.parquet", STORE_NAME]  # fmt: skip
    parquet = pd.read_parquet(sweep_folder / "out" / "results.parquet")
    assert parquet["latency_s"].tolist() == frame["latency_s"].tolist()
    csv = pd.read_csv(sweep_folder / "out" / "results.csv")
    assert csv["latency_s"].tolist() == frame["latency_s"].tolist()
    resolved = read_yaml(sweep_folder / "out" / "resolved.yaml").data
    assert resolved["name"] == "test" and resolved["axes"]["weight_sparsity"] == ["dense", "2:4", "1:4"]
    values = resolved["parts_used"]["cpu/h100-host"]["cpu0"]["values"]
    assert values["memory.bandwidth"]["value"] and values["memory.bandwidth"]["basis"] == "measured"
    assert runs


def test_a_small_sweep_keeps_ops_and_level_1_timelines(sweep_folder: Path, runs: list[Any]) -> None:
    frame = run_sweep(write(sweep_folder, GRID.replace("level: 0", "level: 1")), sweep_folder / "out")
    with Store.open(sweep_folder / "out", "test") as store:
        rows = store.ops()[frame["key"][0]]
        timeline = store.timelines()[frame["key"][0]]
        assert "none" not in store.ops() and len(store.timelines()) == len(frame)
    assert [(row.name, row.bound) for row in rows] == [("a", "memory")]
    assert tuple(timeline.spans) == (Span(0, 5, "gpu0", "compute", "a", "linear", 7),)
    assert runs


def test_a_store_of_another_sweep_is_refused_and_left_alone(sweep_folder: Path, runs: list[Any]) -> None:
    run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    before = (sweep_folder / "out" / STORE_NAME).read_bytes()
    with pytest.raises(StoreError, match="belongs to the sweep 'test', not to 'other'; give another --out"):
        run_sweep(write(sweep_folder, GRID.replace("name: test", "name: other")), sweep_folder / "out")
    assert (sweep_folder / "out" / STORE_NAME).read_bytes() == before and len(runs) == 6


@pytest.mark.parametrize("size", [1, 100, 4096, 20000])
def test_a_damaged_store_is_a_typed_error(sweep_folder: Path, runs: list[Any], size: int) -> None:
    run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    path = sweep_folder / "out" / STORE_NAME
    data = path.read_bytes()
    path.write_bytes(data[:size] + b"\xff" * (len(data) - size))
    with pytest.raises(StoreError, match=STORE_NAME):
        run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    assert runs


def test_another_database_is_refused(sweep_folder: Path, runs: list[Any]) -> None:
    (sweep_folder / "out").mkdir()
    other = sqlite3.connect(sweep_folder / "out" / STORE_NAME)
    other.execute("CREATE TABLE points (a)")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="is a database, but no sweep's store"):
        run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    assert not runs


def test_a_store_in_use_is_refused(sweep_folder: Path, runs: list[Any]) -> None:
    run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    with Store.open(sweep_folder / "out", "test"), pytest.raises(StoreError, match="is in use by another run"):
        run_sweep(write(sweep_folder, GRID), sweep_folder / "out")
    assert runs


def test_a_file_in_place_of_the_folder_is_a_typed_error(sweep_folder: Path, runs: list[Any]) -> None:
    with pytest.raises(StoreError, match="can't be written"):
        run_sweep(write(sweep_folder, GRID), sweep_folder / "t.trace")
    assert not runs


def test_an_interrupt_leaves_what_was_done(sweep_folder: Path, runs: list[Any]) -> None:
    def interrupt(done: int, total: int, failed: int) -> None:
        del total, failed
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(write(sweep_folder, GRID), sweep_folder / "out", progress=interrupt)
    assert len(run_sweep(write(sweep_folder, GRID), sweep_folder / "out")) == 6
    assert len(runs) == 6


def test_the_number_of_processes_must_be_positive(sweep_folder: Path) -> None:
    with pytest.raises(SpecError, match="0 is not a number of processes"):
        run_sweep(write(sweep_folder, GRID), sweep_folder / "out", jobs=0)


REAL = BASE + "axes:\n  weight_sparsity: [dense, 2:4, 1:4]\n  seed: [0, 1, 2, 3, 4, 5, 6, 7]\n"
KILLED = """
import os, signal, sys
from simsparse.sweep import point, run_sweep
point.code_sha256 = lambda: "these sources"
def progress(done, total, failed):
    if done >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
run_sweep(sys.argv[1], sys.argv[2], jobs=int(sys.argv[3]), progress=progress)
"""


def test_the_table_does_not_depend_on_the_number_of_processes(sweep_folder: Path) -> None:
    path = write(sweep_folder, REAL)
    one, two = run_sweep(path, sweep_folder / "one"), run_sweep(path, sweep_folder / "two", jobs=2)
    pd.testing.assert_frame_equal(one, two)
    assert (one["error"] == "").all()
    assert (sweep_folder / "one" / "results.csv").read_bytes() == (sweep_folder / "two" / "results.csv").read_bytes()


@pytest.mark.parametrize(("jobs", "after"), [(1, 1), (1, 11), (2, 7)])
def test_kill_9_loses_nothing(sweep_folder: Path, jobs: int, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point, "code_sha256", lambda: "these sources")
    path = write(sweep_folder, REAL)
    command = [sys.executable, "-c", KILLED, str(path), str(sweep_folder / "out"), str(jobs), str(after)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    kept: list[int] = []
    resumed = run_sweep(path, sweep_folder / "out", progress=lambda *state: kept.append(state[0]))
    assert kept[0] >= after and kept[-1] == 24
    pd.testing.assert_frame_equal(resumed, run_sweep(path, sweep_folder / "whole"))


def test_no_worker_outlives_a_killed_parent(sweep_folder: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(write(sweep_folder, REAL)), str(sweep_folder / "out"), "2", "5"]
    environment = {**os.environ, "SIMSPARSE_TEST_TAG": str(sweep_folder)}
    subprocess.run(command, check=False, env=environment)
    for _ in range(200):
        if not _tagged(str(sweep_folder)):
            return
        signal.sigtimedwait([], 0.05)
    pytest.fail(f"still running: {_tagged(str(sweep_folder))}")


def _tagged(tag: str) -> list[str]:
    """Processes whose environment carries ``tag``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"SIMSPARSE_TEST_TAG={tag}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(entry.name)
        except OSError:
            continue
    return found
