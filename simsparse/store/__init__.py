# SPDX-License-Identifier: Apache-2.0
"""The store of results: one schema, one writer, one reader."""

from simsparse.store.reader import LazyTable, Reader
from simsparse.store.schema import PARQUET_NAME, SPEC_NAME, STORE_NAME, Record, StoredRow
from simsparse.store.table import (
    read_marked,
    read_table,
    to_csv,
    to_frame,
    write_csv,
    write_parquet,
    write_text,
)
from simsparse.store.writer import Store

__all__ = [
    "PARQUET_NAME", "SPEC_NAME", "STORE_NAME", "LazyTable", "Reader", "Record", "Store", "StoredRow",
    "read_marked", "read_table", "to_csv", "to_frame", "write_csv",
    "write_parquet", "write_text",
]  # fmt: skip
