# SPDX-License-Identifier: Apache-2.0
"""Every command prints JSON that any parser reads, and shows that it is at work."""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from simsparse.cli import main, progress
from simsparse.cli.app import command
from simsparse.cli.console import emit_json, note
from simsparse.core import TraceBuilder, ops
from simsparse.validate import validate_file

HW = "gpu/h100-sxm5-80gb"
ROWS = [{"section": "mem", "op": "d2d_copy", "bytes": 1 << 20, "s": 1e-6 * n} for n in range(1, 101)]
EXAMPLES = {
    "layouts": "t.trace --system systems/h200-x2-nvlink",
    "cards": "t.trace --hw gpu/h100-sxm5-80gb,gpu/a100-sxm4-80gb --stack fused",
    "compare": "run run",
    "crossover": "linear n=4096 k=4096 --hw gpu/h100-sxm5-80gb --tokens 1,16",
    "cycles": "t.trace --hw accel/sat-vcu1525",
    "dram": "memory/ddr4-2400 --bytes 4096",
    "density": "--out density --part accel/gamma --size 32",
    "design": "int8.trace --sides 16,32 --buffers 64 --patterns dense,2:4",
    "doctor": "",
    "estimate": "linear m=8 n=64 k=64 --hw gpu/h100-sxm5-80gb",
    "gain": "int8.trace --sparsity 2:4 --side 16 --buffer 64",
    "headroom": "t.trace --hw gpu/h100-sxm5-80gb --stack fused",
    "hw area": "accel/nm-array-16nm",
    "hw check": "cpu/h100-host",
    "hw fit": "--data card.jsonl --extends gpu/h100-sxm5-80gb --out own.yaml",
    "hw list": "",
    "hw show": "cpu/h100-host",
    "map": "linear m=8 n=64 k=64 dtype=int8 --hw spatial/gemmini-16x16",
    "models": "",
    "probe": "--out probe.jsonl",
    "pruning": "--out pruning --model minilm --pattern 2:4",
    "report": "run",
    "rtl area": "--out area",
    "rtl datapath": "--out datapath --liberty t.trace --sta python3",
    "rtl export": "export",
    "rtl fmax": "nm_dot_pe --out fmax",
    "rtl synth": "nm_dot_pe",
    "rtl verify": "nm_dot_pe",
    "run": "run.yaml",
    "schema": "sweep",
    "serve": "serving.yaml",
    "study": "--list",
    "sweep": "sweep.yaml --out sweep",
    "trace": "--show t.trace",
    "validate": "--data rows.jsonl --hw gpu/h100-sxm5-80gb",
}
"""One use of each command, in the folder of the fixture ``files``."""
GROUPS = {"dram": pytest.mark.xdist_group("dram")}


