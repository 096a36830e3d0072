# SPDX-License-Identifier: Apache-2.0
"""The explorer is one file; its table, plots and filters show what the results say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from filled_store import fill

from simsparse.core.pareto import pareto_front
from simsparse.report.explore import explorer_data, write_explorer
from simsparse.report.reader import read_results
from simsparse.report.results import Results

HOST = Path(__file__).parent / "explore_host.js"
NODE = shutil.which("node")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(fill(tmp_path_factory.mktemp("explore")))


def test_the_page_fetches_nothing_and_texts_do_not_end_its_script(results: Results, tmp_path: Path) -> None:
    odd = replace(results, points=(replace(results.points[0], workload="</script><b>"), *results.points[1:]))
    html = write_explorer(tmp_path / "explore.html", odd).read_text(encoding="utf-8")
    assert "http://" not in html and "https://" not in html and not re.search(r"\ssrc=|@import|url\(", html)
    assert html.count("</script>") == 2 and "</script><b>" not in html
    assert "prefers-color-scheme: dark" in html and "@media print" in html and "max-width: 760px" in html


def test_columns_have_every_point(results: Results) -> None:
    data = explorer_data(results)
    size = len(results.points)
    for column in [*data["columns"], *data["inputs"], data["notes"]]:
        assert len(column.get("codes", column.get("values"))) == size
    latency = next(column for column in data["columns"] if column["label"] == "Latency")
    known = [point.latency_s for point in results.points if not point.error]
    assert [value for value in latency["values"] if value is not None] == pytest.approx(known, rel=1e-5)


def test_ten_thousand_points_are_a_small_file(results: Results, tmp_path: Path) -> None:
    many = replace(results, points=tuple(results.points[i % len(results.points)] for i in range(10_000)))
    path = write_explorer(tmp_path / "explore.html", many)
    assert path.stat().st_size < 4e6
    if NODE is not None:
        assert hosted(path)["milliseconds"] < 1000, "a redraw of all points; about 60 on a quiet core"


def hosted(page: Path, query: str = "") -> dict[str, Any]:
    script = str(resources.files("simsparse.report") / "templates" / "explore.js")
    assert NODE is not None
    done = subprocess.run([NODE, HOST, script, page, query], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_table_plots_and_filters_show_one_selection(results: Results, tmp_path: Path) -> None:
    path = write_explorer(tmp_path / "explore.html", results)
    query = results.points[0].configuration.split()[0]
    found = hosted(path, query)
    done = [point for point in results.points if not point.error]
    assert found["size"] == found["shown"] == len(results.points)
    assert found["dots"] == len(done), "a dot per point that has both numbers"
    known = [seconds for seconds in found["sorted"] if seconds is not None]
    assert known == sorted(known) and found["sorted"][len(known) :] == [None] * (len(results.points) - len(known))
    assert [seconds for seconds in found["turned"] if seconds is not None] == known[::-1]
    assert 0 < found["brushed"] < found["shown"], "a brush on the first axis leaves some"
    kept = [p for p in results.points if query.lower() in f"{p.workload} {p.configuration} {p.sparsity}".lower()]
    assert found["filtered"] == len(kept) > 0
    assert found["count"] == f"{len(kept)} of {len(results.points)} points"
    assert all(f"{key}: {value}" in found["about"] for key, value in kept[0].place.items() if value)
    costs = [(p.latency_s, p.energy_j) for p in done]
    front = {costs[i] for i in pareto_front(costs)}
    assert {(results.points[i].latency_s, results.points[i].energy_j) for i in found["front"]} == front
