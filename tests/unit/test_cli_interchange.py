# SPDX-License-Identifier: Apache-2.0
"""``simsparse trace`` with other tools' files and figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import run

from simsparse.core import TraceBuilder, ops
from simsparse.trace import load_trace


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    linear = ops.linear(8, 64, 64, weight_sparsity="2:4", name="q")
    return TraceBuilder("t").add(linear).add(ops.elementwise(64, 64, 8, label="add")).build().save(tmp_path / "t.trace")


def test_a_trace_goes_to_another_tool_and_back(capsys: pytest.CaptureFixture[str], trace_file: Path) -> None:
    folder = trace_file.parent
    code, out, err = run(capsys, "trace", "--export", folder / "new" / "a.csv", trace_file)
    assert (code, out) == (0, "") and "elementwise ops are left out" in err
    code, out, err = run(
        capsys, "trace", "--import", folder / "new" / "a.csv", "--out", folder / "b.trace", "--dtype", "fp8"
    )
    assert code == 0 and "written to" in err
    (op,) = load_trace(folder / "b.trace").ops
    assert (op.name, str(op.dtype), str(op.weight_sparsity)) == ("q", "fp8", "2:4")


def test_the_suffix_or_the_format_decides(capsys: pytest.CaptureFixture[str], trace_file: Path) -> None:
    target = trace_file.parent / "odd"
    code, _, err = run(capsys, "trace", "--export", target, trace_file)
    assert code == 2 and "the suffix of 'odd'" in err and not target.exists()
    assert run(capsys, "trace", "--export", target, "--format", "chakra", trace_file)[0] == 0
    out = trace_file.parent / "c.trace"
    code, shown, _ = run(capsys, "trace", "--import", target, "--format", "chakra", "--out", out, "--json")
    assert code == 0 and json.loads(shown)["ops"] == 2
    assert load_trace(out) == load_trace(trace_file)


def test_figures_are_drawn_beside_the_table(capsys: pytest.CaptureFixture[str], trace_file: Path) -> None:
    out = trace_file.parent / "figures"
    code, shown, err = run(capsys, "trace", "--show", trace_file, "--plots", out)
    assert code == 0 and "t: 2 ops" in shown and "4 figures written" in err
    names = sorted(path.name for path in out.iterdir())
    assert names == ["intensity.png", "intensity.svg", "weight-density.png", "weight-density.svg"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of --show"),
        (["--export", "a.csv"], "give one of --show"),
        (["t.trace"], "give one of --show"),
        (["--show", "t.trace", "--import", "a.csv"], "give one of --show"),
        (["--import", "a.csv"], "--import needs --out"),
        (["--import", "none.csv", "--out", "b.trace"], "none.csv: can't be read"),
        (["--import", "t.trace", "--format", "csv", "--out", "b.trace"], "'csv' is not a trace format"),
        (["--import", "t.trace", "--format", "scalesim", "--out", "b.trace", "--dtype", "fp7"], "'fp7' is not a dtype"),
        (["--import", "t.trace", "--format", "scalesim", "--out", "b.trace"], "t.trace:1: "),
        (["--import", "t.trace", "--format", "onnx", "--dim", "x", "--out", "b.trace"], "NAME=SIZE"),
    ],
)
def test_faults_end_in_one_line(
    capsys: pytest.CaptureFixture[str], trace_file: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str],
    says: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(trace_file.parent)
    code, _, err = run(capsys, "trace", *arguments)
    assert code == 2 and says in err and err.count("\n") == 1
    assert not (trace_file.parent / "b.trace").exists()
