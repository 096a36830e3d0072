"""SCALE-Sim 3.0.0 run with memories that stall: its own mechanism reproduced, and ours where the models agree."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from simsparse.dataflow import DATAFLOWS, Gemms, PeArray
from simsparse.dataflow.scalesim_scratchpad import ScaleSimSetup, scalesim_run

pytestmark = pytest.mark.validation
DATA = Path(__file__).parent / "data" / "scalesim" / "runs.csv"
RUNS = [
    {key: value if key == "dataflow" else int(value) for key, value in row.items()}
    for row in csv.DictReader(DATA.read_text().splitlines())
]
FIGURES = ("cycles_with_prefetch", "cycles", "stalls", "dram_input_reads", "dram_weight_reads", "dram_output_writes")


def setup_of(run: dict) -> ScaleSimSetup:
    kib, words = ([run[f"{name}_{what}"] for name in ("input", "weight", "output")] for what in ("kib", "words"))
    shape = (run["dataflow"], run["rows"], run["cols"], run["m"], run["n"], run["k"])
    return ScaleSimSetup(*shape, tuple(1024 * size for size in kib), tuple(words))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join(map(str, list(run.values())[:12])))
def test_its_mechanism_gives_its_figures(run: dict) -> None:
    mine = scalesim_run(setup_of(run))
    assert {name: getattr(mine, name) for name in FIGURES} == {name: run[name] for name in FIGURES}


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join(map(str, list(run.values())[:12])))
def test_cycles_are_the_closed_form_and_stalls(run: dict) -> None:
    array = PeArray(run["rows"], run["cols"])
    closed = int(DATAFLOWS.get(run["dataflow"]).cycles(Gemms.of(run["m"], run["n"], run["k"]), array))
    assert run["cycles"] - run["stalls"] == closed - 1


def test_most_runs_stall() -> None:
    assert sum(run["stalls"] > 0 for run in RUNS) > len(RUNS) // 2
