# SPDX-License-Identifier: Apache-2.0
"""Sweeps run once, whole and in order: points, samplers, the store, local processes, kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from spec_files import write

from simsparse import load_trace, simulate
from simsparse.config.hardware import System, load_system
from simsparse.core import ActionCounts, Keep, OpResult, Result, Span, Timeline, Trace, TraceBuilder, ops
from simsparse.errors import SimulationError, SpecError, StoreError
from simsparse.report.build import draw
from simsparse.report.reader import read_results
from simsparse.store import STORE_NAME, Store
from simsparse.sweep import point, run_sweep

BASE = "name: test\nworkload: {trace: t.trace}\nsystem: cpu/h100-host\nlevel: 0\n"
GRID = BASE + "axes:\n  weight_sparsity: [dense, 2:4, 1:4]\n  seed: [0, 1]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    builder = TraceBuilder("t")
    for i in range(3):
        builder.add(ops.linear(8, 64, 64 << i, name=f"linear{i}", module=f"layers.{i}"))
    builder.add(ops.linear(8, 100, 64, name="lm_head", module="lm_head")).build().save(tmp_path / "t.trace")
    return tmp_path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Replaces the simulation by a closed form and lists what was run: (sparsity, policy, seed, level)."""
    seen: list[tuple[Any, ...]] = []

    def fake(trace: Trace, system: System, policy: str, seed: int, level: int, **usual: Any) -> Result:
        assert usual.pop("keep") in list(Keep)
        assert usual == {"stack": "fused+graph", "steps": 1, "routing": ""}
        sparsity = str(trace.ops[0].weight_sparsity)
        seen.append((sparsity, policy, seed, level))
        if seed == 13:
            raise SimulationError("memory full", key="gpu0")
        if seed == 14:
            raise ZeroDivisionError("a slip")
        seconds = 1e-9 * trace.weight_bytes * (1 + seed)
        if system.overrides:
            bandwidth = dict(system.devices["cpu0"].quantities())["memory.bandwidth"].si
            seconds *= 1e11 / bandwidth
        watts = 2.0 if system.overrides else 1.0
        row = OpResult("a", "linear", "", "m", "gpu0", sparsity, 0.0, seconds, watts * seconds, "memory", 1, 2)
        timeline = Timeline.of([Span(0, 5, "gpu0", "compute", "a", "linear", 7)])
        return Result(trace.name, system.name, policy, seed, level, seconds, watts * seconds, (row,),
                      {"gpu0.static": watts * seconds}, ActionCounts(), timeline, seconds_by_bound={"memory": seconds},
                      overrides=dict(system.overrides))  # fmt: skip

    monkeypatch.setattr(import_module("simsparse._simulate"), "simulate", fake)
    return seen


def test_a_grid_is_the_product_of_its_axes_in_order(folder: Path, runs: list[Any]) -> None:
    frame = run_sweep(write(folder, GRID), folder / "out")
    assert list(zip(frame["weight_sparsity"], frame["seed"], strict=True)) == [
        ("dense", 0), ("dense", 1), ("2:4", 0), ("2:4", 1), ("1:4", 0), ("1:4", 1)]  # fmt: skip
    assert [run[0] for run in runs] == list(frame["weight_sparsity"])
    dense = 2 * (64 * 64 * 7 + 100 * 64)
    assert frame["latency_s"][0] == pytest.approx(1e-9 * dense)
    assert (frame["energy_j"] == frame["latency_s"]).all() and (frame["error"] == "").all()


