# SPDX-License-Identifier: Apache-2.0
"""Traces from and to other tools: what a format carries comes back, what it can't is said."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from interchange_traces import images, mixed

from simsparse.core import DType, Trace, TraceBuilder, ops
from simsparse.core.kinds.conv2d import strides
from simsparse.errors import SimsparseError, SpecError, TraceError
from simsparse.trace import load_trace
from simsparse.trace.interchange import TRACE_FORMATS, ImportOptions, dims_of, export_trace, import_trace
from simsparse.trace.interchange.base import Notes
from simsparse.trace.interchange.products import identifier, products, unique

COMMITTED = Path(__file__).resolve().parents[2] / "traces"


@pytest.mark.parametrize("suffix", [".et", ".parquet"])
def test_formats_with_room_for_everything_give_the_same_trace(tmp_path: Path, suffix: str) -> None:
    export_trace(mixed(), tmp_path / f"a{suffix}")
    assert import_trace(tmp_path / f"a{suffix}").trace == mixed()


@pytest.mark.parametrize("name", ["mixtral-8x7b-decode-b8", "minilm-2-4", "cnn-small"])
@pytest.mark.parametrize("suffix", [".et", ".parquet"])
def test_committed_traces_go_there_and_back(tmp_path: Path, suffix: str, name: str) -> None:
    trace = load_trace(COMMITTED / f"{name}.trace")
    export_trace(trace, tmp_path / f"a{suffix}")
    assert import_trace(tmp_path / f"a{suffix}").trace == trace


def test_a_table_has_the_numbers_of_every_op(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    export_trace(mixed(), tmp_path / "a.parquet")
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [(row["name"], row["flops"], row["min_bytes"]) for row in rows] == [
        (op.name, op.flops, op.min_bytes) for op in mixed().ops
    ]


def test_gemms_go_to_scale_sim_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    notes = export_trace(mixed(), path)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["Layer", "M", "N", "K", "Sparsity", ""]
    assert rows[1] == ["layers.0.q", "4", "16", "8", "2:4", ""]
    assert rows[2] == ["loose", "4", "16", "10", "1:1", ""]
    assert rows[3] == ["attention.scores_x8", "4", "6", "8", "1:1", ""]
    assert any("N:M only" in note for note in notes) and any("_xN" in note for note in notes)
    back = import_trace(path, options=ImportOptions(dtype=DType.INT8)).trace.ops
    assert (back[0].dims, str(back[0].weight_sparsity), back[0].dtype) == ({"m": 4, "n": 16, "k": 8}, "2:4", DType.INT8)
    assert [op.name for op in back] == [row[0] for row in rows[1:]]


def test_convolutions_go_to_scale_sim_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    export_trace(images(), path)
    rows = {row[0]: row[1:-1] for row in list(csv.reader(path.read_text().splitlines()))[1:]}
    assert rows["stem"] == ["33", "33", "3", "3", "3", "8", "2", "1:1"]
    assert rows["depthwise_DP"] == ["18", "18", "3", "3", "8", "1", "1", "1:1"]
    assert rows["point"] == ["16", "16", "1", "1", "8", "16", "1", "1:4"]
    assert rows["grouped_x2"] == ["576", "200", "1", "200", "1", "4", "1", "1:1"]
    back = {op.name: op for op in import_trace(path).trace.ops}
    for name, op in zip(back, images().ops, strict=True):
        assert back[name].dense_macs * (2 if name.endswith("_x2") else 1) == op.dense_macs
        assert back[name].weight_sparsity == op.weight_sparsity
    assert back["depthwise_DP"].dims["groups"] == 8


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("q,4,16,x,", r"a\.csv:2: q: k 'x' is not a positive whole number"),
        ("q,4,16,", r"a\.csv:2: q: k '' is not a positive"),
        ("q,0,16,8,", "not a positive whole number"),
        ("q,4,16,8,5:4,", "'5:4' is not a sparsity"),
        (f"q,{'9' * 30},16,8,", "not a positive whole number"),
        (f"q,{2**61},{2**61},8,", "64 bits"),
    ],
)
def test_a_wrong_topology_is_refused_by_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"Layer, M, N, K,\n{line}\n")
    with pytest.raises(TraceError, match=says):
        import_trace(path)


CONV_HEAD = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"


@pytest.mark.parametrize(
    ("header", "line", "dims"),
    [
        (CONV_HEAD, "c, 9, 7, 3, 3, 2, 4, 2, # first, of two", {"h_out": 4, "w_out": 3, "batch": 1}),
        (CONV_HEAD, "c, 9, 7, 3, 3, 2, 4, 2, first", {"h_out": 4, "w_out": 3}),
        (CONV_HEAD.replace("Strides", "Stride height, Stride width"), "c,9,7,3,3,2,4,1,2,", {"h_out": 7, "w_out": 3}),
        (CONV_HEAD.replace("Strides", "Stride W, Stride H"), "c,9,7,3,3,2,4,1,2,", {"h_out": 4, "w_out": 5}),
        (CONV_HEAD.replace("Strides", "Stride height,Stride width"), "c,9,7,3,3,2,4,1,2,1,1,", {"h_out": 7}),
        (CONV_HEAD + " Batch Size,", "c,9,7,3,3,2,4,1,5,", {"batch": 5, "h_out": 7}),
        ("Layer,M,N,K,Batch,", "heads,4,6,8,3,", {"batch": 3, "m": 4, "n": 6, "k": 8}),
        ("Layer,M,N,K,Comments", "l,4,6,8,a product", {"m": 4, "n": 6, "k": 8}),
    ],
)
def test_columns_of_a_topology_are_known_by_their_names(
    tmp_path: Path, header: str, line: str, dims: dict[str, int]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n# a line of comment\n{line}\n")
    (op,) = import_trace(path).trace.ops
    assert {key: op.dims[key] for key in dims} == dims
    assert op.weight_sparsity.is_dense


@pytest.mark.parametrize(
    ("header", "line", "says"),
    [
        (CONV_HEAD, "c,9,7,3,3,2,4,2,1,", r"a\.csv:2: c: a cell 1 behind the 8 columns.*Stride height"),
        (CONV_HEAD + " Dilation,", "c,9,7,3,3,2,4,2,1,", r"a\.csv:1: column 'Dilation' is unknown"),
        (CONV_HEAD.replace("Strides", "Stride height"), "c,9,7,3,3,2,4,2,", "expected a column Strides, or Stride"),
        (CONV_HEAD.replace("Channels, ", ""), "c,9,7,3,3,2,4,2,", "no column is channels"),
        ("Layer,M,N,K,Sparsity,Batch,", "heads,4,6,8,2:4,3,", "3 products in a batch have no one weight"),
    ],
)
def test_a_column_that_can_not_be_read_is_named(tmp_path: Path, header: str, line: str, says: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n{line}\n")
    with pytest.raises(TraceError, match=says):
        import_trace(path)


def test_a_ratio_without_a_column_is_the_sparsity_as_for_scale_sim(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Layer,M,N,K,\nq,4,16,8,2:4,\n")
    assert str(import_trace(path).trace.ops[0].weight_sparsity) == "2:4"


def test_names_that_scale_sim_takes_for_depthwise_are_changed(tmp_path: Path) -> None:
    trace = TraceBuilder("t").add(ops.linear(1, 2, 4, name="DPR,ctx")).build()
    export_trace(trace, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "DpR_ctx,1,2,4,1:1,"


def test_timeloop_problems_are_one_a_shape_with_bounds_and_densities(tmp_path: Path) -> None:
    out = tmp_path / "a.timeloop"
    notes = export_trace(mixed(), out)
    index = list(csv.DictReader((out / "problems.csv").read_text().splitlines()))
    assert sum(int(row["macs"]) for row in index) == sum(p.macs for p in products(mixed(), Notes()))
    problem = yaml.safe_load((out / index[0]["problem"]).read_text())["problem"]
    assert problem["instance"] == {
        "M": 4, "N": 16, "K": 8, "densities": {"Weights": {"distribution": "fixed_structured", "density": 0.5}},
    }  # fmt: skip
    assert problem["shape"]["dimensions"] == ["M", "N", "K"]
    loose = yaml.safe_load((out / index[1]["problem"]).read_text())["problem"]["instance"]["densities"]
    assert loose == {"Weights": {"distribution": "hypergeometric", "density": 0.125}}
    assert any("group size is not" in note for note in notes)
    with pytest.raises(TraceError, match="exists already"):
        export_trace(mixed(), out)


def check_shape(shape: dict[str, Any], instance: dict[str, Any]) -> None:
    """What Timeloop's parser asserts: one-letter dimensions, all bounded; projections name them and coefficients."""
    coefficients = {each["name"] for each in shape.get("coefficients", [])}
    assert all(len(name) == 1 and instance[name] >= 1 for name in shape["dimensions"])
    for space in shape["data_spaces"]:
        for expression in space["projection"]:
            for term in expression:
                assert term[0] in shape["dimensions"] and set(term[1:]) <= coefficients and len(term) <= 2
    assert [space.get("read_write", False) for space in shape["data_spaces"]].count(True) == 1


