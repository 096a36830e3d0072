# SPDX-License-Identifier: Apache-2.0
"""Sweeps on a Dask cluster give the table of one machine to the last bit, whatever happens to the cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import simsparse as ss
from simsparse.core import TraceBuilder, ops
from simsparse.errors import SimulationError, SpecError
from simsparse.sweep.serving import run_serving_sweep

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    TraceBuilder("t").add(ops.linear(64, 512, 512)).add(ops.linear(64, 512, 512)).build().save(folder / "t.trace")
    values = ", ".join(f'"{1000 + i} GB/s"' for i in range(100))
    text = (f"name: n\nworkload: {{trace: {folder}/t.trace}}\nsystem: gpu/h100-sxm5-80gb\nlevel: 0\n"
            f"axes: {{override.gpu0.memory.bandwidth: [{values}]}}\n")  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def here(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return ss.run_sweep(spec, tmp_path_factory.mktemp("here") / "out")


def local(processes: bool) -> Any:
    return distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=processes, dashboard_address=None, silence_logs=50,
        protocol="tcp://",
    )  # fmt: skip


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two workers in this process, behind sockets."""
    with local(False) as made:
        yield made


@pytest.fixture
def processes() -> Iterator[Any]:
    """Two workers that can be killed."""
    with local(True) as made:
        yield made


def test_the_table_is_that_of_one_machine(spec: Path, here: pd.DataFrame, cluster: Any, tmp_path: Path) -> None:
    there = ss.run_sweep(spec, tmp_path / "out", scheduler=cluster.scheduler_address)
    pd.testing.assert_frame_equal(there, here, check_exact=True)
    assert len(there) == 100 and (there["error"] == "").all()


def test_a_killed_worker_loses_nothing(
    spec: Path, here: pd.DataFrame, processes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simsparse.sweep.chunks.SINGLE", 8)
    monkeypatch.setattr("simsparse.sweep.chunks.TOGETHER", 8)
    seen: list[int] = []

    def kill_once(done: int, _: int, failed: int) -> None:
        if done and not seen:
            os.kill(next(iter(processes.workers.values())).pid, signal.SIGKILL)
        seen.append(done)
        assert not failed

    there = ss.run_sweep(spec, tmp_path / "out", progress=kill_once, scheduler=processes.scheduler_address)
    pd.testing.assert_frame_equal(there, here, check_exact=True)
    assert seen[-1] == 100


def test_what_came_back_before_the_scheduler_went_is_kept(
    spec: Path, here: pd.DataFrame, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simsparse.sweep.cluster.CONNECT_S", 1)
    monkeypatch.setattr("simsparse.sweep.chunks.SINGLE", 8)
    monkeypatch.setattr("simsparse.sweep.chunks.TOGETHER", 8)
    monkeypatch.setattr("simsparse.sweep.cluster.AHEAD", 1)
    seen: list[int] = []

    def close_once(done: int, _: int, failed: int) -> None:
        del failed
        if done >= 16 and len(seen) == 0:
            seen.append(done)
            cluster.close()

    with pytest.raises(SimulationError, match="scheduler"):
        ss.run_sweep(spec, tmp_path / "out", progress=close_once, scheduler=cluster.scheduler_address)
    started: list[int] = []
    rest = ss.run_sweep(spec, tmp_path / "out", progress=lambda done, _, __: started.append(done))
    assert 16 <= started[0] < 100
    pd.testing.assert_frame_equal(rest, here, check_exact=True)


def test_faults_name_what_is_wrong(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simsparse.sweep.cluster.CONNECT_S", 1)
    with pytest.raises(SimulationError, match="no scheduler answers at tcp"):
        ss.run_sweep(spec, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(SpecError, match="leave them at 1"):
        ss.run_sweep(spec, tmp_path / "out", jobs=2, scheduler="tcp://127.0.0.1:9")


def test_serving_runs_on_a_cluster_too(cluster: Any, tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(
        "name: n\nmodel: llama2-7b\nsystem: systems/h200-pcie5\n"
        "requests: {count: 20, arrivals: {kind: poisson, rate: 4}, input: 100, output: 10}\n"
        "axes: {requests.arrivals.rate: [2, 8, 32]}\n",
        encoding="utf-8",
    )
    there = run_serving_sweep(spec, tmp_path / "there", scheduler=cluster.scheduler_address)
    assert list(there["error"]) == [""] * 3
    pd.testing.assert_frame_equal(there, run_serving_sweep(spec, tmp_path / "here"), check_exact=True)
    assert len(there) == 3 and (there["error"] == "").all()