def test_excluded_weights_stay_dense(folder: Path, runs: list[Any]) -> None:
    kept = run_sweep(write(folder, GRID), folder / "a")
    every = run_sweep(write(folder, GRID + "exclude: []\n"), folder / "b")
    gap = (kept["latency_s"] - every["latency_s"])[2]
    saved = 100 * 64 * 2 - 100 * (64 // 4) * (2 * 16 + 4) // 8
    assert gap == pytest.approx(1e-9 * saved) and every["latency_s"][0] == kept["latency_s"][0]
    assert len(runs) == 12


def test_skip_drops_the_points_that_match_all_of_an_item(folder: Path, runs: list[Any]) -> None:
    text = GRID + "skip:\n- {weight_sparsity: [2:4, 1:4], seed: 1}\n"
    frame = run_sweep(write(folder, text), folder / "out")
    assert list(zip(frame["weight_sparsity"], frame["seed"], strict=True)) == [
        ("dense", 0), ("dense", 1), ("2:4", 0), ("1:4", 0)]  # fmt: skip
    assert len(runs) == 4


def test_a_named_axis_sets_several_keys_and_shows_its_labels(folder: Path, runs: list[Any]) -> None:
    items = "[{label: slow, seed: 3, weight_sparsity: 2:4}, {label: fast, override.cpu0.memory.bandwidth: 1 TB/s}]"
    frame = run_sweep(write(folder, BASE + f"axes:\n  setup: {items}\n"), folder / "out")
    assert list(frame["setup"]) == ["slow", "fast"] and list(frame["seed"]) == [3, 0]
    assert frame["si.cpu0.memory.bandwidth"][1] == 1e12 and frame["override.cpu0.memory.bandwidth"][1] == "1 TB/s"
    assert runs[0][:3] == ("2:4", "resident", 3)


def test_a_rerun_runs_nothing_and_a_wider_sweep_only_what_is_missing(folder: Path, runs: list[Any]) -> None:
    first = run_sweep(write(folder, GRID), folder / "out")
    again = run_sweep(write(folder, GRID), folder / "out")
    assert len(runs) == 6
    pd.testing.assert_frame_equal(first, again)
    wider = run_sweep(write(folder, GRID.replace("1:4]", "1:4, 1:8]")), folder / "out")
    assert [run[0] for run in runs[6:]] == ["1:8", "1:8"] and len(wider) == 8


@pytest.mark.parametrize("name", ["results.csv", "results.parquet", "resolved.yaml"])
def test_a_rerun_of_a_finished_sweep_writes_only_what_has_changed(folder: Path, runs: list[Any], name: str) -> None:
    out, calls = folder / "out", []
    first = run_sweep(write(folder, GRID), out)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = run_sweep(write(folder, GRID), out, progress=lambda *state: calls.append(state))
    pd.testing.assert_frame_equal(first, again)
    assert not again.attrs and calls == [(6, 6, 0)] and len(runs) == 6
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    (out / name).write_bytes(b"spoilt")
    pd.testing.assert_frame_equal(run_sweep(write(folder, GRID), out), first)
    assert (out / name).read_bytes() != b"spoilt" and len(runs) == 6


def test_failed_points_are_recorded_and_tried_again(folder: Path, runs: list[Any]) -> None:
    path, calls = write(folder, BASE + "axes:\n  seed: [0, 13, 14]\n"), []
    frame = run_sweep(path, folder / "out", progress=lambda *state: calls.append(state))
    assert list(frame["error"]) == ["", "gpu0: memory full", "internal error: ZeroDivisionError: a slip"]
    assert frame["latency_s"].isna().tolist() == [False, True, True]
    assert calls == [(0, 3, 0), (1, 3, 0), (2, 3, 1), (3, 3, 2)]
    run_sweep(path, folder / "out")
    assert [run[2] for run in runs] == [0, 13, 14, 13, 14]


def test_the_files_hold_the_table_and_the_inputs(folder: Path, runs: list[Any]) -> None:
    from simsparse.config.yaml import read_yaml

    frame = run_sweep(write(folder, GRID), folder / "out")
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "resolved.yaml", "results.csv", "results.parquet", STORE_NAME]  # fmt: skip
    parquet = pd.read_parquet(folder / "out" / "results.parquet")
    assert parquet["latency_s"].tolist() == frame["latency_s"].tolist()
    csv = pd.read_csv(folder / "out" / "results.csv")
    assert csv["latency_s"].tolist() == frame["latency_s"].tolist()
    resolved = read_yaml(folder / "out" / "resolved.yaml").data
    assert resolved["name"] == "test" and resolved["axes"]["weight_sparsity"] == ["dense", "2:4", "1:4"]
    values = resolved["parts_used"]["cpu/h100-host"]["cpu0"]["values"]
    assert values["memory.bandwidth"]["value"] and values["memory.bandwidth"]["basis"] == "measured"
    assert runs


def test_a_small_sweep_keeps_ops_and_level_1_timelines(folder: Path, runs: list[Any]) -> None:
    frame = run_sweep(write(folder, GRID.replace("level: 0", "level: 1")), folder / "out")
    with Store.open(folder / "out", "test") as store:
        rows = store.ops()[frame["key"][0]]
        timeline = store.timelines()[frame["key"][0]]
        assert "none" not in store.ops() and len(store.timelines()) == len(frame)
    assert [(row.name, row.bound) for row in rows] == [("a", "memory")]
    assert tuple(timeline.spans) == (Span(0, 5, "gpu0", "compute", "a", "linear", 7),)
    assert runs


