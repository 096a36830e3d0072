# SPDX-License-Identifier: Apache-2.0
"""Searches: samplers, ranges, fronts, limits, several levels of fidelity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from spec_files import write
from sweep_runs import BASE, GRID

from simsparse import load_trace, simulate
from simsparse.config.hardware import load_system
from simsparse.core import TraceBuilder, ops
from simsparse.errors import SpecError
from simsparse.report.build import draw
from simsparse.report.reader import read_results
from simsparse.store import Store
from simsparse.sweep import run_sweep

BANDWIDTH = "axes:\n  override.cpu0.memory.bandwidth: {low: 50, high: 800, log: true, unit: GB/s}\n  seed: [0, 1, 2]\n"


@pytest.mark.parametrize("kind", ["random", "sobol", "tpe", "nsga2"])
def test_samplers_draw_the_points_asked_for_and_repeat(sweep_folder: Path, runs: list[Any], kind: str) -> None:
    text = BASE + BANDWIDTH + f"sample: {{kind: {kind}, points: 16, seed: 5, population: 8}}\n"
    first = run_sweep(write(sweep_folder, text), sweep_folder / "a")
    assert 10 <= len(first) <= 16 and first["si.cpu0.memory.bandwidth"].between(50e9, 800e9).all()
    count = len(runs)
    pd.testing.assert_frame_equal(first, run_sweep(write(sweep_folder, text), sweep_folder / "a"))
    assert len(runs) == count
    pd.testing.assert_frame_equal(first, run_sweep(write(sweep_folder, text), sweep_folder / "b"))
    other = run_sweep(write(sweep_folder, text.replace("seed: 5", "seed: 6")), sweep_folder / "c")
    assert not other["si.cpu0.memory.bandwidth"].equals(first["si.cpu0.memory.bandwidth"])


def test_sobol_spreads_evenly(sweep_folder: Path, runs: list[Any]) -> None:
    text = BASE + BANDWIDTH.replace("log: true", "log: false") + "sample: {kind: sobol, points: 64}\n"
    drawn = run_sweep(write(sweep_folder, text), sweep_folder / "out")["si.cpu0.memory.bandwidth"]
    counts = pd.cut(drawn, [50e9 + 750e9 * i / 8 for i in range(9)], include_lowest=True).value_counts()
    assert counts.tolist() == [8] * 8 and runs


@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_optimisers_move_towards_small_objectives(sweep_folder: Path, runs: list[Any], kind: str) -> None:
    text = BASE + BANDWIDTH + f"sample: {{kind: {kind}, points: 80, population: 10}}\n"
    frame = run_sweep(write(sweep_folder, text), sweep_folder / "out")
    with Store.open(sweep_folder / "out", "test") as store:
        drawn = pd.Series([row.summary["latency_s"] for row in store.rows() if row.summary])
    assert len(drawn) == 80 and drawn.tail(20).median() < 0.5 * drawn.head(10).median()
    assert len(frame) == len(runs) <= 80 and frame["key"].is_unique


def test_a_random_subset_of_a_grid_has_no_point_twice(sweep_folder: Path, runs: list[Any]) -> None:
    frame = run_sweep(write(sweep_folder, GRID + "sample: {kind: random, points: 4}\n"), sweep_folder / "out")
    assert len(frame[["weight_sparsity", "seed"]].drop_duplicates()) == 4 and len(runs) == 4


def column(sweep_folder: Path, axis: str, sample: str = "{kind: random, points: 40}", more: str = "") -> pd.Series:
    """The SI values of a range of the memory's bandwidth in GB/s."""
    text = f"{BASE}axes:\n  policy: [resident, pregated]\n  override.cpu0.memory.bandwidth: {axis}\n"
    return run_sweep(write(sweep_folder, f"{text}sample: {sample}\n{more}"), sweep_folder / "out")[
        "si.cpu0.memory.bandwidth"
    ]


SAMPLES = ["{kind: random, points: 24}", "{kind: sobol, points: 24}", "{kind: tpe, points: 24}",
           "{kind: nsga2, points: 24}"]  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
