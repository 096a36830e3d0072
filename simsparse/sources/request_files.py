# SPDX-License-Identifier: Apache-2.0
"""Requests from files: tables of times and lengths, and the public formats of request traces.

A CSV file needs a time, input tokens and output tokens under one of the names of COLUMNS; the traces of Azure
(AzurePublicDataset, AzureLLMInferenceTrace_*.csv) and tables of this tool have them. A file of JSON lines holds one
request per line with ``timestamp`` in milliseconds, ``input_length``, ``output_length`` and ``hash_ids``, ids of blocks
of 512 tokens, as the traces of Mooncake do, or the same as a list with runs of ids. Names may end in ``.gz``.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from simsparse.errors import SpecError
from simsparse.sources.requests import Requests

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("arrival_s", "TIMESTAMP", "t", "timestamp", "arrival"),
    "input": ("input_tokens", "ContextTokens", "input", "input_toks"),
    "output": ("output_tokens", "GeneratedTokens", "output", "output_toks"),
}
"""Names of columns, by what they hold."""
MAX_BYTES, MAX_LINE, MAX_LINES = 256 << 20, 4 << 20, 200_000
"""Bytes of a file as it is unpacked, of one line, and lines beside those of a ``limit`` of requests."""
MAX_BLOCKS = 4_000_000
"""Ids of blocks in all requests together."""
MOONCAKE_BLOCK = 512
"""Tokens of a block in Mooncake's traces."""


def read_requests(path: str | Path, limit: int | None = None) -> Requests:
    """The requests of a file, the first ``limit`` where one is given; times begin at 0.

    Raises SpecError that names file, line and what is missing, and where more than MAX_BYTES, MAX_LINE, MAX_LINES or
    MAX_BLOCKS would have to be read.
    """
    file = Path(path)
    jsonl = file.name.removesuffix(".gz").endswith(".jsonl")
    try:
        with closing(_lines(file, MAX_LINES + (limit or 0))) as lines:
            rows = list(_json_rows(lines, str(path), limit) if jsonl else _csv_rows(lines, str(path), limit))
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise SpecError(f"can't be read: {error}", file=str(path)) from error
    if not rows:
        raise SpecError("has no requests", file=str(path))
    times = np.array([row[0] for row in rows])
    prefix = [row[3] for row in rows] if any(row[3] for row in rows) else ()
    try:
        return Requests.of(times - times.min(), [row[1] for row in rows], [row[2] for row in rows], prefix=prefix,
                           prefix_block=MOONCAKE_BLOCK if prefix else 0, name=file.name)  # fmt: skip
    except SpecError as error:
        raise SpecError(error.message, file=str(path), key=error.key) from error


def _lines(file: Path, most_lines: int) -> Generator[str]:
    """The lines of a file, plain or gzip'd, as far as they are asked for. Raises SpecError beyond the limits."""
    read = number = 0
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
        while line := opened.readline(MAX_LINE + 1):
            number, read = number + 1, read + len(line)
            for what, size, most in (("line", len(line), MAX_LINE), ("file", read, MAX_BYTES)):
                if size > most:
                    raise SpecError(f"the {what} is longer than {most} bytes", file=str(file), line=number)
            if number > most_lines:
                raise SpecError(f"more than {most_lines} lines; ask for the first requests of it", file=str(file))
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")


RequestRow = tuple[float, int, int, tuple[int, ...]]


def _csv_rows(lines: Iterator[str], file: str, limit: int | None) -> Iterator[RequestRow]:
    reader = csv.reader(lines)
    titles = next(reader, [])
    places = []
    for what, known in COLUMNS.items():
        found = [titles.index(name) for name in known if name in titles]
        if not found:
            raise SpecError(f"has no column of {what}; one of {', '.join(known)} is needed", file=file, line=1)
        places.append(found[0])
    time, tokens, written = places
    for row in islice(filter(None, reader), limit):
        try:
            yield _seconds(row[time]), _tokens(row[tokens]), max(1, _tokens(row[written])), ()
        except (IndexError, ValueError, OverflowError) as error:
            raise SpecError(f"is no request: {error!s:.80}", file=file, line=reader.line_num) from None


def _seconds(text: str) -> float:
    """A number of seconds, or a date and time."""
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.strip()[:26]).timestamp()


def _tokens(value: Any) -> int:
    """Raises ValueError beyond 64 bits."""
    if abs(tokens := int(value)) >= 1 << 62:
        raise ValueError("a length beyond 2**62 tokens")
    return tokens


def _json_rows(lines: Iterator[str], file: str, limit: int | None) -> Iterator[RequestRow]:
    blocks = 0
    for number, line in islice(((i, text) for i, text in enumerate(lines, start=1) if text.strip()), limit):
        try:
            row = _json_row(json.loads(line), MAX_BLOCKS - blocks)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise SpecError(f"is no request: {error!r:.80}", file=file, line=number) from None
        blocks += len(row[3])
        yield row


def _json_row(row: Any, most: int) -> RequestRow:
    """A request with at most ``most`` ids of blocks. Raises ValueError and others on what is none."""
    if isinstance(row, list):
        time, tokens, written, runs = row
        runs = [(int(first), int(count)) for first, count in runs]
    else:
        time, tokens, written = row["timestamp"], row["input_length"], row["output_length"]
        runs = [(int(block), 1) for block in row.get("hash_ids", ())]
    if sum(max(0, count) for _, count in runs) > most:
        raise ValueError(f"more than {MAX_BLOCKS} ids of blocks")
    ids = tuple(block for first, count in runs for block in range(first, first + count))
    return time / 1000, _tokens(tokens), max(1, _tokens(written)), ids
