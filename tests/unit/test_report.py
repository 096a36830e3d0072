# SPDX-License-Identifier: Apache-2.0
"""Reports are made from any sweep folder, whole, without warnings, and say what the data say."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filled_store import OPS, SETUPS, SPANS, SPARSITIES, fill
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.core import ActionCounts, Result, Timeline, TraceBuilder, ops
from simsparse.core.pareto import hypervolume, pareto_front
from simsparse.errors import StoreError
from simsparse.report import build_report, report_result
from simsparse.report.bars import bars
from simsparse.report.build import draw
from simsparse.report.findings import findings
from simsparse.report.metrics import LATENCY
from simsparse.report.plot import Plot, save_plot
from simsparse.report.reader import read_results
from simsparse.report.results import Results
from simsparse.report.si import axis_numbers, si
from simsparse.report.style import figure_style
from simsparse.store import NOT_RUN, STORE_NAME, read_table
from simsparse.sweep.run import run_sweep


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
    assert {
        "points.csv",
        "points.parquet",
        "ops.csv",
        "ops.parquet",
        "resolved.yaml",
        "index.html",
        "explore.html",
    } <= names
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


def test_points_of_an_interrupted_sweep_have_not_failed(tmp_path: Path) -> None:
    rows = [{"system": "s", "weight_sparsity": w, "latency_s": v, "error": e}
            for w, v, e in (("dense", 1.0, ""), ("2:4", None, "too large"), ("1:4", None, NOT_RUN))]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "results.parquet")
    results = read_results(tmp_path)
    assert [point.sparsity for point in results.failed] == ["2:4"]
    assert [point.sparsity for point in results.not_run] == ["1:4"]
    html = build_report(tmp_path, formats=("svg",)).read_text(encoding="utf-8")
    assert "1 done, 1 failed, 1 not run yet" in html


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


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=12))
def test_hypervolume_equals_the_count_of_cells(costs: list[tuple[int, int, int]]) -> None:
    cells = itertools.product(range(5), repeat=3)
    covered = sum(any(all(a <= b for a, b in zip(c, cell, strict=True)) for c in costs) for cell in cells)
    assert hypervolume([tuple(map(float, row)) for row in costs], (5.0, 5.0, 5.0)) == covered
