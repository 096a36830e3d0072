# SPDX-License-Identifier: Apache-2.0
"""What the pages of a Parquet file come to, from their own headers: those of the footer may say less than pages hold.

A page says how long it is unpacked and how many values it has; a reader takes memory for both. Encodings in which a
value repeats parts of the one before it are left out: they have no bound that a header states.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from simsparse.errors import TraceError
from simsparse.limits import Limits
from simsparse.trace.interchange.wire import varint

MAX_PAGES = 20_000
LONGEST_HEADER = 1 << 16
"""Bytes of a page's header that are read."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_SAFE_ENCODINGS = {0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 4: "BIT_PACKED", 8: "RLE_DICTIONARY"}
_VALUE_BYTES = 4
"""Bytes that a value takes at least as it is read, in a dictionary or not."""
_DEPTH = 8


def check_pages(path: Path, metadata: Any, limits: Limits) -> None:
    """Raises TraceError when the pages of a file, by its pyarrow ``metadata``, unpack to more than ``limits`` allow.

    Raises TraceError too on a header that is damaged, and on encodings other than plain, dictionaries and runs.
    """
    packed, size, pages = path.stat().st_size, 0, 0
    most = limits.unpacked(packed)
    with path.open("rb") as file:
        for column in _columns(metadata):
            for page_bytes, values in _pages(file, column, packed):
                size += page_bytes + _VALUE_BYTES * values
                pages += 1
                if size > most:
                    raise TraceError(f"{packed} bytes unpack to more than {most}; raise the limit with limit bytes=...")
                if pages > MAX_PAGES:
                    raise TraceError(f"more than {MAX_PAGES} pages")


def _columns(metadata: Any) -> Iterator[Any]:
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        yield from (group.column(j) for j in range(group.num_columns))


def _pages(file: BinaryIO, column: Any, packed: int) -> Iterator[tuple[int, int]]:
    """Bytes unpacked and values of each page of a column chunk that a reader would read."""
    place, seen = column.data_page_offset, 0
    if column.has_dictionary_page and 0 < (column.dictionary_page_offset or 0) < place:
        place = column.dictionary_page_offset
    end = place + column.total_compressed_size
    if not 0 <= place <= end <= packed:
        raise TraceError(f"a column lies at bytes {place} to {end} of {packed}")
    while place < end and seen < column.num_values:
        file.seek(place)
        header, length = _struct(file.read(min(LONGEST_HEADER, end - place)), 0)
        kind, unpacked_size, packed_size = (_whole(header, field) for field in (1, 2, 3))
        values = 0
        if kind in (_DATA, _DATA_V2, _DICTIONARY):
            said = header.get({_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}[kind])
            if not isinstance(said, dict):
                raise TraceError(f"the page at byte {place} says nothing of its values")
            values = _whole(said, 1)
            encoding = _whole(said, 4 if kind == _DATA_V2 else 2)
            if encoding not in _SAFE_ENCODINGS:
                raise TraceError(f"encoding {encoding} of a page; expected {', '.join(_SAFE_ENCODINGS.values())}")
        yield unpacked_size, values
        seen += values if kind != _DICTIONARY else 0
        place += length + packed_size


def _whole(struct: dict[int, Any], field: int) -> int:
    value = struct.get(field)
    if type(value) is not int or value < 0:
        raise TraceError(f"field {field} of a page's header is {value!r:.40}; expected a count")
    return value


def _struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The struct of Thrift's compact protocol that begins at ``at``, and where it ends. Raises TraceError."""
    fields: dict[int, Any] = {}
    number = 0
    try:
        while (head := data[at]) != 0:
            at += 1
            if head >> 4:
                number += head >> 4
            else:
                number, at = _signed(data, at)
            fields[number], at = _value(data, at, head & 15, depth)
    except (IndexError, ValueError):
        raise TraceError("the header of a page is damaged") from None
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """A value of ``kind`` within a header; what a page's size does not depend on is passed over."""
    if kind in (1, 2):
        return kind == 1, at
    if kind == 3:
        return None, at + 1
    if kind in (4, 5, 6):
        return _signed(data, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        length, at = varint(data, at)
        return None, at + length
    if kind == 12 and depth < _DEPTH:
        return _struct(data, at, depth + 1)
    raise TraceError(f"the header of a page holds a value of type {kind}")


def _signed(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag number."""
    number, at = varint(data, at)
    return (number >> 1) ^ -(number & 1), at
