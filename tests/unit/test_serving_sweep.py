# SPDX-License-Identifier: Apache-2.0
"""Sweeps of serving: axes, runs that are kept, and what goes on after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simsparse.cli import main
from simsparse.errors import SpecError
from simsparse.sweep import serving
from simsparse.sweep.serving import run_serving_sweep

SPEC = """\
name: n
model: llama2-7b
system: systems/h200-pcie5
policy: {kind: chunked, max_seqs: 16}
requests: {count: 30, arrivals: {kind: poisson, rate: 4}, input: 200, output: 20}
axes:
  requests.arrivals.rate: [2, 400]
  policy.max_seqs: [4, 16]
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(SPEC)
    return path


def test_every_combination_is_a_row_and_equals_its_own_run(spec, tmp_path, capsys):
    frame = run_serving_sweep(spec, tmp_path / "out")
    assert list(zip(frame["axis.requests.arrivals.rate"], frame["axis.policy.max_seqs"], strict=True)) == [
        (2, 4), (2, 16), (400, 4), (400, 16)]  # fmt: skip
    assert (frame["error"] == "").all()
    spec.write_text(SPEC[: SPEC.index("axes")].replace("rate: 4", "rate: 400").replace("max_seqs: 16", "max_seqs: 4"))
    with pytest.raises(SystemExit):
        main(["serve", str(spec), "--json"])
    alone = json.loads(capsys.readouterr().out)
    assert frame["ttft.mean"][2] == alone["ttft"]["mean"] > 5 * frame["ttft.mean"][0]


def test_a_sweep_that_was_stopped_goes_on(spec, tmp_path, monkeypatch):
    whole, run, ran = run_serving_sweep(spec, tmp_path / "whole"), serving.serve_point, []

    def stops(point):
        ran.append(point.key)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return run(point)

    monkeypatch.setattr(serving, "serve_point", stops)
    with pytest.raises(KeyboardInterrupt):
        run_serving_sweep(spec, tmp_path / "out")
    assert run_serving_sweep(spec, tmp_path / "out").equals(whole)
    assert len(ran) == 3 + 2
    run_serving_sweep(spec, tmp_path / "out")
    assert len(ran) == 3 + 2


def test_a_point_that_fails_says_why(spec, tmp_path):
    spec.write_text(SPEC.replace("policy.max_seqs: [4, 16]", "kv.blocks: [2]"))
    frame = run_serving_sweep(spec, tmp_path / "out")
    assert frame["error"].str.contains("needs 13 blocks").all()


@pytest.mark.parametrize(("axis", "named"), [
    ("policy.kind.more: [1]", "policy.kind.more"), ("requests.rat: [1]", "unknown key"), ("replicas: [0]", "replicas"),
    ("name: [a]", "no axis"),
])  # fmt: skip
def test_an_axis_that_is_none_is_an_error_before_anything_runs(axis, named, spec, tmp_path):
    spec.write_text(SPEC.replace("policy.max_seqs: [4, 16]", axis))
    with pytest.raises(SpecError, match=r"s\.yaml") as found:
        run_serving_sweep(spec, tmp_path / "out")
    assert named in str(found.value)
    assert not (tmp_path / "out").exists()


def test_axes_need_a_folder(spec, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(Path(spec))])
    assert ended.value.code == 2
    assert "--out" in capsys.readouterr().err
