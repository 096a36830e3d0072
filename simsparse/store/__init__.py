# SPDX-License-Identifier: Apache-2.0
"""The store of results: one schema, one writer, one reader."""

from simsparse.store.reader import LazyTable, Reader
from simsparse.store.schema import NOT_RUN, PARQUET_NAME, SPEC_NAME, STORE_NAME, Record, StoredRow
from simsparse.store.streamed import StreamedTable
from simsparse.store.table import (
    brief_table,
    read_mark,
    read_table,
    to_csv,
    to_frame,
    whole_table,
    write_csv,
    write_parquet,
    write_text,
)
from simsparse.store.writer import Store

__all__ = [
    "NOT_RUN", "PARQUET_NAME", "SPEC_NAME", "STORE_NAME", "LazyTable", "Reader", "Record", "Store", "StoredRow",
    "StreamedTable", "brief_table", "read_mark", "read_table", "to_csv", "to_frame", "whole_table", "write_csv",
    "write_parquet", "write_text",
]  # fmt: skip
