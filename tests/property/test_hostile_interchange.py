# SPDX-License-Identifier: Apache-2.0
"""Other tools' files, damaged: a trace or a TraceError, never anything else, and no memory for sizes that lie."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from simsparse.core import Trace, TraceBuilder, ops
from simsparse.errors import TraceError
from simsparse.limits import Limits
from simsparse.trace.interchange import ImportOptions, export_trace, import_trace, wire
from tests.conftest import SEED, draws

DATA = Path(__file__).resolve().parents[1] / "unit" / "data"
OPTIONS = ImportOptions(ranks=2)
HOSTILE = [b"1e999", b"-1", b"null", b'"', b"[[[[", b"9" * 400, b"\x00", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
           b"true", b"\n", b",", b"4:0", b"Tensor(float)"]  # fmt: skip


def sample() -> Trace:
    builder = TraceBuilder("sample")
    builder.add(ops.linear(4, 16, 8, weight_sparsity="2:4", name="q", stats={"density": 0.5}))
    builder.add(ops.moe_ffn(2, 8, 16, 4, routing=[[0, 1], [3, 1]], name="experts"))
    builder.add(ops.collective("all_reduce", 64, 4))
    return builder.build()


def whole(folder: Path, suffix: str) -> bytes:
    """An undamaged file of each format."""
    if suffix == ".json":
        return gzip.decompress((DATA / "torch_et.json.gz").read_bytes())
    if suffix == "torch.et":
        return gzip.decompress((DATA / "torch_et.et.gz").read_bytes())
    if suffix == "other.et":
        bare = (
            wire.put(1, 1) + wire.put(2, "a") + wire.put(3, 4) + wire.put(10, wire.put(1, "num_ops") + wire.put(9, 5))
        )
        return wire.put_message(wire.put(1, "x")) + wire.put_message(bare)
    export_trace(sample(), folder / f"whole{suffix}")
    return (folder / f"whole{suffix}").read_bytes()


def damaged(content: bytes, rng: random.Random) -> bytes:
    text = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, kind = rng.randrange(len(text) + 1), rng.randrange(4)
        if kind == 0 and at < len(text):
            text[at] = rng.randrange(256)
        elif kind == 1:
            del text[at : at + rng.randrange(40)]
        elif kind == 2:
            text[at:at] = text[at : at + rng.randrange(60)]
        else:
            text[at : at + rng.randrange(3)] = rng.choice(HOSTILE)
        if not text:
            return b""
    return bytes(text)


def read_damaged(path: Path, content: bytes, count: int, seed: int) -> int:
    """How many of ``count`` damaged files were refused; any error but a TraceError with the file's name fails."""
    rng, refused = random.Random(seed), 0
    for i in range(count):
        spoilt = damaged(content, rng) if i % 5 else content[: rng.randrange(len(content))]
        path.write_bytes(gzip.compress(spoilt, 1) if i % 7 == 0 else spoilt)
        try:
            found = import_trace(path, options=OPTIONS)
        except TraceError as error:
            assert path.name in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert found.trace.flops >= 0
    return refused


SUFFIXES = [".et", "torch.et", "other.et", ".json", ".csv", ".parquet"]


@pytest.mark.fuzz
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_ends_in_a_trace_or_a_trace_error(tmp_path: Path, suffix: str) -> None:
    count = draws(12 if suffix in (".json", "torch.et") else 150)
    assert read_damaged(tmp_path / f"a{suffix}", whole(tmp_path, suffix), count, SEED) > count // 5


