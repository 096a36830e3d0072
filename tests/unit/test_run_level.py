# SPDX-License-Identifier: Apache-2.0
"""simsparse run --level: the same experiment at another fidelity."""

from __future__ import annotations

import json

import pytest

from simsparse.cli import main

EXPERIMENT = "configs/experiments/sparse-engine.yaml"


def _summary(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, float]:
    with pytest.raises(SystemExit) as ended:
        main(["run", EXPERIMENT, *options, "--json"])
    assert ended.value.code == 0
    found: dict[str, float] = json.loads(capsys.readouterr().out)
    return found


def test_the_level_asked_for_is_run_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    closed, own, walked = (_summary(capsys, *options) for options in (("--level", "0"), (), ("--level", "2")))
    assert (closed["level"], own["level"], walked["level"]) == (0, 2, 2)
    assert own == walked
    assert closed["latency_s"] != walked["latency_s"]
    assert closed["latency_s"] == pytest.approx(walked["latency_s"], rel=0.1)


def test_no_such_level(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", EXPERIMENT, "--level", "3"])
    assert ended.value.code == 2
    assert "level" in capsys.readouterr().err
