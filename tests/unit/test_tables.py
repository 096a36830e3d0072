# SPDX-License-Identifier: Apache-2.0
"""Tables in place of files: operators, points of a sweep and measured rows as pandas DataFrames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import simsparse as ss
from simsparse.core.table import records
from simsparse.errors import SimsparseError, SpecError, TraceError
from simsparse.paths import data_root
from simsparse.report.reader import read_results
from simsparse.validate import validate, validate_file

HW = "gpu/h100-sxm5-80gb"
OPS = pd.DataFrame([
    {"kind": "linear", "name": "up", "m": 8, "n": 64, "k": 32, "weight_sparsity": "2:4", "module": "mlp.up"},
    {"kind": "elementwise", "read_bytes": 1024, "write_bytes": 512, "label": "silu"},
    {"kind": "conv2d", "batch": 1, "c_in": 3, "c_out": 8, "h_in": 8, "w_in": 8, "kh": 3, "kw": 3, "deps": "up"},
    {"kind": "attention", "batch": 2, "heads": 4, "kv_heads": 2, "head_dim": 16, "q_len": 1, "kv_len": 99, "deps": []},
])  # fmt: skip


def test_cells_are_plain_and_missing_ones_are_left_out() -> None:
    frame = pd.DataFrame({"a": [1, None], "b": [np.nan, 0.5], "c": ["x", None], "d": pd.array([True, pd.NA])})
    assert records(frame) == [{"a": 1, "c": "x", "d": True}, {"b": 0.5}]
    assert [type(value) for value in records(frame)[0].values()] == [int, str, bool]


def test_a_table_of_operators_is_a_trace() -> None:
    trace = ss.load_trace(OPS)
    up, silu, conv, attention = trace.ops
    assert (up.dims["n"], str(up.weight_sparsity), up.module) == (64, "2:4", "mlp.up")
    assert (silu.deps, conv.deps, attention.deps) == (("up",), ("up",), ())
    assert conv.dims["h_out"] == 6 and attention.dims["kv_len"] == 99
    assert ss.simulate(trace, HW).latency_s > 0


@pytest.mark.parametrize("path", sorted((data_root() / "traces").glob("*.trace*")), ids=lambda path: path.name)
def test_a_trace_is_read_again_from_its_table(path: Path) -> None:
    trace = ss.load_trace(path)
    again = ss.load_trace(trace.table())
    told = [[(op.name, op.deps, op.module, op.signature) for op in each.ops] for each in (trace, again)]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"kind": "linaer"}], "table:1: kind: 'linaer' is not an operator; did you mean linear"),
        ([{"m": 1}], "table:1: kind: '' is not an operator"),
        ([{"kind": "linear", "m": 8, "n": 8, "k": 8}, {"kind": "linear", "m": 8, "n": 0, "k": 8}],
         "table:2: n: is 0; expected a positive whole number"),
        ([{"kind": "linear", "m": 8, "n": 8, "k": 8, "heads": 3}], "table:1: heads: is nothing that linear has"),
        ([{"kind": "linear", "m": 8, "n": 8}], "missing 1 required"),
        ([{"kind": "linear", "m": 8, "n": 8, "k": 8, "deps": "later"}], "'later', which is not an earlier op"),
        ([], "table: has no rows"),
    ],
)  # fmt: skip
def test_a_wrong_cell_is_named_by_row_and_column(rows: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(TraceError) as caught:
        ss.load_trace(pd.DataFrame(rows))
    assert says in str(caught.value)


POINTS = pd.DataFrame([
    {"system": HW, "weight_sparsity": "dense"},
    {"system": "systems/h100-pcie5", "weight_sparsity": "2:4", "override.pcie.bandwidth": "100 GB/s"},
    {"system": HW, "weight_sparsity": "1:8"},
    {"system": HW, "weight_sparsity": "dense"},
]).assign(**{"workload.trace": "t.trace"})  # fmt: skip


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_a_table_of_points_is_a_sweep_in_its_order(here: Path) -> None:
    frame = ss.run_sweep(POINTS, out=here / "out")
    assert list(frame["system"]) == list(POINTS["system"]) and "rows" not in frame
    assert list(frame["weight_sparsity"]) == list(POINTS["weight_sparsity"]) and (frame["error"] == "").all()
    assert list(frame["override.pcie.bandwidth"].fillna("")) == ["", "100 GB/s", "", ""]
    assert frame["latency_s"][0] == frame["latency_s"][3]
    assert ss.run_sweep(POINTS, out=here / "out").equals(frame)
    assert read_results(here / "out").configurations[0].startswith("h100-sxm5-80gb")


def test_a_sweep_lists_rows_in_yaml_too(here: Path) -> None:
    rows = records(POINTS)
    Path("rows.yaml").write_text(json.dumps({"name": "table", "rows": rows}))
    listed, table = ss.run_sweep("rows.yaml", out=here / "a"), ss.run_sweep(POINTS, out=here / "b")
    assert listed["latency_s"].equals(table["latency_s"]) and len(listed) == len(POINTS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sytem": "x"}, "table: rows[0].sytem: is not a key; did you mean system"),
        ({"system": "gpu/h1000"}, "table: rows[0].system: 'gpu/h1000' is no part"),
        ({"weight_sparsity": "5:4"}, "table: rows[0].weight_sparsity"),
        ({"override.gpu0.nothing": "1"}, "table: rows[0].override.gpu0.nothing"),
    ],
)
def test_a_wrong_point_is_named_by_row_and_column(here: Path, change: dict[str, str], says: str) -> None:
    with pytest.raises(SpecError) as caught:
        ss.run_sweep(POINTS.assign(**change), out=here / "out")
    assert says in str(caught.value) and not (here / "out").exists()


def test_rows_and_axes_are_two_ways_to_say_it(here: Path) -> None:
    Path("both.yaml").write_text("name: n\naxes: {seed: [1]}\nrows: [{seed: 2}]\nworkload: {trace: t.trace}\n")
    with pytest.raises(SpecError, match="rows: stand in place of axes"):
        ss.run_sweep("both.yaml", out=here / "out")


def test_a_table_of_measurements_is_validated() -> None:
    rows = [{"section": "mem", "op": "d2d_copy", "bytes": 1 << 30, "s": 1e-3},
            {"section": "gemm_dense", "m": 64, "n": 4096, "k": 4096, "dtype": "bf16", "s": 2e-5}]  # fmt: skip
    told = [validate(rows, HW), validate(pd.DataFrame(rows), HW), validate_file(pd.DataFrame(rows), HW)]
    assert len({json.dumps(report.to_dict()["sections"], default=str) for report in told}) == 1
    with pytest.raises(SimsparseError, match=r"table:2: bytes: is missing"):
        validate(pd.DataFrame([rows[0], {"section": "mem", "op": "d2d_copy", "s": 1.0}]), HW)
