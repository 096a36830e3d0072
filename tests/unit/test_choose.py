# SPDX-License-Identifier: Apache-2.0
"""Ways to run something, ranked, and what of the machine to buy next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import run

from simsparse.cli.choice import _show
from simsparse.config.run_spec import load_document
from simsparse.errors import SpecError
from simsparse.sweep.choose import purchases, ways

SPEC = """
name: choice
workload: {trace: traces/mixtral-8x7b-decode-b1.trace}
system: systems/h100-pcie5
steps: 2
routing: zipf:1.0
axes:
  way:
    - {label: copied, policy: on_demand}
    - {label: pinned, policy: {residency: pinned}}
    - {label: resident, policy: resident}
objectives: [latency_s]
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "choice.yaml"
    path.write_text(SPEC, encoding="utf-8")
    return path


def test_ways_are_ranked_and_those_without_an_answer_come_last(spec: Path) -> None:
    found = ways(load_document(str(spec)))
    assert [way.columns["way"] for way in found] == ["pinned", "copied", "resident"]
    assert found[0].result is not None
    assert found[0].tokens_per_s == pytest.approx(2 / found[0].result.latency_s)
    assert found[0].joules_per_token == pytest.approx(found[0].result.energy_j / 2)
    assert found[-1].result is None and "gpu0 is full" in found[-1].refused


SYSTEMS = """
name: systems
workload: {trace: traces/tiny-moe-prefill.trace}
system: systems/h100-pcie5
axes:
  system: [systems/a100-pcie4, systems/h100-bank-pim, systems/rtx4090-pcie4]
"""


@pytest.mark.parametrize("objective", ["area_mm2", "power_w"])
def test_a_way_whose_objective_is_not_known_comes_last(tmp_path: Path, objective: str) -> None:
    path = tmp_path / "systems.yaml"
    path.write_text(SYSTEMS + f"objectives: [{objective}]\n", encoding="utf-8")
    found = ways(load_document(str(path)))
    assert [way.result is not None for way in found] == [True, True, False]
    first, second = (way.result.summary()[objective] for way in found[:2] if way.result)
    assert first < second
    assert found[-1].columns["system"] == "systems/h100-bank-pim" and f"{objective} is not known" in found[-1].refused


def test_a_way_beyond_a_constraint_has_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "systems.yaml"
    path.write_text(SYSTEMS.replace("h100-bank-pim", "t4-pcie3") + "constraints: {area_mm2: 600}\n", encoding="utf-8")
    found = {str(way.columns["system"]): way.refused for way in ways(load_document(str(path)))}
    assert next(iter(found)) == "systems/t4-pcie3" and not found["systems/t4-pcie3"]
    assert found["systems/a100-pcie4"] == "its area_mm2 is 826, more than the constraint of 600"
    assert found["systems/rtx4090-pcie4"].startswith("its area_mm2 is 608.5")


def test_what_binds_is_worth_buying(spec: Path) -> None:
    copied = next(way for way in ways(load_document(str(spec))) if way.columns["way"] == "copied")
    assert copied.result is not None
    bought = {each.paths[0]: each.gain for each in purchases(copied.run, copied.result.latency_s)}
    assert 1.2 < bought["pcie.bandwidth"] < 2, "the host's memory binds next"
    assert bought["gpu0.memory.capacity"] == pytest.approx(1)


def test_all_rates_of_arithmetic_of_a_device_are_bought_at_once(spec: Path) -> None:
    best = ways(load_document(str(spec)))[0]
    assert best.result is not None
    bought = [each.paths for each in purchases(best.run, best.result.latency_s)]
    for device, rate in (("gpu0", "tensor.bf16"), ("host", "peak.bf16")):
        own = next(paths for paths in bought if f"{device}.compute.{rate}" in paths)
        assert len(own) > 1 and all(path.startswith(f"{device}.compute.") for path in own)


def test_run_shows_a_choice_and_writes_the_best(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, shown, notes = run(capsys, "run", spec, "--out", out)
    assert code == 0
    assert "2 ways, the best first" in shown and "gpu0.memory.capacity" in shown
    assert "the best way needs the fewest joules, too" in notes
    assert (out / "timeline.perfetto.json").is_file()


def test_the_way_with_the_fewest_joules_is_shown_where_it_is_not_the_best(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned, copied, _ = ways(load_document(str(spec)))
    _show((copied, pinned), ())
    shown = capsys.readouterr().out
    assert "pinned" in shown[shown.index("The way with the fewest joules") :]


def test_run_gives_a_choice_as_json(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "run", spec, "--json")[1])
    assert [way["way"] for way in found["ways"]] == ["pinned", "copied", "resident"]
    assert found["doubled"][0]["gain"] > 1
    best = found["best"]
    assert best["way"] == "pinned" and best["summary"]["latency_s"] == best["latency_s"]


def test_a_folder_that_cannot_be_written_is_named_before_the_run(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("simsparse.cli.choice.run_choice", lambda *_, **__: pytest.fail("has run"))
    code, _, error = run(capsys, "run", spec, "--out", tmp_path / "file")
    assert code == 2 and "file: is no folder that can be written" in error
    assert (tmp_path / "file").read_text() == "mine"


def test_a_choice_without_an_answer_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.yaml"
    path.write_text(SPEC.replace("    - {label: copied, policy: on_demand}\n", "")
                    .replace("    - {label: pinned, policy: {residency: pinned}}\n", ""), encoding="utf-8")  # fmt: skip
    code, _, error = run(capsys, "run", path)
    assert code == 2 and "none of 1 ways has an answer" in error


def test_a_search_is_no_choice(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(SPEC + "sample: {kind: nsga2, points: 8}\n", encoding="utf-8")
    with pytest.raises(SpecError, match="use simsparse sweep"):
        ways(load_document(str(path)))