@pytest.mark.parametrize("trace", [mixed(), images()], ids=["mixed", "images"])
def test_every_timeloop_problem_has_the_shape_its_parser_wants(tmp_path: Path, trace: Trace) -> None:
    export_trace(trace, tmp_path / "a.timeloop")
    for path in (tmp_path / "a.timeloop").glob("*.yaml"):
        problem = yaml.safe_load(path.read_text())["problem"]
        check_shape(problem["shape"], problem["instance"])


@pytest.mark.parametrize("trace", [mixed(), images()], ids=["mixed", "images"])
def test_accelforge_einsums_run_as_often_as_the_products(tmp_path: Path, trace: Trace) -> None:
    notes = export_trace(trace, tmp_path / "a.yaml")
    einsums = yaml.safe_load((tmp_path / "a.yaml").read_text())["workload"]["einsums"]
    assert len({each["name"] for each in einsums}) == len(einsums)
    total = 0
    for einsum in einsums:
        points = 1
        for bound in einsum["iteration_space_shape"]:
            points *= int(bound.rsplit("<", 1)[1])
        total += points * einsum["n_instances"]
        assert [access.get("output", False) for access in einsum["tensor_accesses"]] == [False, False, True]
    assert total == sum(product.macs for product in products(trace, Notes()))
    assert any("no sparsity" in note for note in notes)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(224, 7, 2, 3), (32, 3, 1, 1), (227, 11, 4, 0), (6, 5, 1, 0), (56, 1, 2, 0), (15, 3, 2, 1), (7, 7, 1, 0)],
)
def test_strides_are_found_again_from_sizes(size: int, kernel: int, stride: int, padding: int) -> None:
    op = ops.conv2d(1, 1, 1, size, size, kernel, kernel, stride=stride, padding=padding)
    assert strides(op) == (stride, stride)
    assert "stride_h" not in op.dims


