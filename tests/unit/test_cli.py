# SPDX-License-Identifier: Apache-2.0
"""The command line: what it prints, how it fails, what it imports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_runs import run

from simsparse import simulate
from simsparse.cli import main
from simsparse.cli.console import si, whole_folder
from simsparse.cli.progress import ProgressBar
from simsparse.core import Result, TraceBuilder, ops
from simsparse.errors import StoreError

SPEC = "name: cli\nworkload: {trace: t.trace}\nsystem: cpu/h100-host\n"
SWEEP = SPEC + "axes:\n  weight_sparsity: [dense, 2:4]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TraceBuilder("t").add(ops.linear(8, 64, 64)).add(ops.elementwise(64, 64, label="add")).build().save(
        tmp_path / "t.trace"
    )
    (tmp_path / "run.yaml").write_text(SPEC)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    return tmp_path


def spawn(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "simsparse.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_run_prints_the_answer_and_writes_only_under_out(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(folder)
    code, out, _ = run(capsys, "run", "run.yaml", "--json")
    summary = json.loads(out)
    assert code == 0 and summary["latency_s"] > 0 and summary["policy"] == "resident"
    assert sorted(folder.rglob("*")) == before
    code, out, err = run(capsys, "run", "run.yaml", "--out", folder / "out")
    assert code == 0 and "latency" in out and "written to" in err
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "ops.csv", "result.json", "timeline.perfetto.json"]  # fmt: skip
    assert json.loads((folder / "out" / "result.json").read_text())["latency_s"] == summary["latency_s"]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_sweep_prints_its_table_and_as_json_its_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "sweep", folder / "sweep.yaml", "--out", folder / "out")
    assert code == 0 and "weight_sparsity" in out and "2 points" in out and "stored in" in err
    code, out, _ = run(capsys, "sweep", folder / "sweep.yaml", "--out", folder / "out", "--json", "--jobs", 2)
    data = json.loads(out)
    assert code == 0 and data["points"] == 2 and data["failed"] == 0
    assert [row["weight_sparsity"] for row in data["rows"]] == ["dense", "2:4"]


def test_an_area_that_is_not_known_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systems = "axes:\n  system: [gpu/h100-sxm5-80gb, systems/vegeta]\n  weight_sparsity: [dense, 2:4]\n"
    (folder / "areas.yaml").write_text(SPEC + systems)
    _, out, _ = run(capsys, "sweep", folder / "areas.yaml", "--out", folder / "out")
    assert "814 mm2" in out and "unknown" in out and "nan" not in out


def test_the_table_of_a_search_is_its_front(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axes = (
        "axes:\n  weight_sparsity: [dense, 2:4]\n  override.cpu0.memory.bandwidth: {low: 50, high: 800, unit: GB/s}\n"
    )
    levels = "fidelity: {levels: [0, 1], keep: 0.5}"
    (folder / "s.yaml").write_text(SPEC + axes + f"sample: {{kind: random, points: 8, {levels}}}\n")
    _, out, _ = run(capsys, "sweep", folder / "s.yaml", "--out", folder / "out")
    assert "12 points, the Pareto front" in out
    rows = [line.split() for line in out.splitlines() if "GB/s" in line]
    assert rows and all("*" in row for row in rows)


def test_failed_points_are_shown_and_fail_a_strict_sweep(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TraceBuilder("big").add(ops.linear(8, 1 << 20, 1 << 20)).build().save(folder / "big.trace")
    text = SWEEP.replace("weight_sparsity: [dense, 2:4]", "workload.trace: [t.trace, big.trace]")
    text += "  weight_sparsity: [dense, 2:4]\n"
    (folder / "sweep.yaml").write_text(text)
    arguments = ("sweep", folder / "sweep.yaml", "--out", folder / "out")
    code, out, _ = run(capsys, *arguments)
    assert code == 0 and "2 of 4 points without a result" in out and "full" in out
    code, out, _ = run(capsys, *arguments, "--json", "--strict")
    assert code == 1 and json.loads(out)["failed"] == 2


def test_a_sweep_in_which_every_point_fails_has_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TraceBuilder("t").add(ops.linear(8, 1 << 20, 1 << 20)).build().save(folder / "t.trace")
    code, out, _ = run(capsys, "sweep", folder / "sweep.yaml", "--out", folder / "out")
    assert code == 1 and "2 of 2 points without a result" in out and "front" not in out


def test_points_beyond_a_limit_are_counted_and_not_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("sweep", folder / "s.yaml", "--out", folder / "out")
    text = SPEC + "axes:\n  system: [cpu/h100-host, gpu/h100-sxm5-80gb]\n  seed: [0]\n"
    (folder / "s.yaml").write_text(text)
    _, out, _ = run(capsys, *arguments, "--json")
    limit = sum(row["latency_s"] for row in json.loads(out)["rows"]) / 2
    (folder / "s.yaml").write_text(f"{text}constraints: {{latency_s: {limit}}}\n")
    code, out, err = run(capsys, *arguments)
    assert code == 0 and "1 of 2 points beyond the limits" in err
    assert len([line for line in out.splitlines() if " uJ" in line or " mJ" in line]) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "nope.yaml"), "'nope.yaml' is not a file"),
        (("sweep", "nope.yaml", "--out", "out"), "'nope.yaml' is not a file"),
        (("sweep", "{folder}/sweep.yaml"), "--out"),
        (("sweep", "{folder}/sweep.yaml", "--out", "{folder}/out", "--jobs", "0"), "--jobs"),
        (("sweep", "{folder}/sweep.yaml", "--out", "{folder}/t.trace"), "can't be written"),
        (("run", "{folder}/t.trace"), "t.trace:"),
        (("run", "{folder}/latin1.yaml"), "latin1.yaml: is not UTF-8 text"),
        (("run", "{folder}"), "is not a file"),
        (("report", "{folder}/nowhere"), "nowhere"),
        (("trace", "--show", "{folder}/run.yaml"), "run.yaml"),
        (("trace", "--show", "{folder}/nope"), "nope: can't be read"),
        (("trace",), "give one of --show TRACE, --model NAME --out TRACE"),
        (("trace", "--model", "llama2-7b"), "--model needs --out"),
        (("trace", "--model", "llama2-7b", "--phase", "fit", "--out", "x"), "'fit' is not a phase"),
        (("hw", "show", "gpu/a100"), "'gpu/a100' is no part and no YAML file"),
        (("hw", "list", "--kind", "gpo"), "did you mean gpu?"),
        (("schema", "sweeps"), "'sweeps' has no schema; did you mean sweep?"),
        (("schema", "sweep", "--kind", "gpu"), "a schema of sweep has no kinds"),
        (("estimate", "liner", "m=1", "--hw", "cpu/h100-host"), "'liner' is not an operator; did you mean linear?"),
        (("estimate", "linear", "m=1", "q=2", "--hw", "cpu/h100-host"), "'q=2' is not KEY=VALUE of linear"),
        (("estimate", "linear", "m=1", "--hw", "cpu/h100-host"), "missing 2 required"),
        (("estimate", "linear", "m=a", "n=1", "k=1", "--hw", "cpu/h100-host"), "m: 'a' is not a positive whole"),
        (("validate", "--data", "{folder}/nope", "--hw", "gpu/h100-sxm5-80gb"), "nope"),
        (("validate", "--hw", "gpu/h100-sxm5-80gb"), "--data and --hw belong together"),
        (("probe", "--out", "x", "--sections", "all"), "'all' is not a section"),
        (("nonsense",), "No such command 'nonsense'"),
        (("run", "--frobnicate"), "No such option"),
    ],
)
def test_a_fault_is_one_line_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    (folder / "latin1.yaml").write_bytes("name: é".encode("latin-1"))
    before = sorted(folder.rglob("*"))
    code, out, err = run(capsys, *(argument.format(folder=folder) for argument in arguments))
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and expected in err
    assert sorted(folder.rglob("*")) == before


def test_a_bug_is_one_line_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import simsparse.config.catalogue

    def slip(kind: str | None = None) -> list[object]:
        raise KeyError(kind)

    monkeypatch.setattr(simsparse.config.catalogue, "listing", slip)
    monkeypatch.delenv("SIMSPARSE_DEBUG", raising=False)
    assert run(capsys, "hw", "list")[::2] == (70, "error: a bug: KeyError: None (SIMSPARSE_DEBUG=1 shows where)\n")
    monkeypatch.setenv("SIMSPARSE_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["hw", "list"])


def test_a_closed_pipe_is_no_error() -> None:
    with spawn("schema", "hardware") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 0


def test_an_interrupted_sweep_says_how_to_go_on(folder: Path) -> None:
    seeds = ", ".join(map(str, range(20000)))
    (folder / "long.yaml").write_text(SPEC + f"axes:\n  seed: [{seeds}]\n")
    process = spawn("sweep", folder / "long.yaml", "--out", folder / "out", "--jobs", 2, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (folder / "out" / "resolved.yaml").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "points are stored in" in err and "the same command goes on" in err and "Traceback" not in err


def test_an_interrupt_that_was_lost_comes_at_the_next_step() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), ProgressBar() as progress:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        progress(1, 2, 0)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("kind", ["experiment", "sweep", "hardware"])
def test_schema_prints_json_schema(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    code, out, _ = run(capsys, "schema", kind)
    assert code == 0 and json.loads(out)["$schema"].endswith("2020-12/schema")


def test_hw_lists_shows_and_checks(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = run(capsys, "hw", "list", "--kind", "cpu", "--json")
    assert code == 0 and "cpu/h100-host" in {part["name"] for part in json.loads(out)}
    code, out, _ = run(capsys, "hw", "show", "cpu/h100-host", "--json")
    shown = {value["path"]: value for value in json.loads(out)["values"]}
    assert shown["memory.bandwidth"]["basis"] == "measured" and shown["memory.bandwidth"]["si"] > 1e9
    assert run(capsys, "hw", "check", "cpu/h100-host")[0] == 0
    (folder / "bad.yaml").write_text("kind: link\n")
    code, out, _ = run(capsys, "hw", "check", folder / "bad.yaml", "--json")
    assert code == 1 and "is missing" in json.loads(out)["faults"][0]


def test_trace_shows_totals_by_kind(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = run(capsys, "trace", "--show", folder / "t.trace", "--json")
    kinds = {row["kind"]: row for row in json.loads(out)["kinds"]}
    assert code == 0 and kinds["linear"]["flops"] == 2 * 8 * 64 * 64 and kinds["linear"]["weight_bytes"] == 8192
    assert kinds["elementwise add"]["bytes"] == 128
    code, out, _ = run(capsys, "trace", "--show", folder / "t.trace")
    assert code == 0 and "65.54 kFLOP" in out


def test_validate_reports_sections_and_fails_beyond_a_tolerance(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    row = {"section": "mem", "op": "d2d_copy", "bytes": 1 << 30, "s": 1.0}
    (folder / "far.jsonl").write_text(json.dumps(row) + "\n")
    arguments = ("validate", "--data", folder / "far.jsonl", "--hw", "gpu/h100-sxm5-80gb")
    code, out, _ = run(capsys, *arguments)
    assert code == 1 and "mem" in out and "FAIL" in out
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 1 and json.loads(out)["passed"] is False


def test_models_and_doctor_list_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "models", "--json")
    assert code == 0 and json.loads(out)["llama2-7b"]["family"] == "llama"
    assert json.loads(out)["crepe-full"]["phases"] == ["forward"]
    code, out, _ = run(capsys, "models")
    assert code == 0 and "efficientnet-lite0" in out
    code, out, _ = run(capsys, "doctor", "--json")
    marks = {finding["name"]: finding["mark"] for finding in json.loads(out)}
    assert marks["Python"] == marks["packages"] == marks["hardware"] == "ok"
    assert (code == 1) == ("MISSING" in marks.values())


@pytest.mark.torch
def test_a_model_is_traced_in_its_usual_phase(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "trace", "--model", "cnn-small", "--out", str(tmp_path / "a.trace"), "--json")
    assert code == 0 and json.loads(out)["meta"]["phase"] == "forward"


def test_si_prefixes() -> None:
    values = [(0.0012, "1.2 ms"), (0, "0 s"), (1, "1 s"), (2.5e13, "25 Ts"), (3e-13, "0.3 ps"), (None, "unknown")]
    assert [si(value, "s") for value, _ in values] == [text for _, text in values]


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half"), whole_folder(tmp_path / "out") as part:
        (part / "a").write_text("1")
        raise ValueError("half")
    assert not list(tmp_path.iterdir())
    with whole_folder(tmp_path / "out") as part:
        (part / "a").write_text("1")
    with whole_folder(tmp_path / "out") as part:
        (part / "b").write_text("2")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(StoreError, match="can't be written"), whole_folder(tmp_path / "out" / "a" / "c"):
        pass


class TestResultsOfRuns:
    """A run's folder is read again: by report, and by compare beside another one."""

    def folders(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, Path]:
        for name, sparsity in (("a", "dense"), ("b", "1:8")):
            code, _, _ = run(
                capsys, "run", folder / "run.yaml", "--out", folder / name, "--set", f"weight_sparsity={sparsity}",
                "--set", "system=gpu/h100-sxm5-80gb",
            )  # fmt: skip
            assert code == 0
        return folder / "a", folder / "b"

    def test_a_report_is_made_of_one_run(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        one, _ = self.folders(folder, capsys)
        code, out, _ = run(capsys, "report", one)
        assert code == 0 and (one / "report" / "index.html").is_file() and str(one) in out

    def test_compare_says_what_changed_and_by_how_much(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        one, other = self.folders(folder, capsys)
        code, out, _ = run(capsys, "compare", one, other, "--json")
        (change,) = json.loads(out)["changes"]
        assert code == 1 and change["inputs"] == [["weight_sparsity", "dense", "1:8"]]
        assert change["latency_ratio"] == pytest.approx(change["latency_s"][1] / change["latency_s"][0])
        code, out, _ = run(capsys, "compare", one, other)
        assert code == 1 and "weight_sparsity dense to 1:8" in out
        code, out, _ = run(capsys, "compare", one, one / "result.json")
        assert code == 0 and "1 point agrees" in out

    def test_points_of_sweeps_are_partners_by_their_place(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run(capsys, "sweep", folder / "sweep.yaml", "--out", folder / "a")
        (folder / "sweep.yaml").write_text(SWEEP.replace("[dense, 2:4]", "[2:4, 1:4]") + "seed: 3\n")
        run(capsys, "sweep", folder / "sweep.yaml", "--out", folder / "b")
        _, out, _ = run(capsys, "compare", folder / "a", folder / "b", "--json")
        found = json.loads(out)
        assert [each["place"] for each in found["changes"]] == ["weight_sparsity=2:4"]
        assert found["only_a"] == ["weight_sparsity=dense"] and found["only_b"] == ["weight_sparsity=1:4"]

    def test_what_is_no_result_is_refused(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "result.json").write_text("[]")
        for path in (folder, folder / "nope"):
            code, _, err = run(capsys, "compare", path, path)
            assert code == 2 and "error:" in err


@pytest.mark.parametrize(
    ("words", "begun", "found"),
    [
        ("simsparse", "esti", "estimate"),
        ("simsparse hw", "ch", "check"),
        ("simsparse run", "--st", "--stack"),
        ("simsparse estimate --hw", "gpu/h100-sx", "gpu/h100-sxm5-80gb"),
        ("simsparse hw show", "systems/h100-pc", "systems/h100-pcie5"),
    ],
)
def test_shells_complete_commands_options_and_parts(words: str, begun: str, found: str) -> None:
    asked = {"_SIMSPARSE_COMPLETE": "complete_bash", "COMP_WORDS": f"{words} {begun}"}
    asked["COMP_CWORD"] = str(len(words.split()))
    process = spawn(env={**os.environ, **asked})
    out, _ = process.communicate(timeout=60)
    assert found in out.split()


def test_the_package_runs_as_a_module() -> None:
    found = subprocess.run([sys.executable, "-m", "simsparse", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.strip()


def test_a_result_is_read_as_it_was_saved_and_shows_itself_in_notebooks(tmp_path: Path) -> None:
    trace = TraceBuilder("<t>").add(ops.linear(64, 64, 64, weight_sparsity="1:8")).build()
    result = simulate(trace, "gpu/h100-sxm5-80gb")
    again = Result.load(result.save(tmp_path / "result.json"))
    assert again.summary() == result.summary() and again.ops == result.ops and again.timeline == result.timeline
    html = result._repr_html_()
    assert "&lt;t&gt;" in html and "<t>" not in html and "latency" in html