def test_a_store_of_another_sweep_is_refused_and_left_alone(folder: Path, runs: list[Any]) -> None:
    run_sweep(write(folder, GRID), folder / "out")
    before = (folder / "out" / STORE_NAME).read_bytes()
    with pytest.raises(StoreError, match="belongs to the sweep 'test', not to 'other'; give another --out"):
        run_sweep(write(folder, GRID.replace("name: test", "name: other")), folder / "out")
    assert (folder / "out" / STORE_NAME).read_bytes() == before and len(runs) == 6


@pytest.mark.parametrize("size", [1, 100, 4096, 20000])
def test_a_damaged_store_is_a_typed_error(folder: Path, runs: list[Any], size: int) -> None:
    run_sweep(write(folder, GRID), folder / "out")
    path = folder / "out" / STORE_NAME
    data = path.read_bytes()
    path.write_bytes(data[:size] + b"\xff" * (len(data) - size))
    with pytest.raises(StoreError, match=STORE_NAME):
        run_sweep(write(folder, GRID), folder / "out")
    assert runs


def test_another_database_is_refused(folder: Path, runs: list[Any]) -> None:
    (folder / "out").mkdir()
    other = sqlite3.connect(folder / "out" / STORE_NAME)
    other.execute("CREATE TABLE points (a)")
    other.commit()
    other.close()
    with pytest.raises(StoreError, match="is a database, but no sweep's store"):
        run_sweep(write(folder, GRID), folder / "out")
    assert not runs


def test_a_store_in_use_is_refused(folder: Path, runs: list[Any]) -> None:
    run_sweep(write(folder, GRID), folder / "out")
    with Store.open(folder / "out", "test"), pytest.raises(StoreError, match="is in use by another run"):
        run_sweep(write(folder, GRID), folder / "out")
    assert runs


def test_a_file_in_place_of_the_folder_is_a_typed_error(folder: Path, runs: list[Any]) -> None:
    with pytest.raises(StoreError, match="can't be written"):
        run_sweep(write(folder, GRID), folder / "t.trace")
    assert not runs


def test_an_interrupt_leaves_what_was_done(folder: Path, runs: list[Any]) -> None:
    def interrupt(done: int, total: int, failed: int) -> None:
        del total, failed
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(write(folder, GRID), folder / "out", progress=interrupt)
    assert len(run_sweep(write(folder, GRID), folder / "out")) == 6
    assert len(runs) == 6


BANDWIDTH = "axes:\n  override.cpu0.memory.bandwidth: {low: 50, high: 800, log: true, unit: GB/s}\n  seed: [0, 1, 2]\n"


@pytest.mark.parametrize("kind", ["random", "sobol", "tpe", "nsga2"])
def test_samplers_draw_the_points_asked_for_and_repeat(folder: Path, runs: list[Any], kind: str) -> None:
    text = BASE + BANDWIDTH + f"sample: {{kind: {kind}, points: 16, seed: 5, population: 8}}\n"
    first = run_sweep(write(folder, text), folder / "a")
    assert 10 <= len(first) <= 16 and first["si.cpu0.memory.bandwidth"].between(50e9, 800e9).all()
    count = len(runs)
    pd.testing.assert_frame_equal(first, run_sweep(write(folder, text), folder / "a"))
    assert len(runs) == count
    pd.testing.assert_frame_equal(first, run_sweep(write(folder, text), folder / "b"))
    other = run_sweep(write(folder, text.replace("seed: 5", "seed: 6")), folder / "c")
    assert not other["si.cpu0.memory.bandwidth"].equals(first["si.cpu0.memory.bandwidth"])


def test_sobol_spreads_evenly(folder: Path, runs: list[Any]) -> None:
    text = BASE + BANDWIDTH.replace("log: true", "log: false") + "sample: {kind: sobol, points: 64}\n"
    drawn = run_sweep(write(folder, text), folder / "out")["si.cpu0.memory.bandwidth"]
    counts = pd.cut(drawn, [50e9 + 750e9 * i / 8 for i in range(9)], include_lowest=True).value_counts()
    assert counts.tolist() == [8] * 8 and runs


