# SPDX-License-Identifier: Apache-2.0
"""Serving over rates: the highest rate that is kept, figures, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import simsparse as ss
from simsparse.cli import main
from simsparse.errors import SpecError
from simsparse.report.plot import save_plot
from simsparse.report.serving import rate_plot, served_plots
from simsparse.serving.engine import Engine
from simsparse.serving.rates import highest_rate, knee, rate_curve

SLO = {"ttft": 1.0}
SPEC = """\
name: n
model: llama2-7b
system: systems/h200-pcie5
policy: {kind: chunked, max_seqs: 16}
requests: {count: 60, arrivals: {kind: poisson, rate: 4}, input: 200, output: 40}
slo: {ttft: 0.3}
"""


def run(rate, seqs=4, count=300):
    requests = ss.draw_requests(count, {"kind": "poisson", "rate": rate}, 300, 60)
    return ss.serve(requests, "systems/h200-pcie5", "llama2-7b", {"kind": "chunked", "max_seqs": seqs}, engine=Engine())


@pytest.fixture(scope="module")
def search():
    return highest_rate(run, SLO, share=0.95)


def test_search_ends_between_a_rate_that_is_kept_and_one_that_is_not(search):
    rates = [point.rate for point in search]
    assert rates == sorted(rates)
    best = knee(search)
    above = next(point for point in search if point.rate > best.rate)
    assert not above.kept
    assert above.rate / best.rate <= 1.021


def test_highest_rate_is_near_what_a_full_batch_serves(search):
    """Four sequences at a time: no more than four requests per mean time in the batch."""
    flood = run(1000.0)
    capacity = flood.saturation.capacity_per_s
    assert knee(search).rate == pytest.approx(capacity, rel=0.25)
    in_batch = float((flood.done_s - flood.admitted_s).mean())
    assert capacity == pytest.approx(4 / in_batch, rel=0.05)


def test_limits_that_nothing_keeps_are_an_error():
    with pytest.raises(SpecError, match="no rate"):
        highest_rate(lambda rate: run(rate, count=5), {"ttft": 1e-6})
    with pytest.raises(SpecError, match="positive"):
        rate_curve(run, [0.0], SLO)


def test_figures_are_written(search, tmp_path):
    for plot in (rate_plot(search, SLO), *served_plots(search[0].served)):
        (path,) = save_plot(plot, tmp_path, ("png",))
        assert path.stat().st_size > 5000


@pytest.mark.parametrize("options", [[], ["--rates", "2,400"], ["--highest", "--share", "0.9"]])
def test_command_writes_tables_and_figures(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SPEC)
    with pytest.raises(SystemExit) as ended:
        main(["serve", "s.yaml", "--out", "out", "--json", *options])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    if not options:
        assert np.isclose(said["goodput_per_s"], said["requests_per_s"])
        assert {path.name for path in Path("out").iterdir()} == {
            "summary.json", "requests.csv", "steps.csv", "distributions.png", "time.png", "requests.png",
        }  # fmt: skip
    else:
        assert said["highest_rate"] >= 2
        assert [each["kept"] for each in said["runs"]] == sorted((each["kept"] for each in said["runs"]), reverse=True)
        assert {path.name for path in Path("out").iterdir()} == {"rates.json", "rates.png"}


def test_a_list_that_is_none_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SPEC)
    with pytest.raises(SystemExit) as ended:
        main(["serve", "s.yaml", "--rates", "1;2"])
    assert ended.value.code == 2
    assert "list of numbers" in capsys.readouterr().err
