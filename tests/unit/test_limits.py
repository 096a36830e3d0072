# SPDX-License-Identifier: Apache-2.0
"""Limits of readers: what a small file may unpack to, and how a caller raises that."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simsparse.config.experiment import load_experiment
from simsparse.config.hardware import load_system
from simsparse.config.study import load_study
from simsparse.core import Trace, TraceBuilder, ops
from simsparse.errors import LONGEST_MESSAGE, LONGEST_PLACE, SimsparseError, SpecError, TraceError
from simsparse.limits import MIB, SMALL, Limits, read_stream, unpacked_pieces
from simsparse.report.reader import read_any
from simsparse.sources import request_files
from simsparse.sources.request_files import read_requests
from simsparse.store import Store
from simsparse.trace.file import load_trace
from simsparse.trace.interchange import ImportOptions, export_trace, import_trace, parquet_pages, wire
from simsparse.trace.masks import MaskStore, load_masks, save_with_masks
from simsparse.trace.routing import measured_counts
from simsparse.validate import measurement, tables
from simsparse.validate.measurement import read_measurements

ONE = TraceBuilder("one").add(ops.linear(1, 8, 8)).build()


def taken(call: Callable[[], object]) -> float:
    """MiB that ``call``, which ends in a TraceError, takes at most."""
    tracemalloc.start()
    with pytest.raises(TraceError):
        call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / MIB


def test_texts_name_limits_with_units() -> None:
    assert Limits.parse(["bytes=1GiB", "values=10"]) == Limits(1024 * MIB, 10)
    for text in ("bytes", "size=1", "bytes=1TB", "values=1GiB", "seconds=0", "bytes=-1"):
        with pytest.raises(SpecError, match="limit"):
            Limits.parse([text])


def test_a_stream_is_read_to_its_limit_and_no_further() -> None:
    assert read_stream(io.BytesIO(b"x" * 10), None, Limits(bytes=10)) == b"x" * 10
    stream = io.BytesIO(b"x" * 50 * MIB)
    assert taken(lambda: read_stream(stream, None, Limits(bytes=MIB))) < 4


def test_what_unpacks_to_much_more_than_its_size_is_refused() -> None:
    packed = zlib.compress(bytes(100 * MIB))
    assert taken(lambda: list(unpacked_pieces(packed, Limits()))) < 3 * SMALL / MIB
    assert sum(map(len, unpacked_pieces(packed, Limits(bytes=200 * MIB)))) == 100 * MIB
    with pytest.raises(zlib.error):
        list(unpacked_pieces(zlib.compress(b"abc")[:-2], Limits()))


def test_zipped_zeros_are_no_trace(tmp_path: Path) -> None:
    (tmp_path / "zeros.et").write_bytes(gzip.compress(bytes(100 * MIB)))
    assert taken(lambda: import_trace(tmp_path / "zeros.et")) < 4 * SMALL / MIB


def test_a_table_whose_texts_stand_many_times_is_refused(tmp_path: Path) -> None:
    """A dictionary holds each text once: rows multiply it."""
    path, rows = tmp_path / "a.parquet", 20_000
    export_trace(Trace("t", (ops.linear(1, 2, 3, name="a"),)), path)
    table = pq.read_table(path)
    columns: dict[str, Any] = {name: pa.array([table[name][0].as_py()] * rows, table.schema.field(name).type)
                               for name in table.schema.names}  # fmt: skip
    columns["module"] = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), ["x" * 60_000])
    pq.write_table(pa.table(columns).replace_schema_metadata(table.schema.metadata), path)
    assert path.stat().st_size < MIB
    assert taken(lambda: import_trace(path)) < 100


def test_rows_of_a_table_have_a_limit_that_can_be_raised(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    export_trace(Trace("t", tuple(ops.linear(1, 2, 3, name=f"a{i}") for i in range(20))), path)
    with pytest.raises(TraceError, match="raise it with limit values="):
        import_trace(path, options=ImportOptions(limits=Limits(values=10)))
    assert len(import_trace(path, options=ImportOptions(limits=Limits(values=1000))).trace.ops) == 20


def test_a_mask_takes_no_more_than_its_limit(tmp_path: Path) -> None:
    op = ops.linear(1, 64, 64, name="a")
    store = MaskStore()
    said = store.add(np.ones((64, 64), np.bool_))
    trace = Trace("t", (op.with_(stats={"weight_mask": said}),))
    path = save_with_masks(trace, store, tmp_path / "t.trace")
    saved = json.loads(path.read_text().splitlines()[0])
    assert "masks" in json.dumps(saved)
    from simsparse.trace.file import load_trace

    loaded = load_trace(path)
    assert load_masks(loaded, tmp_path).weight(loaded.ops[0]) is not None
    with pytest.raises(TraceError, match=r"64 x 64: 4096 bytes, more than the limit of 4095"):
        load_masks(loaded, tmp_path, Limits(bytes=4095)).weight(loaded.ops[0])


def lying(path: Path, column: str, field: str) -> Path:
    """A table whose page of ``column`` says more of ``field`` in its header than it holds, and than the footer says."""
    export_trace(Trace("t", (ops.linear(1, 2, 3, name="a"),)), path)
    table = pq.read_table(path)
    large = {"deps": pa.array([[0] * 1_100_000], pa.list_(pa.int32())), "module": pa.array(["x" * 1_100_000])}
    at = table.schema.get_field_index(column)
    changed = table.set_column(at, table.schema.field(at), large[column])
    pq.write_table(changed, path, compression="zstd", use_dictionary=False, write_statistics=False)
    offset = pq.read_metadata(path).row_group(0).column(at).data_page_offset
    content = bytearray(path.read_bytes())
    header, length = parquet_pages._struct(bytes(content[offset : offset + 100]), 0)
    number = header[2] if field == "bytes" else header[5][1]
    said, most = wire.put_varint(2 * number), wire.put_varint(2**28 - 2)
    assert len(said) == len(most)
    place = content.index(said, offset, offset + length)
    content[place : place + len(said)] = most
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("column", "field"), [("deps", "bytes"), ("deps", "values"), ("module", "bytes")])
def test_pages_of_a_table_are_taken_by_what_their_own_headers_say(tmp_path: Path, column: str, field: str) -> None:
    path = lying(tmp_path / "a.parquet", column, field)
    with pytest.raises(TraceError, match=r"a\.parquet: .* bytes unpack to more than"):
        import_trace(path)


def test_encodings_and_types_without_bounds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    export_trace(Trace("t", (ops.linear(1, 2, 3, name="a"),)), path)
    table = pq.read_table(path)
    pq.write_table(table, path, use_dictionary=False, column_encoding={"module": "DELTA_BYTE_ARRAY"})
    with pytest.raises(TraceError, match="encoding 7 of a page; expected PLAIN"):
        import_trace(path)
    at = table.schema.get_field_index("module")
    wide = table.set_column(at, "module", pa.array([b"x" * 10], pa.binary(10)))
    pq.write_table(wide.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(TraceError, match=r"column module is of type fixed_size_binary"):
        import_trace(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless file here")
@pytest.mark.parametrize("read", [measured_counts, read_measurements, tables.read_table, read_requests])
def test_a_file_without_an_end_is_refused(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it has no bytes."""
    monkeypatch.setattr(request_files, "MAX_LINE", 1 << 20)
    for module in (measurement, tables):
        monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    with pytest.raises(SimsparseError, match="/dev/zero"):
        read("/dev/zero")