@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_optimisers_move_towards_small_objectives(folder: Path, runs: list[Any], kind: str) -> None:
    text = BASE + BANDWIDTH + f"sample: {{kind: {kind}, points: 80, population: 10}}\n"
    frame = run_sweep(write(folder, text), folder / "out")
    with Store.open(folder / "out", "test") as store:
        drawn = pd.Series([row.summary["latency_s"] for row in store.rows() if row.summary])
    assert len(drawn) == 80 and drawn.tail(20).median() < 0.5 * drawn.head(10).median()
    assert len(frame) == len(runs) <= 80 and frame["key"].is_unique


def test_a_random_subset_of_a_grid_has_no_point_twice(folder: Path, runs: list[Any]) -> None:
    frame = run_sweep(write(folder, GRID + "sample: {kind: random, points: 4}\n"), folder / "out")
    assert len(frame[["weight_sparsity", "seed"]].drop_duplicates()) == 4 and len(runs) == 4


def test_the_number_of_processes_must_be_positive(folder: Path) -> None:
    with pytest.raises(SpecError, match="0 is not a number of processes"):
        run_sweep(write(folder, GRID), folder / "out", jobs=0)


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


def test_the_table_does_not_depend_on_the_number_of_processes(folder: Path) -> None:
    path = write(folder, REAL)
    one, two = run_sweep(path, folder / "one"), run_sweep(path, folder / "two", jobs=2)
    pd.testing.assert_frame_equal(one, two)
    assert (one["error"] == "").all()
    assert (folder / "one" / "results.csv").read_bytes() == (folder / "two" / "results.csv").read_bytes()


