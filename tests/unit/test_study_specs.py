# SPDX-License-Identifier: Apache-2.0
"""Study files: each of the 87 loads, names its sources and its experiments; faults name file, line and key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from simsparse.config.experiment import load_experiment
from simsparse.config.study import Seen, load_study, studies_folder, study_names
from simsparse.errors import SpecError
from simsparse.paths import data_root

NAMES = study_names()
TRACES = data_root() / "traces" / "studies"
GOOD = """\
id: A1
title: T
reference: {cite: x}
family: offload
mechanism: M
claims:
  - name: speed
    what: W
    published: 2
    unit: x
    source: {where: abstract}
    tolerance: 0.1
    why: Y
    run: {system: a.yaml, baseline: b.yaml}
"""


def test_all_87_systems_have_one_folder_each() -> None:
    assert [load_study(name)[0].id for name in NAMES] == [f"A{number}" for number in range(1, 88)]
    titles = [load_study(name)[0].title for name in NAMES]
    assert len(set(titles)) == 87


@pytest.mark.parametrize("name", NAMES)
def test_a_study_names_sources_and_what_is_missing(name: str) -> None:
    study, _ = load_study(name)
    assert study.missing, "say what the mechanism lacks today, or why nothing does"
    for claim in study.claims:
        assert claim.source.where and (claim.source.cite or study.reference.cite)
        if claim.run is not None:
            assert study.assumptions, "a run always assumes something"
            assert claim.lacks or claim.tolerance is not None, "a like-for-like run needs a tolerance"


@pytest.mark.parametrize("name", [name for name in NAMES if load_study(name)[0].status is None])
def test_experiments_of_a_study_exist_and_are_used(name: str) -> None:
    study, _ = load_study(name)
    folder = studies_folder() / name
    runs = [run for claim in study.claims for run in claim.runs]
    used = {item.experiment for run in runs for side in run.sides for item in side.passes}
    assert used == {path.name for path in folder.glob("*.yaml")} - {"study.yaml"}
    for file in used:
        experiment, _ = load_experiment(str(folder / file))
        assert experiment.name == f"{name}-{file.removesuffix('.yaml')}"
        assert (data_root() / experiment.workload.trace).is_file()


def test_every_trace_of_the_studies_is_used() -> None:
    texts = [path.read_text(encoding="utf-8") for path in studies_folder().glob("*/*.yaml")]
    unused = [path.name for path in TRACES.glob("*.trace.gz") if not any(path.name in text for text in texts)]
    assert not unused


def test_traces_written_by_hand_are_what_the_script_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(data_root() / "tests" / "validation"))
    by_hand = {}
    tables = {"study_layers": "BY_HAND", "study_models": "MODELS", "study_training": "TRAINED", "study_small": "SMALL",
              "study_tuning": "TUNED", "study_predictors": "PREDICTED"}  # fmt: skip
    for module, table in tables.items():
        by_hand |= getattr(__import__(module), table)
    for module in (*tables, "study_experts"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    for name, make in by_hand.items():
        path = make().save(tmp_path / f"{name}.trace.gz")
        assert path.read_bytes() == (TRACES / path.name).read_bytes(), name


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A function that writes a study called ``new`` and loads it."""
    folder = tmp_path / "configs" / "studies" / "new"
    folder.mkdir(parents=True)
    monkeypatch.setattr("simsparse.config.study.data_root", lambda: tmp_path)

    def load(text: str) -> object:
        (folder / "study.yaml").write_text(text, encoding="utf-8")
        return load_study("new")[0]

    return load


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: A1", "id: one", r"study.yaml:1: id: 'one' is not an id"),
        ("family: offload", "family: cloud", r"study.yaml:4: family: 'cloud'"),
        ("    unit: x\n", "", r"study.yaml:7: claims\[0\].unit: is missing"),
        ("where: abstract", "where: hearsay", r"claims\[0\].source.where: 'hearsay'"),
        ("    why: Y\n", "", r"must say in why whence its tolerance"),
        ("baseline: b.yaml", "value: system, baseline: b.yaml", "value system has no baseline"),
        (", baseline: b.yaml", "", "value baseline/system needs a baseline"),
        ("system: a.yaml", "case: sat, system: a.yaml", "either case and point, or system"),
        ("published: 2", "published: 2\n    to: 1.5", "to must be above published"),
        ("published: 2", "published: null", "without a figure has no tolerance"),
        ("tolerance: 0.1", "tolerence: 0.1", r"study.yaml:12: claims\[0\].tolerence: unknown key; did you mean"),
        ("mechanism: M\n", "mechanism: M\nstatus: {state: workload only, reason: r}\n", "status is derived"),
        ("    run: {system: a.yaml, baseline: b.yaml}\n", "", "tolerance, lacks and cause are for a claim that is run"),
    ],
)  # fmt: skip
def test_a_fault_names_file_line_and_key(write, old: str, new: str, message: str) -> None:  # type: ignore[no-untyped-def]
    assert write(GOOD).claims[0].run.sides[1].passes[0].experiment == "b.yaml"
    assert old in GOOD
    with pytest.raises(SpecError, match=message):
        write(GOOD.replace(old, new))


def test_an_unknown_study_gets_the_nearest_name() -> None:
    with pytest.raises(SpecError, match="did you mean endor"):
        load_study("endr")


def test_recalled_figures_are_marked() -> None:
    smash, _ = load_study("smash")
    assert [claim.source.seen for claim in smash.claims] == [Seen.DOCUMENT, *[Seen.MEMORY] * 5]
