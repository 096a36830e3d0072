# SPDX-License-Identifier: Apache-2.0
"""Reports are made from any sweep folder, whole, without warnings, and say what the data say."""

from __future__ import annotations

import itertools
import json
import math
import re
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import ActionCounts, OpResult, Result, Span, Timeline, TraceBuilder, ops
from simsparse.core.pareto import hypervolume, pareto_front
from simsparse.errors import SpecError, StoreError
from simsparse.report import build_report, report_result
from simsparse.report.bars import bars
from simsparse.report.build import draw
from simsparse.report.findings import findings
from simsparse.report.front import front
from simsparse.report.metrics import ENERGY, LATENCY, speed_up_over
from simsparse.report.pairs import Baseline, baselines_of
from simsparse.report.plot import Plot, save_plot
from simsparse.report.reader import read_results
from simsparse.report.results import Results
from simsparse.report.rows import panels_of, runs_note
from simsparse.report.si import axis_numbers, si
from simsparse.report.slices import sliced
from simsparse.report.style import figure_style
from simsparse.store import STORE_NAME, read_table
from simsparse.sweep.run import run_sweep

SPARSITIES = {"dense": 1.0, "2:4": 0.6, "1:8": 0.3}
SETUPS = {"gpu": "systems/h100-pcie5", "a longer name of a bank-level PIM": "systems/bank-pim"}
BANDWIDTHS = ("2 TB/s", "4 TB/s")
SPEC = """
name: tiny
description: Two workloads on two setups.
axes:
  workload: [{label: Llama, workload.trace: a}, {label: Mixtral, workload.trace: b}]
  setup:
    - {label: gpu, system: systems/h100-pcie5}
    - {label: a longer name of a bank-level PIM, system: systems/bank-pim}
  weight_sparsity: [dense, "2:4", "1:8"]
  override.gpu0.memory.bandwidth: [2 TB/s, 4 TB/s]
"""
OPS = [
    OpResult("layers.0.q_proj", "linear", "", "layers.0.q_proj", "gpu0", "dense", 0.0, 2e-5, 1e-3, "memory", 10**9,
             10**8, "h100"),
    OpResult("layers.0.attention", "attention", "", "layers.0.attn", "gpu0", "dense", 2e-5, 1e-5, 1e-3, "memory",
             10**7, 10**7, "h100"),
    OpResult("layers.0.norm", "elementwise", "rmsnorm", "layers.0", "gpu0", "dense", 3e-5, 2e-6, 1e-5, "launch", 10**4,
             10**5, None),
]  # fmt: skip
SPANS = [
    Span(0, 20 * 10**9, "gpu0", "compute", "q_proj", "linear"),
    Span(20 * 10**9, 30 * 10**9, "gpu0", "compute", "attention", "attention"),
    Span(5 * 10**9, 29 * 10**9, "gpu0", "h2d", "weights", "copy", 1 << 20),
]


def columns(rows: list[Any]) -> bytes:
    """Rows as the sweep's store keeps them."""
    names = rows[0]._fields
    return zlib.compress(json.dumps({name: [getattr(row, name) for row in rows] for name in names}).encode())


def summary(latency_s: float, unvalidated: list[str]) -> dict[str, Any]:
    """A Result's summary with what a report reads."""
    return {
        "trace": "t", "latency_s": latency_s, "energy_j": 200 * latency_s**0.8, "area_mm2": 1e3 * latency_s + 400,
        "bound": "memory", "seconds_by_bound": {"memory": 0.8 * latency_s, "launch": 0.2 * latency_s},
        "energy_by_component": {"gpu0.hbm.read_byte": 3.0, "gpu0.static": 1.0, "host.static": 0.5},
        "assumed": ["gpu0.energy.static = 90 W"], "unvalidated": unvalidated, "overrides": {},
    }  # fmt: skip