class TestRanges:
    def test_whole_numbers(self, sweep_folder: Path, runs: list[Any], sample: str) -> None:
        found = column(sweep_folder, "{low: 50, high: 60, integer: true, unit: GB/s}", sample) / 1e9
        assert set(found.round(6)) <= set(map(float, range(50, 61))) and found.nunique() > 3 and runs

    def test_steps(self, sweep_folder: Path, runs: list[Any], sample: str) -> None:
        found = column(sweep_folder, "{low: 50, high: 59, step: 2.5, unit: GB/s}", sample) / 1e9
        assert set(found.round(6)) <= {50.0, 52.5, 55.0, 57.5} and found.nunique() > 2 and runs

    def test_powers_of_two(self, sweep_folder: Path, runs: list[Any], sample: str) -> None:
        found = column(sweep_folder, "{low: 3, high: 100, power_of_two: true, unit: GB/s}", sample) / 1e9
        assert set(found.round(6)) <= {4.0, 8.0, 16.0, 32.0, 64.0} and found.nunique() > 3 and runs

    def test_a_range_holds_where_its_condition_does(self, sweep_folder: Path, runs: list[Any], sample: str) -> None:
        axis = "{low: 50, high: 60, unit: GB/s, when: {policy: pregated}}"
        column(sweep_folder, axis, sample)
        frame = pd.read_csv(sweep_folder / "out" / "results.csv", keep_default_na=False)
        given = frame["override.cpu0.memory.bandwidth"] != ""
        assert (given == (frame["policy"] == "pregated")).all() and given.any() and not given.all()
        assert frame["key"].is_unique and runs


def test_a_grid_takes_ranges_with_steps(sweep_folder: Path, runs: list[Any]) -> None:
    found = column(sweep_folder, "{low: 1, high: 8, power_of_two: true, unit: GB/s}", "{kind: grid}") / 1e9
    assert found.round(6).tolist() == [1.0, 2.0, 4.0, 8.0] * 2 and len(runs) == 8


def beaten(frame: pd.DataFrame) -> pd.Series:
    """Whether another row is nowhere worse in latency and energy and somewhere better, row by row."""
    rows = frame[["latency_s", "energy_j"]].to_numpy().tolist()
    return pd.Series([any(all(a <= b for a, b in zip(o, r, strict=True)) and o != r for o in rows) for r in rows])


def test_the_front_is_a_column(sweep_folder: Path, runs: list[Any]) -> None:
    text = BASE + BANDWIDTH + "sample: {kind: nsga2, points: 30, population: 10}\n"
    frame = run_sweep(write(sweep_folder, text), sweep_folder / "out")
    assert (frame["front"] == ~beaten(frame)).all() and frame["front"].any() and runs
    assert pd.read_parquet(sweep_folder / "out" / "results.parquet")["front"].equals(frame["front"])


@pytest.mark.parametrize("kind", ["tpe", "nsga2", "grid"])
def test_points_beyond_a_limit_are_marked_and_on_no_front(sweep_folder: Path, runs: list[Any], kind: str) -> None:
    """Latency falls with bandwidth: the limit cuts off what is slower."""
    sample = "{kind: grid}" if kind == "grid" else f"{{kind: {kind}, points: 60, population: 10}}"
    axes = BANDWIDTH.replace("log: true", "step: 50")
    free = run_sweep(write(sweep_folder, f"{BASE}{axes}sample: {sample}\n"), sweep_folder / "free")
    limit = float(free["latency_s"].median())
    frame = run_sweep(write(sweep_folder, f"{BASE}{axes}sample: {sample}\nconstraints: {{latency_s: {limit}}}\n"),
                      sweep_folder / "out")  # fmt: skip
    assert (frame["feasible"] == (frame["latency_s"] <= limit)).all()
    assert not (frame["front"] & ~frame["feasible"]).any() and frame["front"].any() and runs


def test_a_limit_may_have_a_unit(sweep_folder: Path, runs: list[Any]) -> None:
    frame = run_sweep(write(sweep_folder, GRID + "constraints: {latency_s: 30 us}\n"), sweep_folder / "out")
    assert (frame["feasible"] == (frame["latency_s"] <= 30e-6)).all() and runs


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (GRID + "constraints: {latency_s: {max: 1}}\n", "is neither a number nor a quantity such as"),
        (GRID + "constraints: {area: 3}\n", "constraints.area: can't be limited"),
        (GRID + "constraints: {latency_s: 3 W}\n", "constraints.latency_s: '3 W'"),
        (GRID + "constraints: {area_mm2: 3}\n", "area_mm2 of cpu/h100-host is not known"),
        (BASE + BANDWIDTH + "sample: {kind: nsga2, points: 4}\nobjectives: [latency_s, area_mm2]\n",
         "objectives[1]: area_mm2 of cpu/h100-host is not known"),
        (GRID + "sample: {fidelity: {levels: [1, 0]}}\n", "must be two or more and ascend"),
    ],
)  # fmt: skip
def test_what_can_not_be_ranked_is_refused_at_the_start(
    sweep_folder: Path, runs: list[Any], lines: str, expected: str
) -> None:
    with pytest.raises(SpecError) as fault:
        run_sweep(write(sweep_folder, lines), sweep_folder / "out")
    assert expected in str(fault.value) and not runs and not (sweep_folder / "out").exists()


