# SPDX-License-Identifier: Apache-2.0
"""Stores and tables of hostile origin: each ends in a typed error, and what is written hurts no reader."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simsparse.cli import main
from simsparse.core import OpResult
from simsparse.errors import SpecError, StoreError
from simsparse.report.reader import read_any
from simsparse.store import STORE_NAME, Reader, write_csv
from simsparse.store.served import SERVED_NAME, ServedStore
from simsparse.text import printable
from simsparse.validate.measurement import MAX_LINES, measurements, read_measurements


def store(folder: Path, ops: bytes | None = None, result: str = "{}", view: bool = False) -> Reader:
    """A store of one point."""
    with closing(sqlite3.connect(folder / STORE_NAME)) as file, file:
        file.execute("CREATE TABLE points (key TEXT PRIMARY KEY, result TEXT, error TEXT, ops BLOB, timeline BLOB)")
        if view:
            file.execute(
                "CREATE VIEW rows AS WITH RECURSIVE n(idx) AS (SELECT 0 UNION ALL SELECT idx + 1 FROM n) "
                "SELECT idx, 'a' AS key, '{}' AS axes FROM n"
            )
        else:
            file.execute("CREATE TABLE rows (idx INTEGER PRIMARY KEY, key TEXT NOT NULL, axes TEXT NOT NULL)")
            file.execute("INSERT INTO rows VALUES (0, 'a', '{}')")
        file.execute("INSERT INTO points VALUES ('a', ?, NULL, ?, NULL)", (result, ops))
    return Reader(folder / STORE_NAME)


def columns(**values: Any) -> bytes:
    return zlib.compress(json.dumps({name: ["a"] for name in OpResult._fields} | values).encode())


@pytest.mark.parametrize(
    "ops",
    [zlib.compress(bytes(300 << 20)), b"no zlib", zlib.compress(b"[1]"), zlib.compress(b'{"name": 3}'),
     columns(kind=["a", "b"]), zlib.compress(b'{"name": ["a"]}'), zlib.compress(b"{"),
     columns(start_s=["a"]), columns(flops=[1.5]), columns(flops=[10**50]), columns(name=[["a"]]), 10**11, "text"],
    ids=["bomb", "damage", "list", "number", "ragged", "missing", "cut", "word", "fraction", "huge", "nested", "size",
         "text"],
)  # fmt: skip
def test_operators_of_hostile_form_are_damage(tmp_path: Path, ops: Any) -> None:
    with pytest.raises(StoreError, match=f"{STORE_NAME}: is damaged: ops of point a"):
        store(tmp_path, ops).ops()["a"]


@pytest.mark.parametrize("result", ["[", "[]", '{"latency_s": 1' + "0" * 400 + "}"])
def test_results_of_hostile_form_are_damage(tmp_path: Path, result: str) -> None:
    with pytest.raises(StoreError, match="is damaged"):
        list(store(tmp_path, result=result).rows())


def test_a_view_without_end_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="rows is a view"):
        list(store(tmp_path, view=True).rows())


def test_cells_that_a_spreadsheet_would_compute_are_texts(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": ["=1+1", "@x", "-a", "+b", "plain"], "number": [-1.0, 2.0, 3.0, 4.0, 5.0]})
    write_csv(frame, tmp_path)
    back = pd.read_csv(tmp_path / "results.csv")
    assert list(back["label"]) == ["'=1+1", "'@x", "'-a", "'+b", "plain"]
    assert list(back["number"]) == [-1.0, 2.0, 3.0, 4.0, 5.0]


def test_control_characters_do_not_reach_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2Jb\u009b\n\tc") == "a\\x1b[2Jb\\x9b\n\tc"
    with pytest.raises(SystemExit):
        main(["estimate", "linear", "m=\x1b[31m", "--hw", "gpu/h100-sxm5-80gb"])
    assert "\x1b" not in capsys.readouterr().err


def test_numbers_beyond_floats_name_their_row() -> None:
    (row,) = measurements([{"section": "mem", "s": 10**400}])
    with pytest.raises(SpecError, match=r"rows:1: s: is larger"):
        row.number("s")


def test_a_file_without_rows_is_no_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["validate", "--data", "/dev/null", "--hw", "gpu/h100-sxm5-80gb"])
    assert left.value.code == 2
    assert "has no rows" in capsys.readouterr().err


def test_lines_of_measurements_have_a_limit(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n" * (MAX_LINES + 1))
    with pytest.raises(SpecError, match=rf"a\.jsonl: {MAX_LINES + 1} lines; at most {MAX_LINES} are read"):
        read_measurements(tmp_path / "a.jsonl")


@pytest.mark.parametrize("text", ["[" * 200_000, "null", '{"ops": [], "cache": []}'], ids=["nested", "null", "list"])
def test_a_result_file_of_any_content_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(text)
    with pytest.raises(StoreError, match=r"result\.json.*is no result of a run"):
        read_any(file)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "null", "{", b"\xff"])
def test_a_kept_run_of_odd_content_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with ServedStore(tmp_path) as store:
        store.put("abc", {"latency": 1.0}, None)
    with closing(sqlite3.connect(tmp_path / SERVED_NAME)) as db, db:
        db.execute("UPDATE runs SET summary = ?", (text,))
    with ServedStore(tmp_path) as store, pytest.raises(StoreError, match=r"served\.sqlite.*abc.*no JSON mapping"):
        store.runs()