def test_masks_are_read_to_the_size_of_their_file(tmp_path: Path) -> None:
    trace = TraceBuilder("t", masks={"file": "m.npz", "sha256": "0"}).add(ops.linear(1, 8, 8)).build()
    (tmp_path / "m.npz").symlink_to("/dev/zero")
    with pytest.raises(TraceError, match=r"m.npz: is longer than 0 bytes"):
        load_masks(trace, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", "[1, 512, 1, [[0, 1000000000000]]]", "more than 4000000 ids"),
        ("a.jsonl", '{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": "abc"}', "is no request"),
        ("a.jsonl", f"[1, {10**4000}, 1, []]", "is no request"),
        ("a.csv", "t,input,output\n" + "1" * 200_000 + ",1,1", "field larger than field limit"),
        ("a.csv", "t,input,output\n" + "\n" * 200_000, "more than 200000 lines"),
        ("a.csv", "t,input,output\n" + "1" * (5 << 20), "the line is longer"),
    ],
)
def test_hostile_requests_are_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        with pytest.raises(SpecError, match=says):
            read_requests(path)


def test_a_count_of_experts_that_is_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("layer,count_e0\n0," + "9" * 4000)
    with pytest.raises(TraceError, match=r"beyond 2\*\*62 together"):
        measured_counts(str(tmp_path / "a.csv"))
    with pytest.raises(TraceError, match="too long"):
        measured_counts("a" * 5000)
    (tmp_path / "a.csv").write_text("layer,count_e0\n0," + "1" * 200_000)
    with pytest.raises(TraceError, match="field larger than field limit"):
        measured_counts(str(tmp_path / "a.csv"))


NO_NAMES = ("a\0b.csv", "a" * 5000 + ".csv")
"""Names that no file can have."""


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize(
    "use",
    [
        load_system, load_trace, load_experiment, load_study, read_measurements, tables.read_table, read_requests,
        import_trace, lambda name: read_any(Path(name)), measured_counts,
        ONE.save, lambda name: export_trace(ONE, name, "parquet"),
        lambda name: Store.open(Path(name), "a"),
    ],
)  # fmt: skip
def test_a_name_that_no_file_can_have_is_refused(use: Callable[[str], object], name: str) -> None:
    with pytest.raises(SimsparseError) as error:
        use(name)
    assert str(error.value).isprintable() and len(str(error.value)) < 2 * LONGEST_PLACE + LONGEST_MESSAGE