@pytest.mark.parametrize(("jobs", "after"), [(1, 1), (1, 11), (2, 7)])
def test_kill_9_loses_nothing(folder: Path, jobs: int, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point, "code_sha256", lambda: "these sources")
    path = write(folder, REAL)
    command = [sys.executable, "-c", KILLED, str(path), str(folder / "out"), str(jobs), str(after)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    kept: list[int] = []
    resumed = run_sweep(path, folder / "out", progress=lambda *state: kept.append(state[0]))
    assert kept[0] >= after and kept[-1] == 24
    pd.testing.assert_frame_equal(resumed, run_sweep(path, folder / "whole"))


def test_no_worker_outlives_a_killed_parent(folder: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(write(folder, REAL)), str(folder / "out"), "2", "5"]
    environment = {**os.environ, "SIMSPARSE_TEST_TAG": str(folder)}
    subprocess.run(command, check=False, env=environment)
    for _ in range(200):
        if not _tagged(str(folder)):
            return
        signal.sigtimedwait([], 0.05)
    pytest.fail(f"still running: {_tagged(str(folder))}")


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


def column(folder: Path, axis: str, sample: str = "{kind: random, points: 40}", more: str = "") -> pd.Series:
    """The SI values of a range of the memory's bandwidth in GB/s."""
    text = f"{BASE}axes:\n  policy: [resident, pregated]\n  override.cpu0.memory.bandwidth: {axis}\n"
    return run_sweep(write(folder, f"{text}sample: {sample}\n{more}"), folder / "out")["si.cpu0.memory.bandwidth"]


SAMPLES = ["{kind: random, points: 24}", "{kind: sobol, points: 24}", "{kind: tpe, points: 24}",
           "{kind: nsga2, points: 24}"]  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
class TestRanges:
    def test_whole_numbers(self, folder: Path, runs: list[Any], sample: str) -> None:
        found = column(folder, "{low: 50, high: 60, integer: true, unit: GB/s}", sample) / 1e9
        assert set(found.round(6)) <= set(map(float, range(50, 61))) and found.nunique() > 3 and runs

    def test_steps(self, folder: Path, runs: list[Any], sample: str) -> None:
        found = column(folder, "{low: 50, high: 59, step: 2.5, unit: GB/s}", sample) / 1e9
        assert set(found.round(6)) <= {50.0, 52.5, 55.0, 57.5} and found.nunique() > 2 and runs

    def test_powers_of_two(self, folder: Path, runs: list[Any], sample: str) -> None:
        found = column(folder, "{low: 3, high: 100, power_of_two: true, unit: GB/s}", sample) / 1e9
        assert set(found.round(6)) <= {4.0, 8.0, 16.0, 32.0, 64.0} and found.nunique() > 3 and runs

    def test_a_range_holds_where_its_condition_does(self, folder: Path, runs: list[Any], sample: str) -> None:
        axis = "{low: 50, high: 60, unit: GB/s, when: {policy: pregated}}"
        column(folder, axis, sample)
        frame = pd.read_csv(folder / "out" / "results.csv", keep_default_na=False)
        given = frame["override.cpu0.memory.bandwidth"] != ""
        assert (given == (frame["policy"] == "pregated")).all() and given.any() and not given.all()
        assert frame["key"].is_unique and runs


def test_a_grid_takes_ranges_with_steps(folder: Path, runs: list[Any]) -> None:
    found = column(folder, "{low: 1, high: 8, power_of_two: true, unit: GB/s}", "{kind: grid}") / 1e9
    assert found.round(6).tolist() == [1.0, 2.0, 4.0, 8.0] * 2 and len(runs) == 8


def beaten(frame: pd.DataFrame) -> pd.Series:
    """Whether another row is nowhere worse in latency and energy and somewhere better, row by row."""
    rows = frame[["latency_s", "energy_j"]].to_numpy().tolist()
    return pd.Series([any(all(a <= b for a, b in zip(o, r, strict=True)) and o != r for o in rows) for r in rows])


def test_the_front_is_a_column(folder: Path, runs: list[Any]) -> None:
    text = BASE + BANDWIDTH + "sample: {kind: nsga2, points: 30, population: 10}\n"
    frame = run_sweep(write(folder, text), folder / "out")
    assert (frame["front"] == ~beaten(frame)).all() and frame["front"].any() and runs
    assert pd.read_parquet(folder / "out" / "results.parquet")["front"].equals(frame["front"])


@pytest.mark.parametrize("kind", ["tpe", "nsga2", "grid"])
def test_points_beyond_a_limit_are_marked_and_on_no_front(folder: Path, runs: list[Any], kind: str) -> None:
    """Latency falls with bandwidth: the limit cuts off what is slower."""
    sample = "{kind: grid}" if kind == "grid" else f"{{kind: {kind}, points: 60, population: 10}}"
    axes = BANDWIDTH.replace("log: true", "step: 50")
    free = run_sweep(write(folder, f"{BASE}{axes}sample: {sample}\n"), folder / "free")
    limit = float(free["latency_s"].median())
    frame = run_sweep(write(folder, f"{BASE}{axes}sample: {sample}\nconstraints: {{latency_s: {limit}}}\n"),
                      folder / "out")  # fmt: skip
    assert (frame["feasible"] == (frame["latency_s"] <= limit)).all()
    assert not (frame["front"] & ~frame["feasible"]).any() and frame["front"].any() and runs


def test_a_limit_may_have_a_unit(folder: Path, runs: list[Any]) -> None:
    frame = run_sweep(write(folder, GRID + "constraints: {latency_s: 30 us}\n"), folder / "out")
    assert (frame["feasible"] == (frame["latency_s"] <= 30e-6)).all() and runs


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (GRID + "constraints: {area: 3}\n", "constraints.area: can't be limited"),
        (GRID + "constraints: {latency_s: 3 W}\n", "constraints.latency_s: '3 W'"),
        (GRID + "constraints: {area_mm2: 3}\n", "area_mm2 of cpu/h100-host is not known"),
        (BASE + BANDWIDTH + "sample: {kind: nsga2, points: 4}\nobjectives: [latency_s, area_mm2]\n",
         "objectives[1]: area_mm2 of cpu/h100-host is not known"),
        (GRID + "sample: {fidelity: {levels: [1, 0]}}\n", "must be two or more and ascend"),
    ],
)  # fmt: skip
def test_what_can_not_be_ranked_is_refused_at_the_start(
    folder: Path, runs: list[Any], lines: str, expected: str
) -> None:
    with pytest.raises(SpecError) as fault:
        run_sweep(write(folder, lines), folder / "out")
    assert expected in str(fault.value) and not runs and not (folder / "out").exists()


def test_a_search_over_levels_runs_the_promising_points_again(folder: Path, runs: list[Any]) -> None:
    sample = "sample: {kind: random, points: 20, fidelity: {levels: [0, 1, 2], keep: 0.3}}\n"
    frame = run_sweep(write(folder, BASE + BANDWIDTH + sample), folder / "out")
    assert frame["level"].value_counts().to_dict() == {0: 20, 1: 6, 2: 2} and len(runs) == 28
    first = frame[frame["level"] == 0].reset_index(drop=True)
    chosen = set(frame[frame["level"] == 1]["override.cpu0.memory.bandwidth"])
    assert set(first[~beaten(first)]["override.cpu0.memory.bandwidth"]) <= chosen or len(chosen) == 6
    assert set(frame[frame["front"]]["level"]) == {2}
    assert len(run_sweep(write(folder, BASE + BANDWIDTH + sample), folder / "out")) == 28 and len(runs) == 28