def test_a_search_over_levels_runs_the_promising_points_again(sweep_folder: Path, runs: list[Any]) -> None:
    sample = "sample: {kind: random, points: 20, fidelity: {levels: [0, 1, 2], keep: 0.3}}\n"
    frame = run_sweep(write(sweep_folder, BASE + BANDWIDTH + sample), sweep_folder / "out")
    assert frame["level"].value_counts().to_dict() == {0: 20, 1: 6, 2: 2} and len(runs) == 28
    first = frame[frame["level"] == 0].reset_index(drop=True)
    chosen = set(frame[frame["level"] == 1]["override.cpu0.memory.bandwidth"])
    assert set(first[~beaten(first)]["override.cpu0.memory.bandwidth"]) <= chosen or len(chosen) == 6
    assert set(frame[frame["front"]]["level"]) == {2}
    assert (
        len(run_sweep(write(sweep_folder, BASE + BANDWIDTH + sample), sweep_folder / "out")) == 28 and len(runs) == 28
    )


LAYER = """\
name: test
workload: {trace: layer.trace}
system: accel/systolic-ws-32x32
axes:
  weight_sparsity: [dense, "2:4", "1:4"]
  override.accel0.array.clock: {low: 0.5, high: 2, unit: GHz}
"""


@pytest.fixture
def search(sweep_folder: Path) -> pd.DataFrame:
    """A search over three levels of real runs, on an array with a cycle core."""
    one = TraceBuilder("layer").add(ops.linear(16, 128, 256, "int8")).add(ops.linear(16, 256, 128, "int8"))
    one.build().save(sweep_folder / "layer.trace")
    sample = "sample: {kind: tpe, points: 10, population: 5, fidelity: {levels: [0, 1, 2], keep: 0.4}}\n"
    return run_sweep(write(sweep_folder, LAYER + sample), sweep_folder / "out")


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

    def test_levels_answer_for_themselves(self, sweep_folder: Path, search: pd.DataFrame) -> None:
        """Each kept point has at every level what a run at that level says."""
        for row in search[search["level"] > 0].to_dict("records"):
            machine = load_system("accel/systolic-ws-32x32", {"accel0.array.clock": row["override.accel0.array.clock"]})
            trace = load_trace(sweep_folder / "layer.trace").with_weight_sparsity(row["weight_sparsity"])
            assert simulate(trace, machine, level=row["level"]).latency_s == row["latency_s"]

    def test_a_report_compares_one_level(self, sweep_folder: Path, search: pd.DataFrame) -> None:
        results = read_results(sweep_folder / "out")
        assert len(results.points) == 2 and len(results.drawn) == 10 and len(results.table) == len(search)
        assert len(results.configurations) == 1 and set(results.timelines) <= {point.key for point in results.points}
        (plot,) = [plot for plot in draw(results) if plot.name == "convergence"]
        assert plot.figure.axes[0].get_lines()[0].get_xdata()[-1] == 10


@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_a_search_looks_for_the_whole_front(sweep_folder: Path, kind: str) -> None:
    """The clock moves latency, and watts at rest move energy alone: both are found."""
    TraceBuilder("layer").add(ops.linear(256, 512, 512, "int8")).build().save(sweep_folder / "layer.trace")
    rest = "  override.accel0.energy.static: {low: 1, high: 20, unit: W}\n"
    sample = f"sample: {{kind: {kind}, points: 80, population: 10, seed: 1}}\n"
    frame = run_sweep(write(sweep_folder, f"{LAYER}{rest}level: 0\n{sample}"), sweep_folder / "out")
    assert frame["front"].any() and (frame["front"] == ~beaten(frame)).all()
    first, last = frame.head(15), frame.tail(15)
    assert last["si.accel0.energy.static"].median() < 0.7 * first["si.accel0.energy.static"].median()
    assert last["latency_s"].median() < 0.9 * first["latency_s"].median()


def test_cma_es_says_that_it_takes_one_objective(sweep_folder: Path) -> None:
    text = BASE + BANDWIDTH + "sample: {kind: cmaes, points: 8}\nobjectives: [latency_s, energy_j]\n"
    with pytest.raises(SpecError, match=r"objectives: cmaes takes one objective, and there are 2; .* tpe or nsga2"):
        run_sweep(write(sweep_folder, text), sweep_folder / "out")


def test_cma_es_moves_towards_small_objectives(sweep_folder: Path, runs: list[Any]) -> None:
    pytest.importorskip("cmaes")
    axes = BANDWIDTH + "  override.cpu0.memory.efficiency: {low: 0.5, high: 1.0}\n"
    text = BASE + axes + "sample: {kind: cmaes, points: 80, population: 10}\n"
    drawn = run_sweep(write(sweep_folder, text), sweep_folder / "out")["latency_s"]
    assert drawn.tail(20).median() < 0.5 * drawn.head(10).median() and runs
