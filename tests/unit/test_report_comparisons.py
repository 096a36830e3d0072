# SPDX-License-Identifier: Apache-2.0
"""What reports compare and draw: pairs of points, slices, figures, lines over sizes of workloads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filled_store import fill

from simsparse.core import TraceBuilder, ops
from simsparse.errors import SpecError
from simsparse.report import build_report
from simsparse.report.bars import bars
from simsparse.report.build import draw
from simsparse.report.findings import findings
from simsparse.report.front import front
from simsparse.report.metrics import ENERGY, LATENCY, speed_up_over
from simsparse.report.pairs import Baseline, baselines_of
from simsparse.report.reader import read_results
from simsparse.report.results import Results
from simsparse.report.rows import panels_of, runs_note
from simsparse.report.slices import sliced
from simsparse.report.style import figure_style
from simsparse.sweep.run import run_sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("sweep"))


def table_of(folder: Path, rows: list[dict[str, Any]]) -> Results:
    """Results of a sweep whose table alone is there."""
    pd.DataFrame(rows).to_parquet(folder / "results.parquet")
    return read_results(folder)


def row(sparsity: str, latency_s: float, link: str, **more: Any) -> dict[str, Any]:
    return {"workload.trace": "w", "system": "s", "weight_sparsity": sparsity, "override.pcie.bandwidth": link,
            "latency_s": latency_s, "energy_j": 1.0, **more}  # fmt: skip


class TestPairs:
    """Ratios are of two points that differ in one axis and in nothing else."""

    def test_points_that_differ_in_two_axes_give_no_ratio(self, tmp_path: Path) -> None:
        results = table_of(tmp_path, [row("dense", 2.0, "26 GB/s"), row("2:4", 0.1, "212 GB/s")])
        (finding,) = findings(results)
        assert "×" not in dict(finding.configurations)["s"]
        assert speed_up_over(results, Baseline("weight_sparsity", "dense")).values(results.done) == []
        assert not any(plot.name.startswith("speedup") for plot in draw(results))

    def test_several_pairs_give_a_range_and_no_median(self, tmp_path: Path) -> None:
        """Medians over links would be 4.0 and 1.0; the pairs gain 4 and 2."""
        rows = [row("dense", 4.0, "1 GB/s"), row("2:4", 1.0, "1 GB/s"), row("dense", 1.0, "9 GB/s"),
                row("2:4", 0.5, "9 GB/s"), row("1:8", 0.5, "10 GB/s")]  # fmt: skip
        text = dict(findings(table_of(tmp_path, rows))[0].configurations)["s"]
        assert "2:4 is 2.00 to 4.00× faster, with the same energy (2 pairs)." in text
        assert "1:8 takes 500" in text

    def test_values_that_give_one_answer_are_all_named(self, tmp_path: Path) -> None:
        rows = [row("dense", 4.0, "1 GB/s"), row("dense", 1.0, "64 GB/s"), row("dense", 1.0, "128 GB/s")]
        assert "with dense weights, 64 GB/s or 128 GB/s" in findings(table_of(tmp_path, rows))[0].lead
        rows += [row("dense", 1.0, f"{i} GB/s") for i in (200, 300)]
        assert "weights, 64 GB/s or 3 other values" in findings(table_of(tmp_path, rows))[0].lead

    def test_a_value_that_is_a_list_is_named_with_its_axis(self, tmp_path: Path) -> None:
        rows = [
            {**row("1:8", float(i), "1"), "override.accel0.array.patterns": text}
            for i, text in ((1, "2:4, 1:8"), (2, ""))
        ]
        assert "with 1:8 weights, patterns 2:4, 1:8:" in findings(table_of(tmp_path, rows))[0].lead

    def test_names_with_commas_stand_between_semicolons(self, tmp_path: Path) -> None:
        """``H100, experts on demand`` is one configuration."""
        runs = json.dumps({"gpu0": {"1:8": "2:4"}})
        rows = [
            {**row("1:8", float(i + 1), "1"), "setup": name, "runs_as": runs} for i, name in enumerate(["a, b", "c"])
        ]
        results = table_of(tmp_path, rows)
        assert " a, b; c run 1:8 as 2:4." in runs_note(results, panels_of(results, lambda _: True))
        rows = [{**row("1:8", float(i), "1", energy_j=1.0 / i), "setup": name} for i, name in ((1, "a, b"), (2, "c"))]
        (plot,) = front(table_of(tmp_path, rows), LATENCY, ENERGY, "pareto")
        assert plot.title.endswith(": a, b and c")

    def test_a_user_names_the_baseline(self, tmp_path: Path) -> None:
        rows = [row("dense", 4.0, "1 GB/s"), row("dense", 2.0, "2 GB/s"), row("2:4", 1.0, "2 GB/s")]
        results = table_of(tmp_path, rows)
        named = baselines_of(results, {"override.pcie.bandwidth": "1 GB/s"})
        text = dict(findings(results, named)[0].configurations)["s"]
        assert "Against 1 GB/s (pcie.bandwidth) at 2 GB/s: 2.00× faster" in text and "4.00×" not in text
        assert "1 GB/s (pcie.bandwidth)" in build_report(
            tmp_path, ("svg",), {"override.pcie.bandwidth": "1 GB/s"}
        ).read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("axis", "value"), [("override.pcie.bandwith", "1 GB/s"), ("override.pcie.bandwidth", "3 GB/s")]
    )
    def test_a_baseline_that_is_not_there_is_refused(self, axis: str, value: str, tmp_path: Path) -> None:
        table_of(tmp_path, [row("dense", 4.0, "1 GB/s"), row("dense", 2.0, "2 GB/s")])
        with pytest.raises(SpecError, match=r"bandwidth|1 GB/s"):
            build_report(tmp_path, baseline={axis: value})

    def test_ratios_at_equal_area_weigh_each_machine(self, tmp_path: Path) -> None:
        rows = [row("dense", 4.0, "1 GB/s", area_mm2=100.0), row("2:4", 1.0, "1 GB/s", area_mm2=200.0)]
        results, dense = table_of(tmp_path, rows), Baseline("weight_sparsity", "dense")
        assert speed_up_over(results, dense).values(results.done) == [4.0]
        assert speed_up_over(results, dense, "area").values(results.done) == [2.0]
        assert speed_up_over(results, dense, "power").values(results.done) == []

    def test_points_of_further_axes_are_drawn_at_one_value_of_each(self, folder: Path) -> None:
        results = read_results(folder)
        shown = sliced(results)
        assert shown.at == "at gpu0.memory.bandwidth 4 TB/s" and not shown.has_spread
        assert {point.axes["override.gpu0.memory.bandwidth"] for point in shown.points} == {"4 TB/s"}

    def test_a_search_shows_its_front(self, tmp_path: Path) -> None:
        rows = [row("dense", float(i), f"{i} GB/s", energy_j=float(abs(i - 20))) for i in range(1, 40)]
        shown = sliced(table_of(tmp_path, rows))
        assert len(shown.points) == 19 and all("GB/s" in configuration for configuration in shown.configurations)


class TestFigures:
    @pytest.mark.parametrize(("ratio", "kind"), [(10.0, "linear"), (1000.0, "log")])
    def test_bars_begin_at_zero_and_dots_stand_on_logarithms(self, ratio: float, kind: str, tmp_path: Path) -> None:
        from matplotlib.patches import Rectangle

        results = table_of(tmp_path, [row("dense", ratio, "1 GB/s"), row("2:4", 1.0, "1 GB/s")])
        with figure_style():
            ax = bars(results, LATENCY, "latency_bars")[0].figure.axes[0]
        drawn = [each for each in ax.patches if isinstance(each, Rectangle) and each.get_width() > 0]
        assert ax.get_xscale() == kind
        assert len(drawn) == (2 if kind == "linear" else 0)
        assert kind == "log" or ax.get_xlim()[0] == 0

    def test_patterns_that_run_alike_share_a_row_that_says_so(self, tmp_path: Path) -> None:
        runs = json.dumps({"gpu0": {"1:4": "2:4", "1:8": "2:4"}})
        rows = [row(s, 1.0 if s != "dense" else 2.0, "1", runs_as=runs) for s in ("dense", "2:4", "1:4", "1:8")]
        with figure_style():
            plot = bars(table_of(tmp_path, rows), LATENCY, "latency_bars")[0]
        labels = [text.get_text() for text in plot.figure.axes[0].get_yticklabels()]
        assert labels == ["dense", "2:4 = 1:4 = 1:8"]
        assert "1:4, 1:8 as 2:4" in plot.caption

    def test_a_pattern_that_runs_as_another_shares_its_row_where_both_read_alike(self, tmp_path: Path) -> None:
        runs = json.dumps({"pim0": {"2:4": "dense", "1:4": "dense"}})
        times = {"dense": 4.2440, "2:4": 4.2420, "1:4": 4.3}
        rows = [row(sparsity, seconds, "1", runs_as=runs) for sparsity, seconds in times.items()]
        (panel,) = panels_of(table_of(tmp_path, rows), lambda _: True)
        assert [each.label for each in panel.rows] == ["dense = 2:4", "1:4 (as dense)"]

    def test_what_was_not_run_takes_no_room(self, tmp_path: Path) -> None:
        rows = [row("dense", 1.0, "1"), {**row("2:4", 2.0, "1"), "system": "t"}]
        panels = panels_of(table_of(tmp_path, rows), lambda _: True)
        assert [(each.configuration, each.label) for each in panels[0].rows] == [("s", "dense"), ("t", "2:4")]

    def test_at_most_six_shapes(self, tmp_path: Path) -> None:
        rows = [{**row("dense", float(i), "1", energy_j=1.0 / i), "system": f"s{i}"} for i in range(1, 12)]
        (plot,) = front(table_of(tmp_path, rows), LATENCY, ENERGY, "pareto")
        shapes = {line.get_marker() for line in plot.figure.axes[0].get_lines()} - {"None", None}
        assert len(shapes - {"."}) <= 6

    def test_binary_sizes_have_binary_units(self, tmp_path: Path) -> None:
        rows = [{**row("dense", float(i), "1"), "override.accel0.buffers.weight": f"{i * 32} KiB"} for i in (1, 2, 4)]
        plot = next(plot for plot in draw(table_of(tmp_path, rows)) if plot.name == "sensitivity_1")
        assert plot.figure.axes[0].get_xlabel() == "accel0.buffers.weight (KiB)"

    def test_three_objectives_and_the_progress_of_a_search_are_drawn(self, tmp_path: Path) -> None:
        (tmp_path / "resolved.yaml").write_text(
            "objectives: [latency_s, energy_j, area_mm2]\nsample: {kind: nsga2}\naxes: {override.pcie.bandwidth: []}\n"
        )
        rows = [row("dense", 1.0 + i, f"{i} GB/s", energy_j=9.0 - i, area_mm2=50.0 + i % 3) for i in range(8)]
        plots = {plot.name: plot for plot in draw(table_of(tmp_path, rows))}
        assert plots["pareto_three"].figure.axes[1].get_ylabel() == "Area (mm²)"
        assert plots["pareto_three"].figure.axes[0].texts
        values = plots["convergence"].figure.axes[0].get_lines()[0].get_ydata()
        assert list(values) == sorted(values) and values[-1] == 100


class TestSizesOfWorkloads:
    """Traces of one model and phase that differ in one size lie along a line over it."""

    def swept(self, folder: Path, axes: str, sizes: list[dict[str, Any]], phase: str = "decode") -> Results:
        for i, own in enumerate(sizes):
            op = ops.linear(1024 * (i + 1), 1024, 1024)
            TraceBuilder(f"t{i}", model="tiny", phase=phase, **own).add(op).build().save(folder / f"t{i}.trace")
        (folder / "s.yaml").write_text(f"name: s\nsystem: cpu/h100-host\nlevel: 0\naxes: {axes}\n")
        run_sweep(folder / "s.yaml", folder / "out")
        return read_results(folder / "out")

    def lines(self, results: Results) -> dict[str, tuple[str, list[str], list[float]]]:
        """By name of a plot: what stands on its x axis, its panels, the places of the first line."""
        plots = [plot for plot in draw(results) if plot.name.startswith("sensitivity")]
        return {plot.name: (plot.figure.axes[0].get_xlabel(), [" ".join(ax.get_title(loc="left").split()) for ax in
                plot.figure.axes], list(plot.figure.axes[0].get_lines()[0].get_xdata())) for plot in plots}  # fmt: skip

    @pytest.mark.parametrize(("key", "name"), [("kv_len", "cached tokens"), ("seq", "tokens"), ("batch", "batch")])
    def test_a_line_over_each_size(self, key: str, name: str, tmp_path: Path) -> None:
        others = {"batch": 4, "kv_len": 512} if key != "batch" else {"kv_len": 512}
        sizes = [{**others, key: 100 * i} for i in (1, 2, 4)]
        results = self.swept(tmp_path, "{workload.trace: [t0.trace, t1.trace, t2.trace]}", sizes)
        found = self.lines(results)
        assert list(found) == ["sensitivity_1"]
        label, panels, places = found["sensitivity_1"]
        assert label == name and places == [100, 200, 400]
        assert len(panels) == 1 and "tiny decode" in panels[0] and not re.search(r"\b[124]00\b", panels[0])

    def test_named_workloads_too(self, tmp_path: Path) -> None:
        axes = "{load: [{label: few, workload.trace: t0.trace}, {label: many, workload.trace: t1.trace}]}"
        assert self.lines(self.swept(tmp_path, axes, [{"seq": 64}, {"seq": 128}]))["sensitivity_1"][2] == [64, 128]

    def test_no_line_where_more_differs(self, tmp_path: Path) -> None:
        sizes = [{"batch": 1, "kv_len": 64}, {"batch": 2, "kv_len": 128}]
        assert self.lines(self.swept(tmp_path, "{workload.trace: [t0.trace, t1.trace]}", sizes)) == {}

    def test_no_line_where_a_name_sets_more_than_the_trace(self, tmp_path: Path) -> None:
        axes = "{load: [{label: few, workload.trace: t0.trace, seed: 1}, {label: many, workload.trace: t1.trace}]}"
        assert self.lines(self.swept(tmp_path, axes, [{"seq": 64}, {"seq": 128}])) == {}

    def test_a_size_that_an_axis_sets_is_in_no_name(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            one = ops.attention(2, 4, 4, 16, 1, 64)
            TraceBuilder(name, model=name, phase="decode", batch=2, kv_len=64).add(one).build().save(
                tmp_path / f"{name}.trace"
            )
        axes = "{workload.trace: [a.trace, b.trace], batch: [2, 8]}"
        results = self.swept(tmp_path, axes, [])
        assert results.workloads == ["a decode, 64 cached tokens", "b decode, 64 cached tokens"]


def test_a_workload_is_named_by_model_and_phase(tmp_path: Path) -> None:
    op = ops.linear(8, 64, 64)
    for batch in (1, 8):
        TraceBuilder(f"t{batch}", model="tiny", phase="decode", batch=batch, kv_len=512).add(op).build().save(
            tmp_path / f"b{batch}.trace"
        )
    (tmp_path / "s.yaml").write_text(
        "name: s\nsystem: cpu/h100-host\nlevel: 0\naxes: {workload.trace: [b1.trace, b8.trace]}\n"
    )
    run_sweep(tmp_path / "s.yaml", tmp_path / "out")
    assert read_results(tmp_path / "out").workloads == [
        "tiny decode, batch 1, 512 cached tokens", "tiny decode, batch 8, 512 cached tokens",
    ]  # fmt: skip
