# SPDX-License-Identifier: Apache-2.0
"""SCALE-Sim 3.0.0 run with memories that stall: its own mechanism reproduced, and ours where the models agree."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from simsparse.dataflow import DATAFLOWS, Gemms, PeArray
from simsparse.validate.cases.scalesim import ours_of
from simsparse.validate.reference.scalesim_scratchpad import Changes, ScaleSimSetup, scalesim_run

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


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join(map(str, list(run.values())[:12])))
def test_our_schedule_has_the_same_compute_cycles_prefetch_and_accesses(run: dict) -> None:
    """Where the models are the same: array, half-filled buffers before it starts, words over the array's edge.

    SCALE-Sim fetches the padding of edge tiles too, and adds a second figure to its count of results in os.
    """
    ours = ours_of({key: str(value) for key, value in run.items()})
    assert ours.compute - 1 == run["cycles"] - run["stalls"]
    padded = any(run[size] % run[side] for size in ("m", "n", "k") for side in ("rows", "cols"))
    first_read = -min(run["dram_input_start"], run["dram_weight_start"])
    assert ours.prefetch == first_read or (padded and ours.prefetch < first_read)
    assert (ours.sram["input_read"], ours.sram["weight_read"]) == (run["sram_input_reads"], run["sram_weight_reads"])
    if run["dataflow"] != "os":
        assert ours.sram["output_write"] == run["sram_output_writes"]
    if run["stalls"] == 0 and run["dataflow"] != "os":
        assert ours.stall == 0


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_its_mechanism_mended_stalls_as_ours_does(dataflow: str) -> None:
    """64^3 with 1 KiB a buffer: whole tiles, every operand read again as often; half a buffer comes at a time there."""
    for run in RUNS:
        if (run["dataflow"], run["m"], run["input_kib"], run["weight_kib"], run["output_kib"]) == (
            dataflow,
            64,
            1,
            1,
            1,
        ):
            mended = scalesim_run(setup_of(run), Changes(counted_once=True, halves_stay=True, results_once=True))
            ours = ours_of({key: str(value) for key, value in run.items()})
            assert abs(mended.stalls - ours.stall) <= 81, "81 lines more: one a prefetch, and 5 of 517 words"


def test_most_runs_stall() -> None:
    assert sum(run["stalls"] > 0 for run in RUNS) > len(RUNS) // 2