@pytest.mark.parametrize("suffix", [".et", ".json", ".csv"])
def test_a_decompression_bomb_stops_at_the_limit(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(b"0" * 20_000_000))
    with pytest.raises(TraceError, match="unpack to more than 16777216 bytes; raise the limit with limit bytes"):
        import_trace(path)
    with pytest.raises(TraceError, match="more than 1000 bytes"):
        import_trace(path, options=ImportOptions(limits=Limits(bytes=1000)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xff\xff\xff\xff\x7f", "byte 0: a message of"),
        (b"\xff" * 12, "byte 0: a number does not end"),
        (wire.put_message(b"") + wire.put_message(b"\x0a\x10"), "byte 1: a node is damaged: field 1 does not end"),
        (wire.put_message(b"") + wire.put_message(b"\x0b"), "wire type 3"),
        (wire.put_message(b"") + wire.put_message(wire.put(2, b"\xff")), "a node is damaged"),
        (wire.put_message(wire.put(2, wire.put(1, "simsparse") + wire.put(29, "{}"))), "header of a trace"),
    ],
)
def test_a_damaged_chakra_file_is_refused_by_byte(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.et"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=rf"a\.et: .*{says}"):
        import_trace(path)


def et(**changes: Any) -> str:
    tensor = {"values": [[1, 1, 0, 6, 4, "cpu"]], "shapes": [[2, 3]], "types": ["Tensor(float)"]}
    node = {"id": 2, "ctrl_deps": 1, "name": "aten::relu", "inputs": tensor, "outputs": {**tensor}, "attrs": []}
    return json.dumps({"schema": "1.1.1", "nodes": [{**node, **changes}]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "no execution trace"),
        ('{"schema":1,"nodes":[1]}', r"nodes\[0\]"),
        (et(id="x"), r"nodes\[0\]: .*whole numbers"),
        (et(inputs={"values": [], "shapes": [[2]], "types": ["Tensor(float)"]}), r"nodes\[0\]"),
        (et(inputs={"values": [[1, 1]], "shapes": [[-2]], "types": ["Tensor(float)"]}), "node 2 aten::relu: .*shape"),
        (et(inputs={"values": [[1, 1]], "shapes": [[2**60]], "types": ["Tensor(float)"]}), "is not a shape"),
        (et(inputs={"values": [1], "shapes": [[[2], [3]]], "types": ["GenericList[Tensor(float)]"]}), "other shapes"),
        ("[" * 100_000, "can't be read"),
    ],
)
def test_a_damaged_execution_trace_is_refused_by_node(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(TraceError, match=says):
        import_trace(path)


def test_sizes_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    shape = [2**39, 2**39, 2**39]
    big = {"values": [[1, 1]], "shapes": [shape], "types": ["Tensor(float)"]}
    path = tmp_path / "a.json"
    path.write_text(et(inputs=big, outputs=big))
    with pytest.raises(TraceError, match=r"a\.json"):
        import_trace(path)


def test_a_table_of_another_tool_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(TraceError, match="no key simsparse"):
        import_trace(path)
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"simsparse": '{"name":"a","meta":{}}'}), path)
    with pytest.raises(TraceError, match="column name is missing"):
        import_trace(path)
    path.write_bytes(b"PAR1" + b"\x00" * 40 + b"PAR1")
    with pytest.raises(TraceError, match=r"a\.parquet: (is no table|can.t be read)"):
        import_trace(path)


@pytest.mark.parametrize("many", ["nodes", "dependencies", "attributes", "chained"])
def test_many_small_parts_of_a_chakra_file_have_a_limit(tmp_path: Path, many: str) -> None:
    def node(number: int, *parts: bytes) -> bytes:
        ops_of = wire.put(10, wire.put(1, "num_ops") + wire.put(9, 5))
        return wire.put_message(wire.put(1, number) + wire.put(3, 4) + ops_of + b"".join(parts))

    parts = {
        "nodes": [node(i) for i in range(1, 2000)],
        "dependencies": [node(1), node(2, wire.put(5, bytes([1]) * 5000))],
        "attributes": [node(1, wire.put(10, b"") * 5000)],
        "chained": [node(i, wire.put(5, bytes(range(1, i)))) for i in range(1, 120)],
    }[many]
    path = tmp_path / "a.et"
    path.write_bytes(wire.put_message(wire.put(1, "x")) + b"".join(parts))
    with pytest.raises(TraceError, match=r"more than the limit of 4000; raise it with limit values="):
        import_trace(path, options=ImportOptions(limits=Limits(values=4000)))
    assert import_trace(path, options=ImportOptions(limits=Limits(values=100_000))).trace.ops


def test_a_reader_that_takes_all_memory_ends_in_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def takes_all(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(wire, "messages", takes_all)
    (tmp_path / "a.et").write_bytes(b"x")
    with pytest.raises(TraceError, match=r"a\.et: can't be read: takes more memory than there is"):
        import_trace(tmp_path / "a.et")


def test_cells_of_a_topology_have_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Layer,M,N,K,\na,1,2,3," + "," * 10_000 + "\n")
    with pytest.raises(TraceError, match="raise it with limit values="):
        import_trace(path, options=ImportOptions(limits=Limits(values=1000)))