def leaves(group: Any = None, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command by the words that call it."""
    for name, each in (group or command()).commands.items():
        if hasattr(each, "commands"):
            yield from leaves(each, f"{path}{name} ")
        else:
            yield path + name, each


def test_every_command_takes_json_and_has_an_example() -> None:
    found = dict(leaves())
    assert sorted(found) == sorted(EXAMPLES)
    assert not [name for name, each in found.items() if not any("--json" in one.opts for one in each.params)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder, the current one, with a trace, specs, measured rows and the result of a run."""
    monkeypatch.chdir(tmp_path)
    t = TraceBuilder("t").add(ops.linear(8, 64, 64, weight_sparsity="2:4")).add(ops.elementwise(64, 64, label="add"))
    t.build().save("t.trace")
    TraceBuilder("i").add(ops.linear(8, 64, 64, "int8")).build().save("int8.trace")
    spec = f"name: n\nworkload: {{trace: t.trace}}\nsystem: {HW}\n"
    Path("run.yaml").write_text(spec)
    Path("sweep.yaml").write_text(spec + "axes: {weight_sparsity: [dense, 1:8]}\n")
    drawn = "{count: 5, arrivals: {kind: poisson, rate: 1}, input: 9, output: 3}"
    served = f"name: n\nmodel: llama2-7b\nsystem: systems/h200-pcie5\nrequests: {drawn}\n"
    Path("serving.yaml").write_text(served)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("card.jsonl").write_text(json.dumps({"section": "launch", "op": "tiny_kernel_graph", "s": 1e-6}) + "\n")
    with pytest.raises(SystemExit):
        main(["run", "run.yaml", "--out", "run"])
    capsys.readouterr()
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long, or needs tools or a GPU, as one small answer of its own type."""
    import simsparse.cli.checks
    import simsparse.cli.pruning
    import simsparse.probe
    import simsparse.report.density
    import simsparse.rtl.area
    import simsparse.rtl.datapath
    import simsparse.rtl.fmax
    import simsparse.rtl.synth
    import simsparse.rtl.verify
    from simsparse.report.pruning import PruningPoint
    from simsparse.rtl.compare import Verdict

    def synthesised(top: str, *_: Any) -> Any:
        return simsparse.rtl.synth.Netlist(top, np.int64(10), np.float64(5.0), 1.0, Path("a.v"))  # type: ignore[arg-type]

    def verified(blocks: list[Any], tiles: int, *_: Any) -> list[Any]:
        verdict = Verdict(4, 4, 9, (), frozenset({"stall"}), 3)
        return [simsparse.rtl.verify.Verification(block, tiles, verdict) for block in blocks]

    point = PruningPoint(
        "minilm", "2:4", "wanda", 16, 0.5, 0.6, "recall", "text", 5, 9, 2.0, HW, 1.0, 2.0, 1.0, 2.0, ""
    )
    figures = json.loads((Path(__file__).parents[2] / "reports/rtl/datapath.json").read_text())
    monkeypatch.setattr(simsparse.cli.checks, "_need_gpu", lambda: None)
    monkeypatch.setattr(simsparse.probe, "measure", lambda *_: 3)
    monkeypatch.setattr(simsparse.cli.pruning, "_points", lambda *_: iter([point]))
    monkeypatch.setattr(simsparse.rtl.area, "pe_areas", lambda *_: [
        simsparse.rtl.area.PeArea(2, m, 8, 10, 5.0, 1.0) for m in (0, 4)])  # fmt: skip
    curves, _ = simsparse.report.density.density_curves(32, (1.0,), ("accel/gamma",))
    monkeypatch.setattr(simsparse.report.density, "dense_arrays", lambda _: curves)
    monkeypatch.setattr(simsparse.rtl.datapath, "study", lambda *_: figures)
    monkeypatch.setattr(simsparse.rtl.fmax, "clocks", lambda blocks, *_: [
        simsparse.rtl.fmax.Clock(block, 100.0, 1, 2, 3, 4) for block in blocks])  # fmt: skip
    monkeypatch.setattr(simsparse.rtl.synth, "synthesise", synthesised)
    monkeypatch.setattr(simsparse.rtl.verify, "verify", verified)


def strict(text: str) -> Any:
    """``text`` as JSON, without the constants that only Python reads."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.usefixtures("files", "quick")
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=GROUPS[each]) if each in GROUPS else each for each in EXAMPLES]
)
def test_every_command_prints_json_and_nothing_else(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), *EXAMPLES[name].split(), "--json"])
    out, err = capsys.readouterr()
    assert ended.value.code in (0, 1), err
    assert strict(out)


def test_numbers_stay_numbers_and_what_json_lacks_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"a": np.int64(3), "b": [np.float32(0.5), math.nan, math.inf], "c": (np.bool_(True), Path("x"), None),
               2: np.arange(2)})  # fmt: skip
    assert strict(capsys.readouterr().out) == {
        "a": 3, "b": [0.5, None, None], "c": [True, "x", None], "2": [0, 1]}  # fmt: skip


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(progress, "PATIENCE_S", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_a_silent_command_shows_that_it_is_at_work(terminal: Terminal) -> None:
    with contextlib.redirect_stderr(terminal), progress.waiting("run"):
        assert terminal.getvalue() == ""
        deadline = time.monotonic() + 5
        while "run: " not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "run: 0 s" in terminal.getvalue() and terminal.getvalue().endswith("\x1b[2K")


def test_a_bar_takes_the_place_of_the_spinner(terminal: Terminal) -> None:
    with contextlib.redirect_stderr(terminal), progress.waiting("run"):
        with progress.ProgressBar("points") as bar:
            for done in range(20):
                bar(done, 20, 0)
                time.sleep(0.01)
        note("done")
    assert "points" in terminal.getvalue() and "run: " not in terminal.getvalue()


def test_validation_of_one_file_counts_its_rows(files: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    report = validate_file(files / "rows.jsonl", HW, lambda *at: seen.append(at))
    assert [at for at in seen if at[0] not in (0, 100)] and seen[-1] == (100, 100, 0)
    assert [each.row.line for each in report.sections[0].predictions] == list(range(1, 101))
