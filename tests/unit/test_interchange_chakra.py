# SPDX-License-Identifier: Apache-2.0
"""Chakra traces: what other tools read and write, and what is refused by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from interchange_traces import mixed

from simsparse.core import DType, Op, OpKind, Trace
from simsparse.errors import TraceError
from simsparse.trace.interchange import Imported, ImportOptions, export_trace, import_trace
from simsparse.trace.interchange import wire as protobuf


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


def test_an_op_of_every_kind_survives_chakra(tmp_path: Path) -> None:
    other = Op(OpKind.OTHER, "odd", {"read_bytes": 1, "write_bytes": 0, "flops": 0}, DType.FP8, label="x")
    export_trace(Trace("t", (other,)), tmp_path / "a.et")
    assert import_trace(tmp_path / "a.et").trace.ops == (other,)
