# SPDX-License-Identifier: Apache-2.0
"""Full and read-only disks: the message says so, nothing half-written stays, and a rerun completes."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from simsparse.core import TraceBuilder, ops
from simsparse.errors import SimsparseError, StoreError, TraceError
from simsparse.report import build_report
from simsparse.store import Reader, reader, write_text
from simsparse.sweep import run_sweep

SWEEP = """\
name: small
workload: {trace: x.trace}
system: gpu/h100-sxm5-80gb
axes: {level: [0, 1], override.gpu0.memory.bandwidth: [1 TB/s, 2 TB/s]}
"""
SAID = r"No space left on device|its disk is full|disk is full"


def trace(path: Path) -> Path:
    return TraceBuilder("x").add(ops.linear(8, 64, 64, name="a")).build().save(path)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    trace(tmp_path / "x.trace")
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    return tmp_path / "sweep.yaml"


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 KiB, where this process may mount one."""
    disk = tmp_path / "tiny"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


@pytest.mark.parametrize("filled_kib", [100, 120, 190])
def test_a_sweep_on_a_full_disk_says_so_and_completes_on_a_larger_one(spec: Path, tiny: Path, filled_kib: int) -> None:
    (tiny / "other").write_bytes(bytes(filled_kib << 10))
    with pytest.raises(StoreError, match=SAID):
        run_sweep(spec, tiny / "out")
    with pytest.raises(TraceError, match=SAID):
        [trace(tiny / f"{i}.trace") for i in range(200)]
    assert not list(tiny.rglob(".*"))
    remount(tiny, "size=20m")
    found = run_sweep(spec, tiny / "out")
    assert found.drop(columns="key").equals(run_sweep(spec, spec.parent / "out").drop(columns="key"))


def test_a_read_only_disk_is_named(spec: Path, tiny: Path) -> None:
    remount(tiny, "size=20m")
    run_sweep(spec, tiny / "out")
    remount(tiny, "ro")
    for write in (lambda: run_sweep(spec, tiny / "new"), lambda: build_report(tiny / "out"),
                  lambda: trace(tiny / "y.trace")):  # fmt: skip
        with pytest.raises(SimsparseError, match="can't be written: Read-only file system"):
            write()
    assert len(list(Reader(tiny / "out" / "sweep.sqlite").rows())) == 4
    remount(tiny, "rw")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_what_the_system_says_stands_in_the_message(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError, match=rf"a\.csv: can't be written: {os.strerror(number)}$"):
        write_text(tmp_path / "a.csv", "x")
    with pytest.raises(TraceError, match=rf"a\.trace: can't be written: {os.strerror(number)}$"):
        trace(tmp_path / "a.trace")
    assert not list(tmp_path.iterdir())


def test_a_store_that_can_not_be_written_to_says_whether_its_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reader.disk_trouble(tmp_path / "a") == ""
    monkeypatch.setattr(reader, "NEEDED_BYTES", 1 << 60)
    assert reader.disk_trouble(tmp_path / "a") == "its disk is full"
    assert reader._trouble("disk I/O error", tmp_path / "a") == "can't be read: its disk is full"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert reader.disk_trouble(tmp_path / "a") == "its folder can't be written to"


def test_what_a_killed_report_left_is_removed_by_the_next(spec: Path, tmp_path: Path) -> None:
    run_sweep(spec, tmp_path / "out")
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    left = tmp_path / "out" / "report" / f".index.html.{gone}.part"
    left.mkdir(parents=True)
    (left / "a.svg").write_text("half")
    build_report(tmp_path / "out")
    assert not left.exists()
