# SPDX-License-Identifier: Apache-2.0
"""Sweeps killed, interrupted, raced and starved of disk at random moments: nothing is lost, nothing doubled."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import simsparse
from simsparse.core import TraceBuilder, ops
from simsparse.errors import StoreError
from simsparse.store import STORE_NAME, Reader
from simsparse.sweep import run_sweep
from tests.conftest import CASES, SEED

TRIALS = max(1, CASES // 1000)
"""Trials of each disturbance; each has one to three runs that are disturbed, and one that is not."""
SWEEP = """name: disturbed
workload: {trace: t.trace}
system: systems/h100-pcie5
axes:
  level: [0, 1]
  weight_sparsity: [dense, 2:4, 1:4, unstructured:0.2]
  policy: [resident, on_demand]
  seed: [0, 1, 2, 3]
"""
CHILD = """
import signal, sys
from simsparse.sweep import run_sweep
signal.signal(signal.SIGINT, signal.default_int_handler)
def progress(done, total, failed):
    pass
print("ready", flush=True)
run_sweep(sys.argv[1], sys.argv[2], jobs=int(sys.argv[3]), progress=progress)
"""
FULL = 300
"""KiB of the small disk; a store of this sweep needs about twice as much."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    builder = TraceBuilder("t")
    for i in range(6):
        builder.add(ops.linear(8, 256, 256 << i % 3, name=f"linear{i}", module=f"layers.{i}"))
    builder.build().save(folder / "t.trace")
    (folder / "sweep.yaml").write_text(SWEEP)
    return folder / "sweep.yaml"


@pytest.fixture(scope="module")
def whole(spec: Path) -> tuple[pd.DataFrame, float]:
    """The table of a run that nothing disturbs, and its seconds."""
    run_sweep(spec, spec.parent / "warm")
    began = time.monotonic()
    frame = run_sweep(spec, spec.parent / "whole")
    assert (frame["error"] == "").all()
    return frame, time.monotonic() - began


def started(spec: Path, out: Path, jobs: int) -> subprocess.Popen[str]:
    """A process about to run the sweep."""
    root = str(Path(simsparse.__file__).resolve().parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(spec), str(out), str(jobs)], text=True, cwd=root,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "ready\n", child.communicate()[1]
    return child


def stored(out: Path) -> dict[str, str]:
    """The results that a store holds, by key."""
    if not (out / STORE_NAME).exists():
        return {}
    try:
        return dict(Reader(out / STORE_NAME).select("SELECT key, result FROM points WHERE result IS NOT NULL"))
    except StoreError:  # killed before its tables were made
        return {}


def check_whole(spec: Path, out: Path, whole: pd.DataFrame, before: dict[str, str]) -> None:
    """A further run keeps what was stored, and ends with the table of a run that nothing disturbed."""
    pd.testing.assert_frame_equal(run_sweep(spec, out), whole)
    after = stored(out)
    assert before.items() <= after.items() and set(after) == set(whole["key"])
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("trial", range(TRIALS))
def test_ended_at_any_moment(
    trial: int, sent: signal.Signals, spec: Path, whole: tuple[pd.DataFrame, float], tmp_path: Path
) -> None:
    source = random.Random(f"{SEED} {trial} {sent}")
    before: dict[str, str] = {}
    for _ in range(source.randint(1, 3)):
        child = started(spec, tmp_path / "out", source.choice([1, 1, 2]))
        time.sleep(source.uniform(0, 1.2 * whole[1]))
        child.send_signal(sent)
        child.communicate()
        after = stored(tmp_path / "out")
        assert before.items() <= after.items()
        before = after
    check_whole(spec, tmp_path / "out", whole[0], before)


@pytest.mark.parametrize("trial", range(TRIALS))
def test_two_runs_into_one_folder(trial: int, spec: Path, whole: tuple[pd.DataFrame, float], tmp_path: Path) -> None:
    """One is refused or both go on; a third may be killed meanwhile."""
    source = random.Random(f"{SEED} {trial} race")
    children = [started(spec, tmp_path / "out", 1) for _ in range(source.randint(2, 3))]
    if len(children) > 2:
        time.sleep(source.uniform(0, whole[1]))
        children[0].kill()
    ends = [(child.communicate()[1], child.returncode) for child in children]
    assert all(code in (0, -signal.SIGKILL) or "is in use by another run" in said for said, code in ends), ends
    check_whole(spec, tmp_path / "out", whole[0], stored(tmp_path / "out"))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A small disk, where this process may mount one."""
    disk = tmp_path / "tiny"
    disk.mkdir()
    command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", f"size={FULL}k", "tmpfs", disk]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_disk_that_fills_at_any_moment(trial: int, spec: Path, whole: tuple[pd.DataFrame, float], tiny: Path) -> None:
    source = random.Random(f"{SEED} {trial} disk")
    (tiny / "other").write_bytes(bytes(source.randint(0, FULL - 100) << 10))
    child = started(spec, tiny / "out", source.choice([1, 2]))
    with contextlib.suppress(OSError):
        time.sleep(source.uniform(0, whole[1]))
        (tiny / "more").write_bytes(bytes(FULL << 10))
    said = child.communicate()[1]
    assert child.returncode == 0 or "Error: " in said.splitlines()[-1], said
    before = stored(tiny / "out")
    os.truncate(tiny / "other", 0)
    (tiny / "more").unlink(missing_ok=True)
    subprocess.run(["mount", "-o", "remount,size=20m", tiny], check=True)
    check_whole(spec, tiny / "out", whole[0], before)
