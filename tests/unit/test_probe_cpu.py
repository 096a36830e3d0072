# SPDX-License-Identifier: Apache-2.0
"""The probe of a CPU: what it writes is read again, and a part is made of it. No test depends on a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simsparse.cli import main
from simsparse.config.hardware import load_hardware
from simsparse.config.parts.cpu import CpuPart
from simsparse.errors import SpecError
from simsparse.paths import data_root
from simsparse.probe import cpu, cpu_loops
from simsparse.validate import read_measurements, validate_file
from simsparse.validate.card import card_text
from simsparse.validate.host_card import read_host

ROWS = data_root() / "tests" / "validation" / "data" / "cpu" / "probe_vm2.jsonl"


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(card_text(read_host(read_measurements(ROWS)), "cpu/epyc-7763", "probe", "own", kind="cpu"))
    return path


def test_a_part_holds_what_was_measured(part: Path) -> None:
    own = load_hardware(str(part))
    assert isinstance(own, CpuPart) and own.core is not None and own.threads is not None and own.core.caches.l3
    values = {row["op"]: row["value"] for row in map(json.loads, ROWS.read_text().splitlines()) if "value" in row}
    assert own.core.clock.si == pytest.approx(values["clock"], rel=1e-3)
    assert own.core.caches.l2.capacity.si == values["l2_bytes"] == 512 << 10
    assert own.core.gather.si == pytest.approx(values["gather"], rel=1e-2)
    assert own.threads.count.si == 2 and own.core.gather.basis == "measured"


def test_every_product_is_compared_and_none_was_read(part: Path) -> None:
    found = validate_file(ROWS, str(part))
    section = found.section("cpu_kernels")
    assert len(section.predictions) == 78 and not section.skipped
    assert found.not_simulated["cpu_core"] > 20


def test_a_file_without_the_core_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"section": "cpu_kernels", "op": "dense"}\n')
    with pytest.raises(SpecError, match="cpu_core"):
        read_host(read_measurements(path))


def test_the_command_writes_rows_and_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a few rows in place of the measurement."""
    core = [json.loads(line) for line in ROWS.read_text().splitlines() if '"cpu_core"' in line]
    monkeypatch.setattr(cpu, "_core", lambda _: iter(core))
    monkeypatch.setattr(cpu, "_calls", dict)
    monkeypatch.setattr(cpu, "_gemm", lambda: core[-1])
    monkeypatch.setattr(cpu, "_products", lambda _: iter(()))
    out = tmp_path / "mine.jsonl"
    with pytest.raises(SystemExit) as end:
        main(["probe", "--cpu", "--out", str(out)])
    assert end.value.code == 0
    assert len(read_measurements(out)) == len(core) + 2  # those of the machine and of the dense product
    assert isinstance(load_hardware(str(tmp_path / "mine.yaml")), CpuPart)


def test_the_loops_compute_what_they_say() -> None:
    """In plain Python, as the compiled ones would."""
    rng = np.random.default_rng(0)
    dense = rng.random((6, 10), np.float32) * (rng.random((6, 10)) < 0.4)
    pointers = np.concatenate([[0], np.cumsum((dense != 0).sum(axis=1))])
    columns, weights = np.nonzero(dense)[1], dense[dense != 0]
    x = rng.random((10, 3), np.float32)
    out, one = np.zeros((6, 3), np.float32), np.zeros(6, np.float32)
    cpu_loops.csr_axpy.py_func(pointers, columns, weights, x, out)
    cpu_loops.csr_vector.py_func(pointers, columns, weights, x[:, 0], one)
    assert out == pytest.approx(dense @ x, rel=1e-5) and one == pytest.approx(dense @ x[:, 0], rel=1e-5)
    places = np.array([[0, 2], [1, 9]])
    short, kept = np.zeros((3, 2), np.float32), np.ones((2, 2), np.float32)
    cpu_loops.condensed.py_func(kept, places, x.T, short)
    assert short == pytest.approx(x.T[:, places].sum(axis=-1), rel=1e-5)


def test_caches_are_those_of_the_system_or_none() -> None:
    assert all(size > 0 for size in cpu.cache_bytes().values())
    assert cpu.vector_bytes() in (16, 32, 64)
