# SPDX-License-Identifier: Apache-2.0
"""Reports of stores with odd texts and of great size: whole files, in bounded memory."""

from __future__ import annotations

import sqlite3
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

import simsparse as ss
from simsparse.core import TraceBuilder, ops
from simsparse.report import build_report, report_result
from simsparse.store import STORE_NAME, Reader
from simsparse.store.schema import packed
from simsparse.sweep import run_sweep
from simsparse.testing.fake_machine import offload_system
from simsparse.text import has_controls

CONTROLS = ["\0", "\x1b[31m", "\x7f", "\x85", "\ud800", "\ufffe"]
SWEEP = """\
name: small
workload: {trace: x.trace}
system: gpu/h100-sxm5-80gb
axes: {setup: [{label: label, level: 0}, {label: other, level: 1}]}
"""


def swept(folder: Path) -> Path:
    """The folder of a sweep of two points with their operators and timelines."""
    trace = TraceBuilder("x").add(ops.linear(8, 64, 64, name="a")).add(ops.linear(8, 640, 64, name="b"), deps=["a"])
    trace.build().save(folder / "x.trace")
    (folder / "sweep.yaml").write_text(SWEEP)
    run_sweep(folder / "sweep.yaml", folder / "out")
    return folder / "out"


def assert_whole(report: Path) -> None:
    """Figures are XML, and no file of text holds a control character."""
    figures = list(report.glob("*.svg"))
    assert figures
    for figure in figures:
        ET.parse(figure)
    for file in (*figures, *report.glob("*.csv"), *report.glob("*.html")):
        assert not has_controls(file.read_text(encoding="utf-8")), file.name


def test_control_characters_in_a_store_reach_no_figure_page_or_table(tmp_path: Path) -> None:
    out = swept(tmp_path)
    odd = "".join(CONTROLS).encode("unicode_escape").decode().replace("\\x", "\\u00")
    with closing(sqlite3.connect(out / STORE_NAME)) as store, store:
        store.execute("UPDATE rows SET axes = replace(axes, '\"label\"', ?)", (f'"a{odd}b"',))
        store.execute("UPDATE points SET result = replace(result, 'memory', ?)", (f"m{odd}",))
        store.execute("UPDATE points SET result = replace(result, '\"x\"', ?)", (f'"x{odd}"',))
        for key, (first, *rest) in Reader(out / STORE_NAME).ops().items():
            renamed = first._replace(name=f"a{''.join(CONTROLS)}", label="".join(CONTROLS))
            store.execute("UPDATE points SET ops = ? WHERE key = ?", (packed(type(first), [renamed, *rest]), key))
    build_report(out)
    assert_whole(out / "report")
    assert "a\\x00\\x1b[31m" in (out / "report" / "points.csv").read_text()
    assert "a\\x00\\x1b[31m" in (out / "report" / "index.html").read_text()


@pytest.mark.parametrize("odd", CONTROLS)
def test_control_characters_in_a_result_reach_no_figure_page_or_table(odd: str, tmp_path: Path) -> None:
    trace = TraceBuilder(f"t{odd}").add(ops.linear(8, 64, 64, name=f"a{odd}", module=odd, label=odd)).build()
    report_result(ss.simulate(trace, offload_system()), tmp_path)
    assert_whole(tmp_path)


def test_a_resolved_sweep_of_any_size_is_reported(tmp_path: Path) -> None:
    out = swept(tmp_path)
    resolved = (out / "resolved.yaml").read_text()
    (out / "resolved.yaml").write_text(resolved + "    - part of a system\n" * 400_000)
    page = build_report(out).read_text()
    assert "the rest stands in resolved.yaml" in page
    assert len(page) < 4 << 20
    assert (out / "report" / "resolved.yaml").stat().st_size == (out / "resolved.yaml").stat().st_size
    assert list(pd.read_csv(out / "report" / "points.csv")["setup"]) == ["label", "other"]
