# SPDX-License-Identifier: Apache-2.0
"""Reports of stores with odd texts and of great size: whole files, in bounded memory."""

from __future__ import annotations

import sqlite3
import tracemalloc
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

import simsparse as ss
from simsparse.core import OpResult, Span, TraceBuilder, ops
from simsparse.report import build_report, report_result, tables
from simsparse.report.reader import read_results
from simsparse.store import STORE_NAME, Reader
from simsparse.store.columns import StoredRows, packed
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


def op_row(i: int) -> OpResult:
    """One of many operators, of a name of its own."""
    return OpResult(f"layers.{i}.up", "linear", "up", f"layers.{i}", "gpu0", "dense", i * 1e-6, 1e-6, 1e-3, "memory",
                    10**6, 10**5, "measured")  # fmt: skip


def test_columns_come_back_as_they_were_packed_piece_by_piece() -> None:
    odd = [op_row(i)._replace(name='a, "b\\', label="\u00e9[{", validated=None) for i in range(3)]
    rows = [*map(op_row, range(30_000)), *odd]
    stored = StoredRows(OpResult, packed(OpResult, rows))
    assert list(stored) == rows and len(stored) == len(rows)
    assert stored[-1] == rows[-1] and stored[29_999:] == rows[29_999:]
    late = [Span(10**21 + i, 10**21 + i + 1, "gpu0", "compute", "a", "linear") for i in range(3)]
    assert list(StoredRows(Span, packed(Span, late))) == late
    assert list(StoredRows(Span, packed(Span, []))) == []


def test_rows_of_many_operators_are_not_kept_in_memory() -> None:
    """Columns take about 100 bytes per operator; a row alone takes 600."""
    count = 20_000
    data = packed(OpResult, [op_row(i) for i in range(count)])
    tracemalloc.start()
    stored = StoredRows(OpResult, data)
    assert sum(1 for _ in stored) == count
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 2e6  # Arrow's own memory, of 2 MB here, is not traced


def test_tables_of_operators_are_written_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = swept(tmp_path)
    rows = [op_row(i)._replace(validated=None if i < 60 else "measured") for i in range(100)]
    with closing(sqlite3.connect(out / STORE_NAME)) as store, store:
        store.execute("UPDATE points SET ops = ?", (packed(OpResult, rows),))
    monkeypatch.setattr(tables, "AT_ONCE", 30)
    tables.write_tables(read_results(out), tmp_path)
    for table in (pd.read_csv(tmp_path / "ops.csv"), pd.read_parquet(tmp_path / "ops.parquet")):
        assert list(table["name"]) == 2 * [row.name for row in rows]
        assert list(table["latency_s"]) == 2 * [row.latency_s for row in rows]
        assert table["key"].nunique() == 2
        assert table["validated"].isna().sum() == 120
