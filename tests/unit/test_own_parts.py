# SPDX-License-Identifier: Apache-2.0
"""Parts in a folder of the user's: how they are found, and that they are called by that folder everywhere."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

import simsparse as ss
from simsparse.advice import headroom
from simsparse.cli.app import app
from simsparse.config.paths import find_part, own_part_names, part_name, part_names
from simsparse.core import TraceBuilder, ops
from simsparse.errors import SpecError
from simsparse.paths import data_root
from simsparse.report.peaks import _written, peaks_of, stored_peaks
from simsparse.report.reader import read_results
from simsparse.report.results import short_names
from simsparse.report.roofline import roofline
from simsparse.validate import validate

SHIPPED = "gpu/h100-sxm5-80gb"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a hw_models/ with a card of its own and one called as a shipped one, a card in chips/, a
    system beside it."""
    monkeypatch.chdir(tmp_path)
    text = (data_root() / "hw_models" / f"{SHIPPED}.yaml").read_text(encoding="utf-8").replace("3.35 TB/s", "5 TB/s")
    for name in ("hw_models/gpu/mine", f"hw_models/{SHIPPED}", "chips/h100-sxm5-80gb", "lone"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(f"{name}.yaml").write_text(text, encoding="utf-8")
    Path("chips/pair.yaml").write_text(
        "kind: system\ndescription: two cards\ndevices:\n  a: {part: h100-sxm5-80gb.yaml}\n  b: {part: gpu/mine}\n"
    )
    TraceBuilder("t").add(ops.linear(8, 4096, 4096)).build().save(tmp_path / "t.trace")
    return tmp_path


def command(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("gpu/mine", "gpu/mine"),
        ("./hw_models/gpu/mine.yaml", "gpu/mine"),
        ("mine", "gpu/mine"),
        ("chips/h100-sxm5-80gb.yaml", "chips/h100-sxm5-80gb"),
        ("chips/h100-sxm5-80gb", "chips/h100-sxm5-80gb"),
        (f"hw_models/{SHIPPED}", f"hw_models/{SHIPPED}"),
        (SHIPPED, SHIPPED),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_part_is_called_by_its_folder(given: str, name: str) -> None:
    part = ss.load_hardware(given)
    assert part.name == name and ss.load_hardware(name).digest == part.digest
    assert (part.memory.bandwidth.text == "3.35 TB/s") == (name == SHIPPED)  # type: ignore[attr-defined]
    assert ss.load_system(given).name == name


def test_a_file_of_the_current_folder_is_called_by_that(home: Path) -> None:
    assert ss.load_hardware("lone.yaml").name == f"{home.name}/lone"
    assert part_name(home / "lone.yaml") == part_name(Path("lone.yaml"))


@pytest.mark.usefixtures("home")
def test_what_was_measured_on_a_shipped_part_holds_for_no_file_of_its_name() -> None:
    op = ss.ops.linear(m=8, n=4096, k=4096)
    assert ss.estimate(op, SHIPPED).validated
    for own in (f"hw_models/{SHIPPED}", "chips/h100-sxm5-80gb.yaml", "gpu/mine"):
        assert not ss.estimate(op, own).validated


@pytest.mark.usefixtures("home")
def test_own_parts_are_listed_checked_and_suggested() -> None:
    assert own_part_names() == ["gpu/mine", f"hw_models/{SHIPPED}"]
    shown = json.loads(command("hw", "list", "--kind", "gpu", "--json").stdout)
    assert [each["name"] for each in shown[-2:]] == own_part_names()
    Path("hw_models/gpu/mine.yaml").write_text("kind: gpu\n")
    found = command("hw", "check")
    assert found.exit_code == 1 and "hw_models/gpu/mine.yaml" in found.output
    with pytest.raises(SpecError, match="did you mean gpu/mine"):
        find_part("gpu/mnie")


@pytest.mark.usefixtures("home")
def test_a_wheel_or_checkout_lists_its_own_parts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data_root())
    assert own_part_names() == []


def test_results_and_reports_call_own_parts_by_their_folder(home: Path) -> None:
    axes = f"{{system: [{SHIPPED}, chips/h100-sxm5-80gb, hw_models/{SHIPPED}, chips/pair.yaml]}}"
    Path("sweep.yaml").write_text(f"name: own\nworkload: {{trace: t.trace}}\naxes: {axes}\n")
    frame = ss.run_sweep("sweep.yaml", out=home / "out")
    assert (frame["error"] == "").all() and len(set(frame["latency_s"])) == 2
    shown = [point.configuration for point in read_results(home / "out").points]
    assert shown == [SHIPPED, "chips/h100-sxm5-80gb", f"hw_models/{SHIPPED}", "pair"]
    result = ss.simulate(ss.load_trace("t.trace"), "chips/pair.yaml")
    assert result.system == "chips/pair" and "linear on chips/h100-sxm5-80gb" in "".join(result.unvalidated)


def test_roofs_of_own_systems_are_drawn_in_other_folders(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those that the sweep ran with, overrides included, whatever the files say by now."""
    axes = "{override.a.memory.bandwidth: [1 TB/s, 5 TB/s]}"
    Path("sweep.yaml").write_text(f"name: own\nworkload: {{trace: t.trace}}\nsystem: chips/pair.yaml\naxes: {axes}\n")
    ss.run_sweep("sweep.yaml", out=home / "out")
    (home / "elsewhere").mkdir()
    (home / "chips/pair.yaml").unlink()
    monkeypatch.chdir(home / "elsewhere")
    results = read_results(home / "out")
    card = peaks_of(ss.load_hardware(SHIPPED))
    assert card is not None
    for point, rate in zip(results.points, (1e12, 5e12), strict=True):
        found = stored_peaks(results.resolved_file, point.system, point.overrides)
        assert found["a"] == replace(card, bytes_per_s=rate) and found["b"] == replace(card, bytes_per_s=5e12)
    plot = roofline(results)
    assert plot is not None and "pair: b" in plot.figure.axes[0].get_title()


@pytest.mark.parametrize("spoilt", ["", "[1]\n", "  s: {a: {values: {array.rows: 3}}}\n",
                                    "  s: {a: {values: {compute.peak.bf16: {value: x}}}}\n"])  # fmt: skip
def test_a_damaged_list_of_numbers_has_no_roofs(tmp_path: Path, spoilt: str) -> None:
    (tmp_path / "resolved.yaml").write_text(f"name: x\nparts_used:\n{spoilt}")
    assert stored_peaks(tmp_path / "resolved.yaml", "s", {}) == {}


@pytest.mark.parametrize("name", part_names())
def test_what_a_sweep_wrote_of_a_part_has_its_roof(name: str, tmp_path: Path) -> None:
    for device, part in ss.load_system(name).devices.items():
        values = {path: {"value": each.text} for path, each in part.quantities()}
        text = yaml.safe_dump({"name": "s", "parts_used": {"s": {device: {"values": values}}}}, sort_keys=False)
        (tmp_path / "resolved.yaml").write_text(text)
        _written.cache_clear()
        found, wanted = stored_peaks(tmp_path / "resolved.yaml", "s", {}).get(device), peaks_of(part)
        assert found == (wanted and replace(wanted, sparse24=found.sparse24 if found else None))


@pytest.mark.usefixtures("home")
def test_a_system_beside_an_experiment_is_found_by_its_name() -> None:
    Path("deep").mkdir()
    shutil.move("chips", "deep/chips")
    Path("deep/run.yaml").write_text("name: n\nworkload: {trace: ../t.trace}\nsystem: chips/h100-sxm5-80gb\n")
    found = command("run", "deep/run.yaml", "--json")
    assert json.loads(found.stdout)["system"] == "chips/h100-sxm5-80gb"


@pytest.mark.usefixtures("home")
def test_questions_take_a_file_and_answer_for_that_file() -> None:
    trace = ss.load_trace("t.trace")
    own, shipped = (headroom(trace, name, "fused+graph") for name in ("chips/h100-sxm5-80gb.yaml", SHIPPED))
    assert own.part == "chips/h100-sxm5-80gb" and own.latency_s < shipped.latency_s
    row = {"section": "e2e", "model": "cnn-small", "phase": "forward", "batch": 1, "dtype": "bf16", "s": 1.0}
    assert validate([row], "lone.yaml").hardware.endswith("/lone")


@pytest.mark.usefixtures("home")
def test_errors_call_own_parts_by_their_folder() -> None:
    found = command("estimate", "linear", "m=8", "n=8", "k=8", "dtype=fp64", "--hw", "chips/h100-sxm5-80gb.yaml")
    assert "chips/h100-sxm5-80gb" in str(found.exception)


def test_short_names_tell_files_of_one_name_apart() -> None:
    assert short_names(["systems/h100", "gpu/a100", "x/npu.yaml", "y/npu", "y/npu.yaml"]) == {
        "systems/h100": "h100", "gpu/a100": "a100", "x/npu.yaml": "x/npu", "y/npu": "y/npu",
        "y/npu.yaml": "y/npu.yaml"}  # fmt: skip
