# SPDX-License-Identifier: Apache-2.0
"""Sweeps that are disturbed: files that change, processes that are killed, other code in the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from spec_files import write

import simsparse
from simsparse.config.hardware import load_system
from simsparse.core import TraceBuilder, ops
from simsparse.errors import SimulationError
from simsparse.store import read_table
from simsparse.sweep import code, process, run_sweep
from simsparse.sweep.process import Worker

ROOT = Path(simsparse.__file__).resolve().parent.parent
REAL = """name: test
workload: {trace: t.trace}
system: cpu/h100-host
level: 0
axes:
  weight_sparsity: [dense, 2:4, 1:4]
  seed: [0, 1, 2, 3, 4, 5, 6, 7]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_trace(tmp_path, 64)
    return tmp_path


def save_trace(folder: Path, width: int) -> None:
    builder = TraceBuilder("t")
    for i in range(3):
        builder.add(ops.linear(8, width, 64 << i, name=f"linear{i}"))
    builder.build().save(folder / "t.trace")


def test_workers_that_cannot_start_are_a_typed_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Worker] = []
    start = Worker.start

    def start_and_kill() -> Worker:
        started.append(start())
        started[-1].process.kill()
        return started[-1]

    monkeypatch.setattr(Worker, "start", start_and_kill)
    with pytest.raises(SimulationError, match="a worker process ended with SIGKILL before its first point"):
        run_sweep(write(folder, REAL), folder / "out", jobs=2)
    assert all(worker.process.poll() is not None for worker in started)
    assert not (folder / "out" / "results.csv").exists()


def test_a_point_whose_process_is_killed_each_time_has_failed_and_the_others_are_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder, REAL)
    whole = run_sweep(path, folder / "whole")
    victim, feed = str(whole["key"][5]), Worker.feed

    def feed_and_kill(self: Worker, runs: list[Any]) -> None:
        if victim in {run.key for run in runs}:
            _kill(self)
        feed(self, runs)

    monkeypatch.setattr(Worker, "feed", feed_and_kill)
    found = run_sweep(path, folder / "out", jobs=2)
    assert found["error"][5].startswith("its process ended with SIGKILL; where memory is short")
    pd.testing.assert_frame_equal(found.drop(index=5), whole.drop(index=5))
    monkeypatch.setattr(Worker, "feed", feed)
    pd.testing.assert_frame_equal(run_sweep(path, folder / "out", jobs=2), whole)


def _kill(worker: Worker) -> None:
    worker.process.kill()
    worker.process.wait()


def test_a_worker_killed_once_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, feed = write(folder, REAL), Worker.feed
    killed: list[int] = []

    def feed_and_kill(self: Worker, runs: list[Any]) -> None:
        if not killed:
            killed.append(self.process.pid)
            _kill(self)
        feed(self, runs)

    monkeypatch.setattr(Worker, "feed", feed_and_kill)
    found = run_sweep(path, folder / "out", jobs=2)
    assert killed and (found["error"] == "").all()
    pd.testing.assert_frame_equal(found, run_sweep(path, folder / "whole"))


def test_workers_of_other_sources_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package has moved on since this process hashed it."""
    path = write(folder, REAL)
    monkeypatch.setattr(process, "code_sha256", lambda: "older sources")
    with pytest.raises(SimulationError, match="a worker process has other sources of the package"):
        run_sweep(path, folder / "out", jobs=2)


def test_sources_that_changed_under_a_process_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simsparse, "IMPORTED_NS", 0)
    with pytest.raises(SimulationError, match="was changed after this process had started"):
        code.code_sha256.__wrapped__()


def test_workers_import_nothing_from_the_current_folder(folder: Path) -> None:
    """Modules called as those that workers import, and another checkout of the package, lie in the current folder."""
    spoilt = "import os; os.write(2, b'executed ' + __file__.encode()); raise SystemExit(9)"
    for name in ("numpy", "numba", "pydantic", "yaml", "hashlib", "json", "simsparse/__init__", "sitecustomize"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(spoilt)
    write(folder, REAL)
    parent = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from simsparse.sweep import run_sweep; import os; "
    parent += "os.chdir(sys.argv[1]); sys.path.insert(0, ''); run_sweep('x.yaml', 'out', jobs=2)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = "."
    ended = subprocess.run(
        [sys.executable, "-c", parent, str(folder)], capture_output=True, text=True, cwd=ROOT, env=environment,
        check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (read_table(folder / "out")["error"] == "").all()


PART = """kind: cpu
description: a host that changes
extends: cpu/h100-host
memory:
  bandwidth: {value: BANDWIDTH GB/s, source: null, basis: assumed}