def test_a_stride_that_sizes_do_not_give_is_kept() -> None:
    op = ops.conv2d(1, 1, 1, 32, 32, 3, 3, stride=(2, 1), padding=(8, 1), dilation=(1, 2))
    assert strides(op) == (2, 1)
    assert dict(op.dims)["stride_h"] == 2 and op.dims["dilation_w"] == 2


def test_names_for_other_tools_are_identifiers_and_unique() -> None:
    assert identifier("model.layers.0.q-proj") == "model_layers_0_q_proj"
    assert identifier("0.a").isidentifier() and identifier("…").isidentifier()
    taken: set[str] = set()
    assert [unique("a", taken) for _ in range(3)] == ["a", "a_2", "a_3"]


def test_a_trace_without_products_can_not_go_to_dataflow_tools(tmp_path: Path) -> None:
    trace = TraceBuilder("t").add(ops.elementwise(8, 8)).build()
    for name in ("a.csv", "a.timeloop", "a.yaml"):
        with pytest.raises(TraceError, match="no matrix product"):
            export_trace(trace, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_formats_are_chosen_by_suffix_or_name(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"suffix of 'a\.xyz'.*--format"):
        import_trace(tmp_path / "a.xyz")
    with pytest.raises(SpecError, match="did you mean chakra"):
        import_trace(tmp_path / "a.et", "chakr")
    with pytest.raises(TraceError, match="timeloop can't be imported"):
        import_trace(tmp_path / "a.et", "timeloop")
    with pytest.raises(TraceError, match="onnx can't be exported"):
        export_trace(mixed(), tmp_path / "a.onnx", "onnx")
    export_trace(mixed(), tmp_path / "odd.name", "chakra")
    assert import_trace(tmp_path / "odd.name", "chakra").trace == mixed()
    assert all(TRACE_FORMATS.get(name).name == name for name in TRACE_FORMATS)


def test_sizes_of_symbolic_dims_are_checked() -> None:
    assert dims_of(["batch=8", "?=1"]) == {"batch": 8, "?": 1}
    for text in ("batch", "=8", "batch=0", "batch=-1", "batch=1e3", f"batch={'9' * 400}"):
        with pytest.raises(TraceError, match="NAME=SIZE"):
            dims_of([text])


@pytest.mark.parametrize("suffix", [".et", ".parquet", ".csv", ".yaml"])
def test_a_path_that_can_not_be_written_is_a_typed_error(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(SimsparseError, match="can't be written"):
        export_trace(mixed(), tmp_path / "none" / f"a{suffix}")
