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
import io
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from simsparse.errors import SpecError
from simsparse.limits import read_whole
from simsparse.sources.requests import Requests

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("arrival_s", "TIMESTAMP", "t", "timestamp", "arrival"),
    "input": ("input_tokens", "ContextTokens", "input", "input_toks"),
    "output": ("output_tokens", "GeneratedTokens", "output", "output_toks"),
}
"""Names of columns, by what they hold."""
MAX_BYTES = 256 << 20
MOONCAKE_BLOCK = 512
"""Tokens of a block in Mooncake's traces."""


def read_requests(path: str | Path, limit: int | None = None) -> Requests:
    """The requests of a file, the first ``limit`` where one is given; times begin at 0.

    Raises SpecError that names file, line and what is missing.
    """
    file = Path(path)
    text = _text(file)
    lines = text.split("\n")
    jsonl = file.name.removesuffix(".gz").endswith(".jsonl")
    rows = list(_json_rows(lines, str(path), limit) if jsonl else _csv_rows(lines, str(path), limit))
    if not rows:
        raise SpecError("has no requests", file=str(path))
    times = np.array([row[0] for row in rows])
    prefix = [row[3] for row in rows] if any(row[3] for row in rows) else ()
    try:
        return Requests.of(times - times.min(), [row[1] for row in rows], [row[2] for row in rows], prefix=prefix,
                           prefix_block=MOONCAKE_BLOCK if prefix else 0, name=file.name)  # fmt: skip
    except SpecError as error:
        raise SpecError(error.message, file=str(path), key=error.key) from error


def _text(file: Path) -> str:
    try:
        raw = read_whole(file, MAX_BYTES, SpecError)
        if file.suffix == ".gz":
            with gzip.open(io.BytesIO(raw)) as packed:
                raw = packed.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise SpecError(f"larger than {MAX_BYTES} bytes", file=str(file))
        return raw.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SpecError(f"can't be read: {error}", file=str(file)) from error


RequestRow = tuple[float, int, int, tuple[int, ...]]


def _csv_rows(lines: list[str], file: str, limit: int | None) -> Iterator[RequestRow]:
    reader = csv.DictReader(lines)
    names = {}
    for what, known in COLUMNS.items():
        found = [name for name in known if name in (reader.fieldnames or ())]
        if not found:
            raise SpecError(f"has no column of {what}; one of {', '.join(known)} is needed", file=file, line=1)
        names[what] = found[0]
    for count, row in enumerate(reader):
        if limit is not None and count >= limit:
            return
        try:
            yield _seconds(row[names["time"]]), int(row[names["input"]]), max(1, int(row[names["output"]])), ()
        except (TypeError, ValueError) as error:
            raise SpecError(f"is no request: {error}", file=file, line=reader.line_num) from None


def _seconds(text: str) -> float:
    """A number of seconds, or a date and time."""
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.strip()[:26]).timestamp()


def _json_rows(lines: list[str], file: str, limit: int | None) -> Iterator[RequestRow]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if limit is not None and number > limit:
            return
        try:
            yield _json_row(json.loads(line))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise SpecError(f"is no request: {error!r:.80}", file=file, line=number) from None


def _json_row(row: Any) -> RequestRow:
    if isinstance(row, list):
        time, tokens, written, runs = row
        ids = tuple(block for first, count in runs for block in range(first, first + count))
    else:
        time, tokens, written = row["timestamp"], row["input_length"], row["output_length"]
        ids = tuple(row.get("hash_ids", ()))
    return time / 1000, int(tokens), max(1, int(written)), ids
