# SPDX-License-Identifier: Apache-2.0
"""A trace as a Parquet table, one row an op: for notebooks and data frames, import and export.

The first columns are an op's fields, from which the same trace is read back; the last ones
(``flops``, ``min_bytes``, ...) are computed from them for convenience and not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simsparse.core import Op, Trace
from simsparse.errors import TraceError
from simsparse.limits import Limits
from simsparse.trace.file import replace_file
from simsparse.trace.interchange.base import TRACE_FORMATS, Imported, ImportOptions, TraceFormat
from simsparse.trace.interchange.embedded import MARK, OpReader, header_of, header_text
from simsparse.trace.interchange.parquet_pages import check_pages
from simsparse.trace.record import body_of, checked, op_record

_BODY_TEXT = (
    "kind", "dtype", "weight_dtype", "output_dtype", "weight_sparsity", "input_sparsity", "weight_format", "label",
    "src", "dst",
)  # fmt: skip
_BODY_JSON = ("dims", "group", "bias", "latent_kv", "stats", "kernels")
_LATER = ("output_dtype", "weight_format", "group", "kernels")
"""Columns that tables of earlier versions do not have."""
_OP_TEXT = ("name", "module", "weight")
_COMPUTED = ("flops", "dense_macs", "useful_macs", "weight_bytes", "input_bytes", "output_bytes", "min_bytes")
_ROWS_AT_ONCE = 4096
MAX_PARTS = 2000
"""Most groups of rows, columns, and nested parts of the schema."""
_VALUES_A_ROW = 64
"""Values of all columns that a row may have on average, those of lists included."""


def write_parquet(trace: Trace, path: Path) -> tuple[str, ...]:
    """Write ``trace`` as one table, compressed with zstd. Raises TraceError when it can't be written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = {op.name: i for i, op in enumerate(trace.ops)}
    rows = [_row(op, [index[dep] - i for dep in op.deps]) for i, op in enumerate(trace.ops)]
    table = pa.Table.from_pylist(rows, schema=_schema(pa).with_metadata({MARK: header_text(trace)}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    replace_file(path, sink.getvalue().to_pybytes())
    return ()


def _schema(pa: Any) -> Any:
    text = [(name, pa.string()) for name in (*_OP_TEXT, *_BODY_TEXT, *_BODY_JSON)]
    routing = [("routing_counts", pa.list_(pa.int64())), ("routing_ids", pa.string()), ("routing_origin", pa.string())]
    computed = [(name, pa.int64()) for name in _COMPUTED]
    return pa.schema([*text, ("deps", pa.list_(pa.int32())), *routing, *computed])


def _row(op: Op, deps: list[int]) -> dict[str, Any]:
    body, record = body_of(checked(op)), op_record(op, 0, deps)
    routing = record.get("routing", {})
    return {
        **{name: record.get(name) for name in _OP_TEXT}, **{name: body.get(name) for name in _BODY_TEXT},
        **{name: _json(body[name]) if name in body else None for name in _BODY_JSON}, "deps": deps,
        "routing_counts": routing.get("counts"), "routing_ids": routing.get("ids"),
        "routing_origin": routing.get("origin"), **{name: getattr(op, name) for name in _COMPUTED},
    }  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def read_parquet(path: Path, options: ImportOptions) -> Imported:
    """The trace in a table written by ``write_parquet``.

    Limits: bytes of the file, of all pages as their own headers say them and of all texts where they stand; values are
    rows, with 64 values of columns each. Raises TraceError beyond them and when the file is damaged or another tool's.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    limits = options.limits
    limits.check("bytes", path.stat().st_size)
    texts = [*_OP_TEXT, *_BODY_TEXT, *_BODY_JSON, "routing_ids", "routing_origin"]
    try:
        bounds = {"thrift_string_size_limit": limits.bytes, "thrift_container_size_limit": MAX_PARTS}
        with pq.ParquetFile(path, **bounds) as file:
            name, meta = _header(file, limits)
            check_pages(path, file.metadata, limits)
            there = [text for text in texts if text in file.schema_arrow.names]
        with pq.ParquetFile(path, **bounds, read_dictionary=there) as file:
            reader = OpReader()
            for i, row in enumerate(_rows(file, limits, path.stat().st_size)):
                reader.add(_record(row), f"row {i}")
    except (pa.ArrowException, TypeError, ValueError) as error:  # damaged, or columns of another type
        raise TraceError(f"is no table of a trace: {error}") from error
    return Imported(reader.trace(name, meta))


def _header(file: Any, limits: Limits) -> tuple[str, Mapping[str, Any]]:
    """Name and meta, once the file is seen to be one of ours and not too large unpacked."""
    said = file.metadata
    if (columns_in_all := said.num_row_groups * said.num_columns) > MAX_PARTS * len(_schema_names()):
        raise TraceError(f"{said.num_row_groups} groups of rows with {columns_in_all} columns in all")
    groups = [said.row_group(i) for i in range(said.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    limits.check("values", said.num_rows)
    limits.check("values", -(-sum(column.num_values for column in columns) // _VALUES_A_ROW))
    limits.check("bytes", sum(group.total_byte_size for group in groups))
    header = (file.schema_arrow.metadata or {}).get(MARK.encode())
    if header is None:
        raise TraceError("is no table of a trace: its metadata has no key simsparse")
    return header_of(header.decode())


def _rows(file: Any, limits: Limits, packed: int) -> Iterator[dict[str, Any]]:
    there = set(file.schema_arrow.names)
    wanted = [name for name in _schema_names() if name in there or name not in _LATER]
    if missing := [name for name in wanted if name not in there]:
        raise TraceError(f"column {missing[0]} is missing")
    for name in wanted:
        _check_type(name, file.schema_arrow.field(name).type)
    size, clock = 0, limits.clock()
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=wanted):
        size += sum(map(_unpacked_bytes, batch.columns))
        if size > (most := limits.unpacked(packed)):
            raise TraceError(f"{packed} bytes unpack to more than {most}; raise the limit with limit bytes=...")
        clock()
        yield from batch.to_pylist()


def _check_type(name: str, kind: Any) -> None:
    """Raises TraceError on a column of another type than ours: values of other types have no bound per value."""
    import pyarrow as pa

    if name in ("deps", "routing_counts"):
        said, expected = pa.types.is_list(kind) and pa.types.is_integer(kind.value_type), "a list of whole numbers"
    else:
        said, expected = pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type), "texts"
    if not (said or pa.types.is_null(kind)):
        raise TraceError(f"column {name} is of type {kind}; expected {expected}")


def _unpacked_bytes(column: Any) -> int:
    """Bytes of a column's values, each counted where it stands: a text of a dictionary as often as it is used."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0) + int(column.indices.nbytes)


def _schema_names() -> list[str]:
    return [*_OP_TEXT, *_BODY_TEXT, *_BODY_JSON, "deps", "routing_counts", "routing_ids", "routing_origin"]


def _record(row: Mapping[str, Any]) -> str:
    """A row as the line that a trace file would have."""
    body = {name: row[name] for name in _BODY_TEXT if row.get(name) is not None}
    body |= {name: json.loads(row[name]) for name in _BODY_JSON if row.get(name) is not None}
    record: dict[str, Any] = {"body": body, "op": 0, "deps": row["deps"] or []}
    record |= {name: row[name] for name in _OP_TEXT if row[name] is not None}
    if row["routing_origin"] is not None:
        ids = {} if row["routing_ids"] is None else {"ids": row["routing_ids"]}
        record["routing"] = {"counts": row["routing_counts"], "origin": row["routing_origin"], **ids}
    return json.dumps(record)


TRACE_FORMATS.register("parquet")(
    TraceFormat("parquet", (".parquet",), "table of ops, one row each", read_parquet, write_parquet)
)