"""


def changing_sweep(folder: Path, bandwidth: int) -> Path:
    (folder / "part.yaml").write_text(PART.replace("BANDWIDTH", str(bandwidth)))
    system = "kind: system\ndescription: one host\ndevices: {cpu0: {part: part.yaml}}\n"
    (folder / "machine.yaml").write_text(system)
    return write(folder, REAL.replace("system: cpu/h100-host", "system: machine.yaml"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_hashed_is_what_is_run(folder: Path, jobs: int) -> None:
    """A part and the trace are other files for most of a sweep; no row shows it, and other files have other keys."""
    path = changing_sweep(folder, 200)
    whole = run_sweep(path, folder / "whole", jobs=1)
    trace = (folder / "t.trace").read_bytes()

    def edit(done: int, total: int, failed: int) -> None:
        del total, failed
        if done == 1:
            changing_sweep(folder, 50)
            save_trace(folder, 640)

    run_sweep(path, folder / "out", jobs=jobs, progress=edit)
    changed = run_sweep(path, folder / "out", jobs=jobs)
    assert not set(changed["key"]) & set(whole["key"])
    changing_sweep(folder, 200)
    (folder / "t.trace").write_bytes(trace)
    runs: list[int] = []
    kept = run_sweep(path, folder / "out", jobs=jobs, progress=lambda *state: runs.append(state[0]))
    assert runs == [24]
    pd.testing.assert_frame_equal(kept, whole)


def test_members_of_a_system_that_changed_are_seen(folder: Path) -> None:
    """In one process, at once, and with the time of the file set back."""
    changing_sweep(folder, 200)
    before = (folder / "part.yaml").stat()
    fast = load_system(folder / "machine.yaml")
    assert load_system(folder / "machine.yaml") is fast
    changing_sweep(folder, 100)
    os.utime(folder / "part.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
    slow = load_system(folder / "machine.yaml")
    rates = [system.devices["cpu0"].memory.bandwidth.si for system in (fast, slow)]  # type: ignore[attr-defined]
    assert rates == [200e9, 100e9]


def test_what_killed_processes_left_is_removed_by_the_next_run(folder: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    out = folder / "out"
    run_sweep(write(folder, REAL), out)
    left = [out / f".{name}.{int(gone.stdout)}.x" for name in ("results.csv", "resolved.yaml")]
    ours = out / f".results.csv.{os.getpid()}.x"
    for path in (*left, ours):
        path.write_text("half")
    run_sweep(write(folder, REAL.replace("seed: [0,", "seed: [9,")), out)
    assert not any(path.exists() for path in left) and ours.exists()


def test_counts_of_a_routing_that_changed_have_another_key(folder: Path) -> None:
    from simsparse.sweep.point import process_digest

    path = folder / "counts.csv"
    path.write_text("layer,count_e0\n0,1\n")
    before = process_digest(f"counts:{path}")
    path.write_text("layer,count_e0\n0,2\n")
    assert before and process_digest(f"counts:{path}") not in ("", before)
    assert process_digest("zipf:1.0") == process_digest("") == ""


def test_an_ascii_terminal_gets_a_message_that_says_so() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "simsparse.cli", "hw", "list"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "is not UTF-8" not in ended.stderr and "Traceback" not in ended.stderr