LAYER = """\
name: test
workload: {trace: layer.trace}
system: accel/systolic-ws-32x32
axes:
  weight_sparsity: [dense, "2:4", "1:4"]
  override.accel0.array.clock: {low: 0.5, high: 2, unit: GHz}
"""


@pytest.fixture
def search(folder: Path) -> pd.DataFrame:
    """A search over three levels of real runs, on an array with a cycle core."""
    one = TraceBuilder("layer").add(ops.linear(16, 128, 256, "int8")).add(ops.linear(16, 256, 128, "int8"))
    one.build().save(folder / "layer.trace")
    sample = "sample: {kind: tpe, points: 10, population: 5, fidelity: {levels: [0, 1, 2], keep: 0.4}}\n"
    return run_sweep(write(folder, LAYER + sample), folder / "out")


class TestSearchOverLevels:
    def test_each_level_runs_the_promising_points_of_the_one_before(self, search: pd.DataFrame) -> None:
        assert search["level"].value_counts().to_dict() == {0: 10, 1: 4, 2: 2} and (search["error"] == "").all()
        point = ["weight_sparsity", "override.accel0.array.clock"]
        places = [set(map(tuple, search[search["level"] == level][point].to_numpy())) for level in (0, 1, 2)]
        assert places[2] < places[1] < places[0]
        cheap = search[search["level"] == 0].reset_index(drop=True)
        best = set(map(tuple, cheap[~beaten(cheap)][point].to_numpy()))
        assert best <= places[1] or places[1] <= best
        assert set(search[search["front"]]["level"]) == {2}

    def test_levels_answer_for_themselves(self, folder: Path, search: pd.DataFrame) -> None:
        """Each kept point has at every level what a run at that level says."""
        for row in search[search["level"] > 0].to_dict("records"):
            machine = load_system("accel/systolic-ws-32x32", {"accel0.array.clock": row["override.accel0.array.clock"]})
            trace = load_trace(folder / "layer.trace").with_weight_sparsity(row["weight_sparsity"])
            assert simulate(trace, machine, level=row["level"]).latency_s == row["latency_s"]

    def test_a_report_compares_one_level(self, folder: Path, search: pd.DataFrame) -> None:
        results = read_results(folder / "out")
        assert len(results.points) == 2 and len(results.drawn) == 10 and len(results.table) == len(search)
        assert len(results.configurations) == 1 and set(results.timelines) <= {point.key for point in results.points}
        (plot,) = [plot for plot in draw(results) if plot.name == "convergence"]
        assert plot.figure.axes[0].get_lines()[0].get_xdata()[-1] == 10


@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_a_search_looks_for_the_whole_front(folder: Path, kind: str) -> None:
    """The clock moves latency, and watts at rest move energy alone: both are found."""
    TraceBuilder("layer").add(ops.linear(256, 512, 512, "int8")).build().save(folder / "layer.trace")
    rest = "  override.accel0.energy.static: {low: 1, high: 20, unit: W}\n"
    sample = f"sample: {{kind: {kind}, points: 80, population: 10, seed: 1}}\n"
    frame = run_sweep(write(folder, f"{LAYER}{rest}level: 0\n{sample}"), folder / "out")
    assert frame["front"].any() and (frame["front"] == ~beaten(frame)).all()
    first, last = frame.head(15), frame.tail(15)
    assert last["si.accel0.energy.static"].median() < 0.7 * first["si.accel0.energy.static"].median()
    assert last["latency_s"].median() < 0.9 * first["latency_s"].median()


def test_cma_es_says_that_it_takes_one_objective(folder: Path) -> None:
    text = BASE + BANDWIDTH + "sample: {kind: cmaes, points: 8}\nobjectives: [latency_s, energy_j]\n"
    with pytest.raises(SpecError, match=r"objectives: cmaes takes one objective, and there are 2; .* tpe or nsga2"):
        run_sweep(write(folder, text), folder / "out")


def test_cma_es_moves_towards_small_objectives(folder: Path, runs: list[Any]) -> None:
    pytest.importorskip("cmaes")
    axes = BANDWIDTH + "  override.cpu0.memory.efficiency: {low: 0.5, high: 1.0}\n"
    text = BASE + axes + "sample: {kind: cmaes, points: 80, population: 10}\n"
    drawn = run_sweep(write(folder, text), folder / "out")["latency_s"]
    assert drawn.tail(20).median() < 0.5 * drawn.head(10).median() and runs
