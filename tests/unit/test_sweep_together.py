# SPDX-License-Identifier: Apache-2.0
"""Points that differ in numbers of the machine alone: done together they are what each is alone, to the last bit."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from spec_files import write

from simsparse.config.keys import KEYS
from simsparse.core.varying import NotTogether, Parted, Varying
from simsparse.store import Reader
from simsparse.store.forms import Holes, TextForm
from simsparse.store.schema import Record
from simsparse.sweep import planned, run_sweep, together
from simsparse.sweep.alike import Alike
from simsparse.sweep.execute import number_at, run_point
from simsparse.sweep.inputs import SystemInput
from simsparse.sweep.point import Resolver
from simsparse.sweep.together import run_alike

LLAMA = "traces/llama2-7b-decode-b8.trace"
SWEEP = f"""name: together
workload: {{trace: {LLAMA}}}
system: systems/h100-pcie5
level: 0
axes:
  weight_sparsity: [dense, "2:4"]
  card:
    - {{label: as it is, override.gpu0.l2.capacity: 50 MB}}
    - {{label: large, override.gpu0.l2.capacity: 99 MB}}
  override.gpu0.memory.bandwidth: {{low: 1, high: 10, log: true, unit: TB/s}}
  override.gpu0.memory.capacity: {{low: 4, high: 90, log: true, unit: GB}}
sample: {{kind: random, points: 120}}
"""


def drawn_runs(system: str, sparsity: str, paths: tuple[str, ...], count: int) -> Alike:
    """Runs of a decode step on a system with the numbers at ``paths`` from half to twice their own."""
    loaded, rng = SystemInput.load(system), random.Random(f"{system} {paths}")
    resolver = Resolver((), {LLAMA: LLAMA}, {system: loaded})
    own = {path: number for path in paths if (number := number_at(loaded.system, path))}
    texts = [tuple(f"{number.si * 2 ** rng.uniform(-1, 1):.6g} {number.unit}".strip() for number in own.values())
             for _ in range(count)]  # fmt: skip
    values = {key.name: key.default for key in KEYS.values() if not key.required}
    values |= {"workload.trace": LLAMA, "system": system, "level": 0, "weight_sparsity": sparsity}
    runs = [resolver.run({**values, **{f"override.{path}": text for path, text in zip(own, each, strict=True)}})
            for each in texts]  # fmt: skip
    assert [path for path, _ in runs[0].override] == list(own)
    return Alike(runs[0], tuple(own), [run.key for run in runs], texts)


def answer(record: Record) -> tuple[str | None, str | None]:
    """The summary of a record, and its error."""
    if record.form is None or record.result is None:
        return record.result, record.error
    return TextForm(record.form).filled(json.loads(record.result)), record.error


@pytest.mark.parametrize(("system", "sparsity", "paths"), [
    ("systems/h100-pcie5", "2:4", ("gpu0.compute.clock", "gpu0.memory.bandwidth", "pcie.bandwidth")),
    ("systems/h100-pcie5", "dense", ("gpu0.compute.tensor.bf16", "gpu0.l2.capacity", "gpu0.memory.capacity")),
    ("gpu/a100-sxm4-80gb", "dense", ("gpu0.energy.hbm_read_byte", "gpu0.memory.bandwidth", "gpu0.memory.latency")),
])  # fmt: skip
def test_records_are_those_of_each_alone(system: str, sparsity: str, paths: tuple[str, ...]) -> None:
    runs = drawn_runs(system, sparsity, paths, 16)
    found = {record.key: record for records in run_alike(runs) for record in records}
    assert len(found) == len(runs)
    assert sum(record.form is not None for record in found.values()) > len(runs) / 2
    for run in runs:
        assert answer(found[run.key]) == answer(run_point(run))


def test_what_cannot_be_done_together_is_done_alone() -> None:
    runs = drawn_runs("accel/systolic-ws-32x32", "dense", ("accel0.array.clock", "accel0.memory.bandwidth"), 9)
    found = {record.key: record for records in run_alike(runs) for record in records}
    assert [answer(found[run.key]) for run in runs] == [answer(run_point(run)) for run in runs]


def test_another_answer_than_that_of_a_machine_alone_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = drawn_runs("systems/h100-pcie5", "dense", ("gpu0.memory.bandwidth",), 9)
    alone = {run.key: run_point(run) for run in runs}
    monkeypatch.setattr(
        together, "number_at", lambda system, path: number_at(system, path.replace("bandwidth", "latency"))
    )
    assert {record.key: record for records in run_alike(runs) for record in records} == alone


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Sets whether the points of a sweep are run alone."""
    monkeypatch.setattr(planned, "KEEP_OPS_POINTS", 0)
    monkeypatch.setattr(planned, "KEEP_TIMELINE_POINTS", 0)
    return lambda each: monkeypatch.setattr(planned, "FEW_ALIKE", 10_000 if each else 2)


def test_a_sweep_stores_what_it_stores_point_by_point(tmp_path: Path, alone: Callable[[bool], None]) -> None:
    path, frames = write(tmp_path, SWEEP), []
    for each in (True, False):
        alone(each)
        frames.append(run_sweep(path, tmp_path / str(each)))
    pd.testing.assert_frame_equal(*frames)
    assert 0 < (frames[0]["error"] != "").sum() < len(frames[0])
    assert (tmp_path / "True" / "results.csv").read_bytes() == (tmp_path / "False" / "results.csv").read_bytes()
    plain, formed = (Reader(tmp_path / str(each) / "sweep.sqlite") for each in (True, False))
    assert list(plain.rows()) == list(formed.rows())
    assert not plain.forms() and formed.forms()
    pd.testing.assert_frame_equal(run_sweep(path, tmp_path / "False"), frames[0])


def test_decisions_part_machines() -> None:
    numbers = Varying(np.array([1.0, 5.0, 2.0, 7.0]))
    with pytest.raises(Parted) as parted:
        bool(numbers > 3.0)
    assert [group.tolist() for group in parted.value.groups] == [[0, 2], [1, 3]]
    assert bool(numbers > 0.0) and float(numbers * 0.0) == 0.0
    with pytest.raises(NotTogether):
        np.fft.fft(numbers)


def test_holes_are_those_of_its_maker() -> None:
    marks = Holes()
    form, numbers = marks.form(json.dumps({"a": marks.token(1), "b": "@0:1@", "c": [marks.token(0)]}))
    assert numbers == (1, 0)
    assert json.loads(TextForm(form).filled(["x", 2.5])) == {"a": "x", "b": "@0:1@", "c": [2.5]}
    with pytest.raises(ValueError, match="1 values for 2 holes"):
        TextForm(form).filled(["x"])