def fill(folder: Path) -> Path:
    """A sweep of 24 points in the tables that the sweep documents: one failed, one setup unvalidated."""
    grid = itertools.product((("Llama", 5e-3), ("Mixtral", 2e-2)), SETUPS.items(), SPARSITIES.items(), BANDWIDTHS)
    with closing(sqlite3.connect(folder / STORE_NAME)) as store, store:
        store.execute("CREATE TABLE points (key TEXT PRIMARY KEY, result TEXT, error TEXT, ops BLOB, timeline BLOB)")
        store.execute("CREATE TABLE rows (idx INTEGER PRIMARY KEY, key TEXT NOT NULL, axes TEXT NOT NULL)")
        for index, ((workload, base), (setup, system), (sparsity, factor), bandwidth) in enumerate(grid):
            axes = {
                "workload": workload,
                "setup": setup,
                "workload.trace": "t.trace",
                "system": system,
                "policy": "resident",
                "weight_sparsity": sparsity,
                "override.gpu0.memory.bandwidth": bandwidth,
            }
            result = summary(base * factor * 4 / float(bandwidth[0]), [] if setup == "gpu" else ["bank PIM"])
            kept = (columns(OPS), columns(SPANS)) if setup == "gpu" else (None, None)
            outcome = (json.dumps(result), None, *kept) if index != 4 else (None, "MappingError: no kernel", None, None)
            store.execute("INSERT INTO rows VALUES (?, ?, ?)", (index, f"key{index}", json.dumps(axes)))
            store.execute("INSERT INTO points VALUES (?, ?, ?, ?, ?)", (f"key{index}", *outcome))
    (folder / "resolved.yaml").write_text(SPEC)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return build_report(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def plots(folder: Path) -> list[Plot]:
    return draw(read_results(folder))


class References(HTMLParser):
    """Every URL that a page would fetch or follow."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        assert tag not in ("iframe", "object", "embed")


def test_page_refers_to_nothing_outside(page: str) -> None:
    references = References()
    references.feed(page)
    allowed = re.compile(r"#\w+|data:.*|[\w.]+", re.DOTALL)
    assert all(allowed.fullmatch(reference) for reference in references.found)
    assert "http://" not in page and "https://" not in page and "url(" not in page and "@import" not in page


def test_page_holds_every_point_and_every_failure(page: str) -> None:
    points = page[page.index('id="points"') : page.index('id="failed"')]
    assert points.count("<tr>") == 1 + 23
    failed = page[page.index('id="failed"') : page.index('id="unvalidated"')]
    assert failed.count("<tr>") == 1 + 1 and "MappingError: no kernel" in failed
    assert "gpu0.energy.static" in page[page.index('id="assumed"') :]
    assert points.count(">unvalidated<") == 12


def test_report_holds_all_files_and_leaves_no_parts(folder: Path, page: str) -> None:
    report = folder / "report"
    names = {path.name for path in report.iterdir()}
    for stem in ("latency_bars", "energy_bars", "speedup_bars", "latency_breakdown", "energy_breakdown",
                 "pareto_energy", "pareto_area", "sensitivity_1", "roofline", "timeline"):  # fmt: skip
        assert {f"{stem}.png", f"{stem}.svg"} <= names
    assert {"points.csv", "points.parquet", "ops.csv", "ops.parquet", "resolved.yaml", "index.html"} <= names
    assert not [name for name in names if name.startswith(".")]
    assert 'href="latency_bars.png"' in page


def test_tables_round_trip(folder: Path, page: str) -> None:
    del page
    frame = read_table(folder)
    csv = pd.read_csv(folder / "report" / "points.csv")
    parquet = pd.read_parquet(folder / "report" / "points.parquet")
    for name in ("key", "setup", "weight_sparsity", "latency_s", "energy_j", "area_mm2"):
        pd.testing.assert_series_equal(csv[name], frame[name], check_dtype=False)
        pd.testing.assert_series_equal(parquet[name], frame[name], check_dtype=False)


def test_points_equal_the_table_of_a_real_sweep(tmp_path: Path) -> None:
    trace = TraceBuilder("tiny").add(ops.linear(8, 1024, 1024)).add(ops.linear(8, 4096, 1024)).build()
    trace.save(tmp_path / "tiny.trace")
    spec = tmp_path / "sweep.yaml"
    spec.write_text(
        f"name: real\nworkload: {{trace: {tmp_path / 'tiny.trace'}}}\nsystem: systems/h100-pcie5\n"
        'axes:\n  weight_sparsity: [dense, "2:4"]\n'
    )
    expected = run_sweep(spec, tmp_path / "out")
    build_report(tmp_path / "out", formats=("svg",))
    points = pd.read_csv(tmp_path / "out" / "report" / "points.csv", keep_default_na=False)
    written = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    assert set(points.columns) == set(expected.columns)
    pd.testing.assert_frame_equal(points[list(written.columns)], written)
    assert (tmp_path / "out" / "report" / "roofline.svg").is_file()


def test_every_axis_says_what_and_in_which_unit(plots: list[Plot]) -> None:
    assert len(plots) == 11
    unit = re.compile(r"\((s|ms|µs|J|mJ|mm²|1/J|1/s/mm²|×|%|TB/s|FLOP/byte|[GT]FLOP/s)\)")
    for plot in plots:
        for ax in plot.figure.axes:
            assert unit.search(ax.get_xlabel()), (plot.name, ax.get_xlabel())
            assert unit.search(ax.get_ylabel()) or ax.get_yticklabels() or ax.get_ylabel() == ""
            if plot.name.startswith(("pareto", "roofline")) and ax.get_subplotspec().is_first_col():
                assert unit.search(ax.get_ylabel()), (plot.name, ax.get_ylabel())


def test_text_is_legible_and_inside_the_figure(plots: list[Plot]) -> None:
    from matplotlib.text import Text

    for plot in plots:
        plot.figure.draw_without_rendering()
        for text in plot.figure.findobj(Text):
            if not (text.get_visible() and text.get_text().strip()):
                continue
            assert text.get_fontsize() >= 8
            box = text.get_window_extent()
            if not text.get_clip_on() and box.width:
                assert box.x0 >= -1 and box.x1 <= plot.figure.bbox.x1 + 1, (plot.name, text.get_text())
                assert box.y0 >= -1 and box.y1 <= plot.figure.bbox.y1 + 1, (plot.name, text.get_text())


def test_labels_of_points_do_not_overlap(plots: list[Plot]) -> None:
    from matplotlib.text import Annotation

    for plot in plots:
        if not plot.name.startswith(("pareto", "roofline")):
            continue
        plot.figure.draw_without_rendering()
        for ax in plot.figure.axes:
            boxes = [item.get_window_extent() for item in ax.texts if isinstance(item, Annotation)]
            texts = [item.get_text() for item in ax.texts]
            for i, one in enumerate(boxes):
                assert not any(one.overlaps(other) for other in boxes[:i]), (plot.name, texts)


def test_unvalidated_bars_are_hatched_and_explained(plots: list[Plot]) -> None:
    from matplotlib.patches import Rectangle

    bars = plots[0].figure.axes[0].findobj(lambda artist: isinstance(artist, Rectangle) and artist.get_width() > 0)
    assert sum(bool(bar.get_hatch()) for bar in bars) == 3
    labels = [text.get_text() for legend in plots[0].figure.legends for text in legend.get_texts()]
    assert "unvalidated model" in labels and "Hatched" in plots[0].caption


def test_findings_say_the_ratios_and_the_bound(folder: Path) -> None:
    llama = findings(read_results(folder))[0]
    text = dict(llama.configurations)
    assert llama.workload == "Llama" and "1:8" in llama.lead
    assert "2:4 is 1.67× faster, with 1.50× less energy" in text["a longer name of a bank-level PIM"]
    assert "Bound by memory (80 % of operator time)." in text["a longer name of a bank-level PIM"]


def test_one_failure_of_many_is_said(tmp_path: Path) -> None:
    rows = [{"workload.trace": "a", "system": "s", "weight_sparsity": w, "latency_s": v, "error": e}
            for w, v, e in (("dense", None, "too large"), ("2:4", 1.0, ""))]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "results.parquet")
    text = dict(findings(read_results(tmp_path))[0].configurations)["s"]
    assert text == "2:4 takes 1.00\u00a0s. Dense failed: too large."


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), max_size=25))
def test_pareto_front_equals_brute_force(costs: list[tuple[int, int, int]]) -> None:
    def beaten(row: tuple[int, ...]) -> bool:
        return any(other != row and all(a <= b for a, b in zip(other, row, strict=True)) for other in costs)

    front = pareto_front([tuple(map(float, row)) for row in costs])
    assert sorted(front) == [i for i, row in enumerate(costs) if not beaten(row)]
    assert [costs[i][0] for i in front] == sorted(costs[i][0] for i in front)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00123, "1.23 ms"), (0.0009996, "1.00 ms"), (1.0, "1.00 s"), (999.6, "1.00 ks"), (0.0, "0 s"), (2e-7, "200 ns"),
     (None, "–"), (float("nan"), "–")],
)  # fmt: skip
def test_si_texts(value: float | None, text: str) -> None:
    assert si(value, "s").replace("\u00a0", " ") == text


@settings(max_examples=200)
@given(st.floats(1e-17, 1e17))
def test_si_text_is_within_half_a_percent(value: float) -> None:
    number, _, unit = si(value, "s").partition("\u00a0")
    factor = dict(zip("afpnµm kMGTP", (10.0**e for e in range(-18, 18, 3)), strict=True))[unit[:-1] or " "]
    assert math.isclose(float(number) * factor, value, rel_tol=5.1e-3)
    assert len(number) <= 6


def test_axis_texts_become_numbers_of_one_unit() -> None:
    assert axis_numbers(["2 TB/s", "900 GB/s"]) == ([2e12, 9e11], "B/s")
    assert axis_numbers(["1", "2.5"]) == ([1.0, 2.5], "")
    assert axis_numbers(["resident", "1"]) is None


TINY = [
    [],
    [{"latency_s": 1e-3}],
    [{"latency_s": None, "error": "all failed", "system": "s"}],
    [{"latency_s": 0.0, "energy_j": 0.0, "system": "s"}],
    [{"latency_s": 1e-3, "energy_j": float("nan"), "system": "$a_b$ <b>&", "workload.trace": "x/$y$.trace"},
     {"latency_s": 2e-3, "energy_j": 1.0, "system": "s", "weight_sparsity": "no sparsity", "bound": "memory"}],
    [{"latency_s": 1e-3 * (i + 1), "energy_j": 1.0 / (i + 1), "system": "s", "seed": i, "level": i % 2, "policy": "p",
      "override.a": f"{i + 1} GB/s", "override.b": i, "policy_options.c": "x" * i} for i in range(6)],
    [{"latency_s": 1e-3, "seconds_by_bound": "{broken", "energy_by_component": "[1]", "assumed": "7"}],
]  # fmt: skip


@pytest.mark.parametrize("rows", TINY, ids=range(len(TINY)))
def test_small_and_odd_sweeps_make_a_page(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    pd.DataFrame(rows).to_parquet(tmp_path / "results.parquet")
    html = build_report(tmp_path, formats=("svg",)).read_text(encoding="utf-8")
    assert "<b>&" not in html
    assert f"{len(rows)} point" in html


def test_large_sweeps_show_a_selection_and_say_so(tmp_path: Path) -> None:
    rows = [
        {"workload.trace": f"w{w}", "system": f"s{s}", "weight_sparsity": f"unstructured:{d / 20}",
         "latency_s": 1e-3 * (s + d), "energy_j": 1.0 / (1 + s)}
        for w in range(2) for s in range(30) for d in range(1, 20)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "results.parquet")
    results = read_results(tmp_path)
    assert len(results.done) == 1140
    shown = draw(results)
    assert "14 of 30 configurations" in shown[0].caption and "7 of 19 sparsities" in shown[0].caption
    assert max(plot.figure.get_size_inches()[1] for plot in shown) < 10.4


def test_folders_that_are_no_sweep_are_store_errors(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no sweep result"):
        build_report(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    for name in (STORE_NAME, "results.parquet"):
        other = tmp_path / name.replace(".", "-")
        other.mkdir()
        (other / name).write_bytes(b"something else, long enough to be read as a header" * 20)
        with pytest.raises(StoreError, match=name):
            build_report(other)
        assert not (other / "report").exists()


def test_damaged_spec_and_unknown_format_are_store_errors(folder: Path, tmp_path: Path) -> None:
    pd.DataFrame([{"latency_s": 1.0}]).to_parquet(tmp_path / "results.parquet")
    (tmp_path / "resolved.yaml").write_text("a: [")
    with pytest.raises(StoreError, match=r"resolved\.yaml"):
        build_report(tmp_path)
    with pytest.raises(StoreError, match="'gif' is no figure format"):
        build_report(folder, formats=("gif",))


def test_one_result_makes_a_report(tmp_path: Path) -> None:
    result = Result(
        "llama", "systems/h100-pcie5", "resident", 0, 1, 3.2e-5, 2e-3, tuple(OPS), {"gpu0.static": 2e-3},
        ActionCounts(), Timeline.of(SPANS), unvalidated=("gpu0: elementwise",),
        seconds_by_bound={"memory": 3e-5, "launch": 2e-6},
    )  # fmt: skip
    html = report_result(result, tmp_path / "out").read_text(encoding="utf-8")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"roofline.png", "timeline.svg", "ops.csv", "latency_breakdown.png"} <= names
    assert "unvalidated 6 %" in html and "32.0\u00a0µs" in html
    assert len(pd.read_csv(tmp_path / "out" / "ops.csv")) == len(OPS)


def test_figures_repeat_to_the_byte(folder: Path, page: str, tmp_path: Path) -> None:
    del page
    with figure_style():
        again = bars(read_results(fill(tmp_path)), LATENCY, "latency_bars")[0]
    for path in save_plot(again, tmp_path, ("svg", "png")):
        assert path.read_bytes() == (folder / "report" / path.name).read_bytes()


def test_import_draws_in_nothing_heavy() -> None:
    code = "import sys, simsparse.report; print({'matplotlib', 'pandas', 'jinja2'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_results_type_is_what_the_reader_gives(folder: Path) -> None:
    results = read_results(folder)
    assert isinstance(results, Results)
    assert results.workloads == ["Llama", "Mixtral"] and results.configurations == list(SETUPS)
    assert results.sparsities == list(SPARSITIES) and results.axes == ("override.gpu0.memory.bandwidth",)


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
        values = plots["convergence"].figure.axes[0].get_lines()[0].get_ydata()
        assert list(values) == sorted(values) and values[-1] == 100


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=12))
def test_hypervolume_equals_the_count_of_cells(costs: list[tuple[int, int, int]]) -> None:
    cells = itertools.product(range(5), repeat=3)
    covered = sum(any(all(a <= b for a, b in zip(c, cell, strict=True)) for c in costs) for cell in cells)
    assert hypervolume([tuple(map(float, row)) for row in costs], (5.0, 5.0, 5.0)) == covered


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
