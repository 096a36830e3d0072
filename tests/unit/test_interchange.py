# SPDX-License-Identifier: Apache-2.0
"""Traces from and to other tools: what a format carries comes back, what it can't is said."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from simsparse.core import DType, Op, OpKind, Trace, TraceBuilder, ops
from simsparse.core.kinds.conv2d import strides
from simsparse.errors import SimsparseError, SpecError, TraceError
from simsparse.trace import load_trace
from simsparse.trace.interchange import TRACE_FORMATS, Imported, ImportOptions, dims_of, export_trace, import_trace
from simsparse.trace.interchange import wire as protobuf
from simsparse.trace.interchange.base import Notes
from simsparse.trace.interchange.products import identifier, products, unique

COMMITTED = Path(__file__).resolve().parents[2] / "traces"


def mixed() -> Trace:
    builder = TraceBuilder("mixed", seed=3, note="é")
    builder.add(ops.linear(4, 16, 8, weight_sparsity="2:4", name="layers.0.q", module="layers.0.q", weight="q.weight",
                           stats={"density": 0.5}))  # fmt: skip
    builder.add(ops.linear(4, 16, 10, weight_sparsity="unstructured:0.125", name="loose"))
    builder.add(ops.attention(2, 4, 2, 8, 4, 6))
    builder.add(ops.elementwise(64, 32, 16, label="add"), deps=["layers.0.q", "loose"])
    builder.add(ops.moe_ffn(2, 8, 16, 4, routing=[[0, 1], [3, 1]], name="experts"))
    builder.add(ops.matmul(3, 4, 5, 6), deps=[])
    builder.add(ops.transfer(100, "host", "gpu0"))
    builder.add(ops.collective("all_reduce", 64, 4))
    return builder.build()


def images() -> Trace:
    builder = TraceBuilder("images")
    builder.add(ops.conv2d(1, 3, 8, 32, 32, 3, 3, stride=2, padding=1, name="stem"))
    builder.add(ops.conv2d(1, 8, 8, 16, 16, 3, 3, padding=1, groups=8, name="depthwise"))
    builder.add(ops.conv2d(1, 8, 16, 16, 16, 1, 1, weight_sparsity="1:4", name="point"))
    builder.add(ops.conv2d(4, 16, 8, 16, 16, 5, 5, groups=2, name="grouped"))
    builder.add(ops.linear(1, 10, 16, name="head"))
    return builder.build()


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


def chakra_nodes(path: Path) -> list[dict[int, list[Any]]]:
    """Field numbers to values of every message of a .et file, decoded without the reader of the importer."""
    found = []
    for _, message in protobuf.messages(path.read_bytes()):
        fields: dict[int, list[Any]] = {}
        for number, _, value in protobuf.fields(message):
            fields.setdefault(number, []).append(value)
        found.append(fields)
    return found


def test_a_chakra_file_says_flops_and_bytes_where_astra_sim_looks(tmp_path: Path) -> None:
    export_trace(mixed(), tmp_path / "a.et")
    metadata, *nodes = chakra_nodes(tmp_path / "a.et")
    assert metadata[1] == [b"1.0.0"]
    assert [node[3][0] for node in nodes] == [4, 4, 4, 4, 4, 4, 2, 7]
    attrs = [{dict(_pairs(attr))[1]: dict(_pairs(attr)) for attr in node[10]} for node in nodes]
    first = mixed().ops[0]
    assert attrs[0][b"num_ops"][9] == first.flops
    assert attrs[0][b"tensor_size"][13] == first.min_bytes
    assert attrs[0][b"is_cpu_op"][27] == 0
    assert (attrs[7][b"comm_type"][9], attrs[7][b"comm_size"][9]) == (0, 64)
    assert protobuf.numbers(2, nodes[3][5][0]) == [0, 1]


def _pairs(message: bytes) -> list[tuple[int, Any]]:
    return [(number, value) for number, _, value in protobuf.fields(message)]


def node(id: int, type: int, deps: list[int], **attrs: int) -> bytes:
    """A Node message as another tool would write it."""
    fields = {"num_ops": 9, "tensor_size": 13, "comm_type": 9, "comm_size": 9}
    body = protobuf.put(1, id) + protobuf.put(2, f"n{id}") + protobuf.put(3, type)
    body += b"".join(protobuf.put(5, dep) for dep in deps)
    body += b"".join(
        protobuf.put(10, protobuf.put(1, key) + protobuf.put(fields[key], size)) for key, size in attrs.items()
    )
    return protobuf.put_message(body)


def test_another_tools_chakra_file_is_ordered_by_its_dependencies(tmp_path: Path) -> None:
    path = tmp_path / "rank.0.et"
    path.write_bytes(
        protobuf.put_message(protobuf.put(1, "0.0.4")) + node(7, 7, [9], comm_type=6, comm_size=1000)
        + node(9, 4, [2], num_ops=10**9, tensor_size=10**6) + node(2, 2, [], tensor_size=500)
        + node(3, 1, [2])
    )  # fmt: skip
    found = import_trace(path, options=ImportOptions(ranks=8))
    assert [(op.name, op.kind, op.deps) for op in found.trace.ops] == [
        ("n2", OpKind.TRANSFER, ()), ("n9", OpKind.OTHER, ("n2",)), ("n7", OpKind.COLLECTIVE, ("n9",)),
    ]  # fmt: skip
    assert (found.trace.ops[1].flops, found.trace.ops[1].min_bytes) == (10**9, 10**6)
    assert found.trace.ops[2].label == "all_to_all" and found.trace.ops[2].dims == {"bytes": 1000, "ranks": 8}
    assert any("type 1" in note for note in found.notes)
    with pytest.raises(TraceError, match=r"rank\.0\.et: node 7 n7: .*give ranks"):
        import_trace(path)


def chakra(tmp_path: Path, *nodes: bytes, ranks: int | None = 4) -> Imported:
    path = tmp_path / "rank.et"
    path.write_bytes(protobuf.put_message(protobuf.put(1, "0.0.4")) + b"".join(nodes))
    return import_trace(path, options=ImportOptions(ranks=ranks))


@pytest.mark.parametrize(
    ("type_", "label"),
    [(0, "all_reduce"), (1, "reduce"), (3, "gather"), (4, "scatter"), (5, "broadcast"), (8, "reduce_scatter")],
)
def test_a_chakra_collective_is_that_of_its_name(tmp_path: Path, type_: int, label: str) -> None:
    found = chakra(tmp_path, node(3, 7, [], comm_type=type_, comm_size=1000))
    (op,) = found.trace.ops
    assert (op.label, dict(op.dims)) == (label, {"bytes": 1000, "ranks": 4})
    rooted = label in ("reduce", "gather", "scatter", "broadcast")
    assert any("root" in note for note in found.notes) is rooted


def test_chakra_collectives_of_no_bytes_are_left_out_by_name(tmp_path: Path) -> None:
    found = chakra(tmp_path, node(3, 7, [], comm_type=0, comm_size=0), node(4, 7, [3], comm_type=9),
                   node(5, 4, [4], num_ops=8))  # fmt: skip
    assert [op.name for op in found.trace.ops] == ["n5"]
    assert {"left out: all_reduce of no bytes (n3)", "left out: barrier, which moves no bytes (n4)"} <= {*found.notes}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (node(41, 7, [], comm_type=77, comm_size=8), "node 41 n41: comm_type 77 is no collective"),
        (node(41, 4, [], num_ops=2**63 + 5), r"node 41 n41: num_ops: -\d+ is not a whole number"),
        (node(41, 7, [], comm_type=0, comm_size=2**62), "node 41 n41"),
    ],
)
def test_a_chakra_error_names_the_node(tmp_path: Path, bad: bytes, says: str) -> None:
    with pytest.raises(TraceError, match=r"rank\.et: " + says):
        chakra(tmp_path, bad)


def test_process_groups_that_a_chakra_file_only_names_are_noted(tmp_path: Path) -> None:
    named = protobuf.put_message(
        protobuf.put(1, 3) + protobuf.put(2, "tp") + protobuf.put(3, 7)
        + b"".join(protobuf.put(10, protobuf.put(1, key) + protobuf.put(number, value))
                   for key, number, value in (("comm_type", 9, 0), ("comm_size", 9, 64), ("pg_name", 29, "tp")))
    )  # fmt: skip
    assert "process groups are left out: every collective joins all 4 ranks (tp)" in chakra(tmp_path, named).notes
    (tmp_path / "rank.groups.json").write_text('{"tp": [0, 2, 5]}')
    (op,) = chakra(tmp_path, named, ranks=None).trace.ops
    assert (op.group, op.dims["ranks"]) == (("gpu0", "gpu2", "gpu5"), 3)
    (tmp_path / "rank.groups.json").write_text('{"tp": [0, "x"]}')
    with pytest.raises(TraceError, match="a mapping of names to lists of ranks"):
        chakra(tmp_path, named)


@pytest.mark.parametrize("length", [0, 1, 3, 5, 9])
def test_a_chakra_double_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    attr = protobuf.put(1, "x") + protobuf.put(3, bytes(length))
    with pytest.raises(TraceError, match=r"rank\.et: byte .*4 or 8 bytes"):
        chakra(tmp_path, protobuf.put_message(protobuf.put(1, 1) + protobuf.put(10, attr)))


def test_a_circle_of_dependencies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.et"
    path.write_bytes(protobuf.put_message(b"") + node(1, 4, [2], num_ops=1) + node(2, 4, [1], num_ops=1))
    with pytest.raises(TraceError, match="in a circle"):
        import_trace(path)


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


def test_an_op_of_every_kind_survives_chakra(tmp_path: Path) -> None:
    other = Op(OpKind.OTHER, "odd", {"read_bytes": 1, "write_bytes": 0, "flops": 0}, DType.FP8, label="x")
    export_trace(Trace("t", (other,)), tmp_path / "a.et")
    assert import_trace(tmp_path / "a.et").trace.ops == (other,)
