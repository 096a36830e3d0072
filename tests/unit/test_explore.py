# SPDX-License-Identifier: Apache-2.0
"""The explorer is one file; its table, plots and filters show what the results say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from filled_store import fill

from simsparse.report.explore import explorer_data, write_explorer
from simsparse.report.reader import read_results
from simsparse.report.results import Results


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
